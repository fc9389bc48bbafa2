//! From a query to ranked documents.

use super::candidates::EmbeddedQuery;
use super::failure::speaks_of_failure;
use super::query::SearchQuery;
use super::score::{Document, score, words_of};
use crate::error::Result;
use crate::store::{Connection, SchemaInfo, TraceStore};

/// The documents that fit the query, best first.
pub(super) async fn nearest(
    store: &TraceStore,
    connection: &Connection,
    schema: &SchemaInfo,
    query: &SearchQuery,
) -> Result<Vec<Document>> {
    let embedded = EmbeddedQuery::new(store, &query.text).await?;
    let words = embedded.words(store, connection).await?;
    let candidates = embedded.candidates(store, connection, schema, query).await?;
    let vectors = store.word_vectors(connection, words_of(&candidates)).await?;
    let mut documents = score(&words, speaks_of_failure(&query.text), candidates, &vectors);
    let threshold = query.threshold.unwrap_or(store.settings().similarity_threshold);
    // What has the phrases is what was asked for, whatever the model makes of them.
    if threshold > 0.0 && query.filter.phrases.is_empty() {
        documents.retain(|document| document.score >= threshold);
    }
    Ok(documents)
}

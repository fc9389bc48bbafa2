//! From a query to ranked documents.

use futures_util::future;

use super::candidates::{candidates, words};
use super::compare::Begun;
use super::failure::speaks_of_failure;
use super::query::SearchQuery;
use super::score::{Document, Texts, score};
use crate::error::Result;
use crate::store::TraceStore;

/// The documents that fit the query, best first.
pub(super) async fn nearest(store: &TraceStore, begun: &Begun, query: &SearchQuery) -> Result<Vec<Document>> {
    let speaks_of_failure = speaks_of_failure(&query.text);
    let (words, candidates) =
        future::try_join(words(&begun.connection, &begun.embedded), candidates(store, begun, query)).await?;
    let texts = Texts::of(&candidates);
    let vectors = store.word_vectors(&begun.connection, &begun.embedder, &texts.words).await?;
    let mut documents = score(&words, speaks_of_failure, &candidates, &texts, &vectors);
    let threshold = query.threshold.unwrap_or(store.settings().similarity_threshold);
    // What has the phrases is what was asked for, whatever the model makes of them.
    if threshold > 0.0 && query.filter.phrases.is_empty() {
        documents.retain(|document| document.score >= threshold);
    }
    Ok(documents)
}

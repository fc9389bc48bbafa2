//! From a query to ranked documents.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::candidates::{settings, source};
use super::conditions::Parameters;
use super::query::SearchQuery;
use super::spans::reading;
use crate::error::{Error, Result};
use crate::store::{Connection, SchemaInfo, TraceStore, Vector, other_model};

/// How many documents are considered for each wanted result, at least, and at most in all.
const DOCUMENTS_PER_RESULT: usize = 8;
const MIN_DOCUMENTS: usize = 160;
const MAX_DOCUMENTS: usize = 1000;
/// What the query's words count for in a score, beside the cosine; a rare word counts more than a common one.
const WORDS_WEIGHT: f64 = 0.2;

/// A document near to the query.
pub(super) struct Document {
    pub(super) id: i32,
    pub(super) score: f64,
}

/// The documents nearest to the query, best first.
pub(super) async fn nearest(
    store: &TraceStore,
    connection: &Connection,
    schema: &SchemaInfo,
    query: &SearchQuery,
) -> Result<Vec<Document>> {
    let vector = embed(store, &query.text).await?;
    let doing = || Error::database("searching documents");
    let tables = &store.sql().schema;
    let recorded = connection
        .query_opt(&format!("SELECT name FROM {tables}.embedding_model"), &[])
        .await
        .map_err(doing())?;
    if let Some(recorded) = recorded.map(|row| row.get::<_, String>(0))
        && recorded != store.embedder().model_name()
    {
        return Err(other_model(&recorded, store.embedder().model_name()));
    }
    let count = (query.wanted() * DOCUMENTS_PER_RESULT).clamp(MIN_DOCUMENTS, MAX_DOCUMENTS);
    let filter = query.bounded_filter();
    let mut parameters = Parameters::default();
    parameters.bind(vector);
    let (wanted, distance) = (store.sql().vector(1, &schema.vector), &schema.distance);
    let text = parameters.bind(query.text.clone());
    let limit = parameters.bind(count as i64);
    let source = source(store, connection, &schema.pgvector, query, &mut parameters).await?;
    let sql = format!(
        "WITH query AS (SELECT tsvector_to_array(to_tsvector('pg_catalog.english', {text}::text)) AS words), \
         near AS MATERIALIZED ( \
             SELECT id, 1 - (embedding {distance} {wanted}) AS score, words \
             FROM {source} AS document ORDER BY embedding {distance} {wanted} LIMIT {limit}) \
         SELECT near.id, score, query.words, \
                ARRAY(SELECT unnest(query.words) INTERSECT SELECT unnest(tsvector_to_array(near.words))) \
         FROM near CROSS JOIN query"
    );
    connection.batch_execute("BEGIN READ ONLY").await.map_err(doing())?;
    for setting in settings(&schema.pgvector, count) {
        connection.batch_execute(&setting).await.map_err(doing())?;
    }
    let rows = connection.query(&sql, &parameters.as_slice()).await.map_err(reading(&filter))?;
    connection.batch_execute("COMMIT").await.map_err(doing())?;
    // What is in the span as it stands is found, however it scores.
    let threshold = match filter.phrases.is_empty() {
        true => query.threshold.unwrap_or(store.settings().similarity_threshold),
        false => 0.0,
    };
    Ok(ranked(&rows, threshold))
}

async fn embed(store: &TraceStore, text: &str) -> Result<Vector> {
    let (embedder, text) = (store.embedder().clone(), text.to_owned());
    let vectors = tokio::task::spawn_blocking(move || embedder.embed(&[&text]))
        .await
        .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))??;
    Ok(Vector::new(vectors.first().map(|vector| &vector[..]).unwrap_or_default()))
}

/// Scores documents by cosine and by the query's words, leaves out what is below the threshold, and sorts.
fn ranked(rows: &[Row], threshold: f64) -> Vec<Document> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        for word in row.get::<_, Vec<&str>>(3) {
            *found.entry(word).or_default() += 1;
        }
    }
    // A word that most of the documents near the query have tells little about any of them.
    let weight =
        |word: &str| (1.0 + rows.len() as f64 / (1.0 + found.get(word).copied().unwrap_or(0) as f64)).ln();
    let total = |words: Vec<&str>| words.into_iter().map(weight).sum::<f64>();
    let score = |row: &Row| {
        let share = total(row.get(3)) / total(row.get(2)).max(f64::MIN_POSITIVE);
        (1.0 - WORDS_WEIGHT) * row.get::<_, f64>(1) + WORDS_WEIGHT * share
    };
    let mut documents: Vec<Document> = rows
        .iter()
        .map(|row| Document { id: row.get(0), score: score(row) })
        .filter(|document| threshold <= 0.0 || document.score >= threshold)
        .collect();
    documents.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    documents
}

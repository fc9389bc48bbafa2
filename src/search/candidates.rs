//! Candidates: the documents nearest to the query by cosine, and those that have its words.

use std::collections::HashSet;
use std::sync::Arc;

use super::compared::{settings, source};
use super::conditions::Parameters;
use super::query::SearchQuery;
use super::score::{Candidate, QueryWord};
use super::spans::reading;
use crate::embedding::InContext;
use crate::error::{Error, Result};
use crate::store::{Connection, SchemaInfo, TraceStore, Vector, other_model};

/// How many documents are near enough for each wanted result, at least, and at most in all. Documents share texts, so
/// these are fewer operations: with 160 instead of 400, Datasette lost 0.02 to 0.04 of precision.
const NEAR_PER_RESULT: usize = 20;
const MIN_NEAR: usize = 400;
const MAX_NEAR: usize = 1000;
/// How many documents with the query's words join them.
const WITH_WORDS: i64 = 100;

/// A query's text on its way to documents.
pub(super) struct EmbeddedQuery {
    embedded: Arc<InContext>,
}

impl EmbeddedQuery {
    pub(super) async fn new(store: &TraceStore, text: &str) -> Result<Self> {
        let (embedder, text) = (store.embedder().clone(), text.to_owned());
        let embedded = tokio::task::spawn_blocking(move || embedder.embed_in_context(&text))
            .await
            .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))??;
        Ok(EmbeddedQuery { embedded })
    }

    /// The query's words but for stop words, each once.
    ///
    /// # Errors
    /// [`Error::Model`] when another model made the embeddings of the schema.
    pub(super) async fn words(&self, store: &TraceStore, connection: &Connection) -> Result<Vec<QueryWord>> {
        let mut seen = HashSet::new();
        let words = self.embedded.words.iter().filter(|(word, _)| word.chars().all(char::is_alphabetic));
        let mut words: Vec<QueryWord> = words
            .filter(|(word, _)| seen.insert(word))
            .map(|(word, vector)| QueryWord { word: word.clone(), vector: Arc::clone(vector) })
            .collect();
        let texts: Vec<&str> = words.iter().map(|word| word.word.as_str()).collect();
        let sql = format!(
            "SELECT (SELECT name FROM {}.embedding_model), \
                    ARRAY(SELECT word FROM unnest($1::text[]) word WHERE ts_lexize('pg_catalog.english_stem', word) = '{{}}')",
            store.sql().schema
        );
        let rows = connection
            .query_prepared(&sql, &[&texts])
            .await
            .map_err(Error::database("searching documents"))?;
        let Some(row) = rows.first() else { return Ok(words) };
        if let Some(recorded) = row.get::<_, Option<&str>>(0)
            && recorded != store.embedder().model_name()
        {
            return Err(other_model(recorded, store.embedder().model_name()));
        }
        let stop: Vec<&str> = row.get(1);
        let says_something = words.iter().any(|word| !stop.contains(&word.word.as_str()));
        if says_something {
            words.retain(|word| !stop.contains(&word.word.as_str()));
        }
        Ok(words)
    }

    /// The nearest documents that pass the query's conditions, and those of them with its words, in no order.
    pub(super) async fn candidates(
        &self,
        store: &TraceStore,
        connection: &Connection,
        schema: &SchemaInfo,
        query: &SearchQuery,
    ) -> Result<Vec<Candidate>> {
        let doing = || Error::database("searching documents");
        let tables = &store.sql().schema;
        let count = (query.wanted() * NEAR_PER_RESULT).clamp(MIN_NEAR, MAX_NEAR);
        let mut parameters = Parameters::default();
        parameters.bind(Vector::new(&self.embedded.vector));
        let (wanted, distance) = (store.sql().vector(1, &schema.vector), &schema.distance);
        let (limit, text) = (parameters.bind(count as i64), parameters.bind(query.text.clone()));
        let source = source(store, connection, &schema.pgvector, query, &mut parameters).await?;
        // Any of the words: the parser would ask for all of them.
        let sql = format!(
            "WITH near AS MATERIALIZED ( \
                 SELECT id FROM {source} AS document ORDER BY embedding {distance} {wanted} LIMIT {limit}), \
             query AS (SELECT replace(plainto_tsquery('pg_catalog.english', {text}::text)::text, '&', '|')::tsquery AS words), \
             worded AS MATERIALIZED ( \
                 SELECT id FROM {source} AS document CROSS JOIN query WHERE document.words @@ query.words \
                 ORDER BY ts_rank(document.words, query.words, 1) DESC, id LIMIT {WITH_WORDS}) \
             SELECT id, 1 - (embedding {distance} {wanted}), service, text, \
                    status_code = 2 OR strpos(body, '\"exception.') > 0 \
             FROM {tables}.span_documents WHERE id IN (SELECT id FROM near UNION SELECT id FROM worded)"
        );
        connection.batch_execute("BEGIN READ ONLY").await.map_err(doing())?;
        for setting in settings(&schema.pgvector, count) {
            connection.batch_execute(&setting).await.map_err(doing())?;
        }
        let rows = connection.query(&sql, &parameters.as_slice()).await.map_err(reading(&query.filter))?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        Ok(rows
            .iter()
            .map(|row| Candidate {
                id: row.get(0),
                cosine: row.get(1),
                service: row.get(2),
                text: row.get(3),
                failed: row.get(4),
            })
            .collect())
    }
}

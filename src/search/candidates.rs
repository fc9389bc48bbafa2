//! Candidates: the documents nearest to the query by cosine, and those that have its words.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::types::ToSql;

use super::SearchOptions;
use super::failure::speaks_of_failure;
use super::phrases::{self, Phrases};
use super::rank::{WITHIN_5_AND_6, limit, period};
use super::score::{Candidate, QueryWord};
use crate::embedding::InContext;
use crate::error::{Error, Result};
use crate::store::{Connection, TraceStore, Vector, other_model};

/// How many documents are near enough for each wanted result, at least, and at most in all. Documents share texts, so
/// these are fewer operations: with 160 of them Datasette lost 0.02 of precision, with 200 none.
const NEAR_PER_RESULT: usize = 20;
const MIN_NEAR: usize = 300;
const MAX_NEAR: usize = 1000;
/// How many documents with a word of the query join them, for each word, so that a rare word is not lost among common ones.
const WITH_WORD: i64 = 50;

/// A query on its way to documents.
pub(super) struct Query {
    /// Without the quotes around phrases.
    text: String,
    pub phrases: Phrases,
    pub speaks_of_failure: bool,
    embedded: Arc<InContext>,
}

impl Query {
    /// Embeds what a user typed.
    pub(super) async fn embed(store: &TraceStore, query: &str) -> Result<Self> {
        let (text, phrases) = phrases::parse(query);
        let embedder = store.embedder().clone();
        let embed = {
            let text = text.clone();
            move || embedder.embed_in_context(&text)
        };
        let embedded = tokio::task::spawn_blocking(embed)
            .await
            .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))??;
        Ok(Query { speaks_of_failure: speaks_of_failure(&text), text, phrases, embedded })
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

    /// The nearest documents and those with the query's words, in no order. With phrases, documents with spans that have
    /// them all.
    pub(super) async fn candidates(
        &self,
        store: &TraceStore,
        connection: &Connection,
        distance: &str,
        vector: &str,
        options: &SearchOptions,
    ) -> Result<Vec<Candidate>> {
        let doing = || Error::database("searching documents");
        let tables = &store.sql().schema;
        let count = (limit(options) * NEAR_PER_RESULT).clamp(MIN_NEAR, MAX_NEAR);
        let wanted = store.sql().vector(1, vector);
        let with_phrases = match self.phrases.is_empty() {
            true => String::from("$7::text[] IS NOT NULL AND $8::text[] IS NOT NULL"),
            false => phrases::condition(tables, 7, 8),
        };
        // Filters leave few documents, which are compared exactly (OFFSET 0 keeps HNSW out): HNSW would look for the
        // nearest of all documents, and find too few of these.
        let unfiltered = options.service.is_none() && options.since.is_none() && options.until.is_none();
        let source = if unfiltered && self.phrases.is_empty() {
            format!(
                "(SELECT * FROM {tables}.span_documents WHERE embedding IS NOT NULL \
                  AND $3::text IS NULL AND $5::timestamptz IS NOT NULL AND $6::timestamptz IS NOT NULL AND {with_phrases})"
            )
        } else {
            format!(
                "(SELECT * FROM {tables}.span_documents d WHERE embedding IS NOT NULL \
                  AND ($3::text IS NULL OR service = $3) \
                  AND EXISTS (SELECT FROM {tables}.span_rows r WHERE r.document_id = d.id AND {WITHIN_5_AND_6} \
                              AND {with_phrases}) OFFSET 0)"
            )
        };
        // Bodies are large: they are read only where it matters.
        let failed = match self.speaks_of_failure {
            true => "status_code = 2 OR strpos(body, '\"exception.') > 0",
            false => "status_code = 2",
        };
        let sql = format!(
            "WITH near AS MATERIALIZED ( \
                 SELECT id, embedding {distance} {wanted} AS distance FROM {source} AS document \
                 ORDER BY embedding {distance} {wanted} LIMIT $2), \
             query AS (SELECT plainto_tsquery('pg_catalog.simple', lexeme) AS word \
                       FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', $4))) AS lexeme), \
             worded AS MATERIALIZED ( \
                 SELECT found.id FROM query CROSS JOIN LATERAL ( \
                     SELECT id FROM {source} AS document WHERE words @@ word \
                     ORDER BY ts_rank(words, word, 1) DESC, id LIMIT {WITH_WORD}) AS found), \
             chosen AS (SELECT id, distance FROM near UNION ALL \
                        SELECT DISTINCT id, NULL::float8 FROM worded WHERE id NOT IN (SELECT id FROM near)) \
             SELECT id, 1 - coalesce(distance, embedding {distance} {wanted}), service, text, status_code, {failed} \
             FROM chosen JOIN {tables}.span_documents USING (id)"
        );
        let (since, until) = period(options);
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &Vector::new(&self.embedded.vector),
            &(count as i64),
            &options.service,
            &self.text,
            &since,
            &until,
            &self.phrases.patterns,
            &self.phrases.parts,
        ];
        let begin = format!("BEGIN READ ONLY; SET LOCAL hnsw.ef_search = {count}");
        connection.batch_execute(&begin).await.map_err(doing())?;
        let rows = connection.query_prepared(&sql, &parameters).await.map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        Ok(rows
            .iter()
            .map(|row| Candidate {
                id: row.get(0),
                cosine: row.get(1),
                service: row.get(2),
                text: row.get(3),
                is_error: row.get::<_, i16>(4) == 2,
                failed: row.get(5),
            })
            .collect())
    }
}

//! Candidates: the documents nearest to the query by cosine, and those that have its words.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::Row;

use super::compare::Begun;
use super::compared::{LARGE, Passing, source};
use super::conditions::Parameters;
use super::query::SearchQuery;
use super::score::{Candidate, QueryWord};
use super::spans::reading;
use crate::embedding::InContext;
use crate::error::{Error, Result};
use crate::store::{Columns, Connection, TraceStore, Vector};

/// How many documents are near enough for each result of a page, at least, and at most in all. Documents share texts, so
/// these are fewer operations: with 160 of them Datasette lost 0.02 of precision, with 200 none. Finding them takes HNSW
/// as much longer as they are more.
const NEAR_PER_RESULT: usize = 20;
const MIN_NEAR: usize = 200;
const MAX_NEAR: usize = 1000;
/// How many documents with a word of the query join them, for each word, so that a rare word is not lost among common ones.
const WITH_WORD: i64 = 50;
/// Of how many documents with a word those are the best. A word that more have is not rare.
const RANKED: i64 = 400;

/// A word that more documents have than these, as the planner's statistics tell, is not looked up where all documents are
/// candidates: reading the index on words would take longer than the rest of the search.
const COMMON: i64 = 20_000;

/// How many of the nearest documents are candidates.
pub(super) fn near(query: &SearchQuery) -> usize {
    (query.wanted_first() * NEAR_PER_RESULT).clamp(MIN_NEAR, MAX_NEAR)
}

/// The query's words but for stop words, each once.
pub(super) async fn words(connection: &Connection, embedded: &InContext) -> Result<Vec<QueryWord>> {
    let mut seen = HashSet::new();
    let words = embedded.words.iter().filter(|(word, _)| word.chars().all(char::is_alphabetic));
    let mut words: Vec<QueryWord> = words
        .filter(|(word, _)| seen.insert(word))
        .map(|(word, vector)| QueryWord { word: word.clone(), vector: Arc::clone(vector) })
        .collect();
    let texts: Vec<&str> = words.iter().map(|word| word.word.as_str()).collect();
    let sql =
        "SELECT word FROM unnest($1::text[]) word WHERE ts_lexize('pg_catalog.english_stem', word) = '{}'";
    let rows =
        connection.query_prepared(sql, &[&texts]).await.map_err(Error::database("searching documents"))?;
    let stop = rows.iter().map(|row| row.column(0)).collect::<Result<HashSet<String>>>()?;
    if words.iter().any(|word| !stop.contains(&word.word)) {
        words.retain(|word| !stop.contains(&word.word));
    }
    Ok(words)
}

/// The best documents for each word of the query that pass its conditions. The query's vector has no part in that.
pub(super) async fn with_words(
    store: &TraceStore,
    connection: &Connection,
    passing: &Passing,
    query: &SearchQuery,
    documents: i32,
) -> Result<Vec<i32>> {
    let mut parameters = Parameters::default();
    let text = parameters.bind(query.text.clone());
    let source = source(store, passing, query, &mut parameters);
    let rare = match passing {
        Passing::Many if documents >= LARGE => format!(
            " WHERE NOT EXISTS (SELECT FROM pg_stats s, \
                 unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS common (word, share) \
                 WHERE s.schemaname = {} AND s.tablename = 'span_documents' AND s.attname = 'words' \
                 AND common.word = lexeme AND common.share * {}::float8 > {COMMON})",
            parameters.bind(store.settings().schema.clone()),
            parameters.bind(f64::from(documents))
        ),
        _ => String::new(),
    };
    let sql = format!(
        "WITH query AS MATERIALIZED (SELECT plainto_tsquery('pg_catalog.simple', lexeme) AS word \
                        FROM unnest(tsvector_to_array(to_tsvector('pg_catalog.english', {text}::text))) AS lexeme{rare}) \
         SELECT DISTINCT found.id FROM query CROSS JOIN LATERAL ( \
             SELECT id FROM (SELECT id, words FROM ({source}) AS document WHERE words @@ word LIMIT {RANKED}) AS few \
             ORDER BY ts_rank(words, word, 1) DESC, id LIMIT {WITH_WORD}) AS found"
    );
    let rows =
        connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(&query.filter))?;
    rows.iter().map(|row| row.column(0)).collect()
}

/// The nearest documents that pass the query's conditions, and those of them with its words, in no order.
pub(super) async fn candidates(
    store: &TraceStore,
    begun: &Begun,
    query: &SearchQuery,
    speaks_of_failure: bool,
) -> Result<Vec<Candidate>> {
    let Begun { connection, schema, embedded, passing, with_words, .. } = begun;
    let tables = &store.sql().schema;
    let mut parameters = Parameters::default();
    parameters.bind(Vector::new(&embedded.vector));
    let (wanted, distance) = (store.sql().vector(1, &schema.vector), &schema.distance);
    let with_words = parameters.bind(with_words.clone());
    let source = source(store, passing, query, &mut parameters);
    let fence = passing.fence();
    // Documents share texts, and so distances: the same ones are the nearest whatever the plan is. HNSW has no other order.
    let ties = if fence.is_empty() { "" } else { ", id" };
    // Bodies are large: they are read only where it matters.
    let failed = match speaks_of_failure {
        true => "status_code = 2 OR strpos(body, '\"exception.') > 0",
        false => "status_code = 2",
    };
    // A number, since the planner would compare all documents for a limit that it does not know.
    let count = near(query);
    let sql = format!(
        "WITH near AS MATERIALIZED ( \
             SELECT id, embedding {distance} {wanted} AS distance, service, text, status_code, body \
             FROM ({source}{fence}) AS document ORDER BY embedding {distance} {wanted}{ties} LIMIT {count}) \
         SELECT id, 1 - distance, service, text, {failed} FROM near UNION ALL \
         SELECT id, 1 - (embedding {distance} {wanted}), service, text, {failed} FROM {tables}.span_documents \
         WHERE id = ANY({with_words}::integer[]) AND id NOT IN (SELECT id FROM near)"
    );
    let rows =
        connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(&query.filter))?;
    let mut candidates = rows.iter().map(candidate).collect::<Result<Vec<_>>>()?;
    candidates.retain(|candidate| candidate.id <= query.page.document);
    candidates.sort_unstable_by_key(|candidate| candidate.id);
    Ok(candidates)
}

fn candidate(row: &Row) -> Result<Candidate> {
    Ok(Candidate {
        id: row.column(0)?,
        cosine: row.column(1)?,
        service: row.column(2)?,
        text: row.column(3)?,
        failed: row.column(4)?,
    })
}

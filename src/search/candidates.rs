//! Candidates: the documents nearest to the query by cosine, and those that have its words.

use std::collections::HashSet;
use std::sync::Arc;

use super::compare::Begun;
use super::compared::{LARGE, Passing, source};
use super::conditions::Parameters;
use super::query::SearchQuery;
use super::score::{Candidate, QueryWord, dot};
use super::spans::reading;
use crate::embedding::InContext;
use crate::error::{Error, Result};
use crate::store::{Columns, ComparedDocument, Connection, Known, TraceStore, Vector};

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
) -> Result<Vec<Known>> {
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
         SELECT DISTINCT found.id, found.hash FROM query CROSS JOIN LATERAL ( \
             SELECT id, hash FROM (SELECT id, hash, words FROM ({source}) AS document WHERE words @@ word LIMIT {RANKED}) AS few \
             ORDER BY ts_rank(words, word, 1) DESC, id LIMIT {WITH_WORD}) AS found"
    );
    let rows =
        connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(&query.filter))?;
    rows.iter().map(Known::of).collect()
}

/// The nearest documents that pass the query's conditions, and those of them with its words, by their ids.
pub(super) async fn candidates(
    store: &TraceStore,
    begun: &Begun,
    query: &SearchQuery,
) -> Result<Vec<Candidate>> {
    let Begun { connection, schema, embedder, embedded, passing, with_words, .. } = begun;
    let documents = match passing {
        Passing::These(documents) => documents.clone(),
        Passing::Many => {
            let mut documents = nearest(store, begun, query).await?;
            let near: HashSet<i32> = documents.iter().map(|document| document.id).collect();
            documents.extend(with_words.iter().filter(|document| !near.contains(&document.id)));
            documents
        }
    };
    let compared = store.compared((connection, schema), embedder, &documents).await?;
    let candidate = |(known, compared): (&Known, Option<Arc<ComparedDocument>>)| {
        let compared = compared?;
        Some(Candidate { id: known.id, cosine: dot(&embedded.vector, &compared.vector).into(), compared })
    };
    let mut candidates: Vec<Candidate> = documents.iter().zip(compared).filter_map(candidate).collect();
    if let Passing::These(_) = passing {
        // Documents share texts, and so cosines: the same ones are the nearest each time.
        candidates.sort_unstable_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.id.cmp(&b.id)));
        let with_words: HashSet<i32> = with_words.iter().map(|document| document.id).collect();
        let mut near = 0..near(query);
        candidates.retain(|candidate| near.next().is_some() || with_words.contains(&candidate.id));
    }
    candidates.retain(|candidate| candidate.id <= query.page.document);
    candidates.sort_unstable_by_key(|candidate| candidate.id);
    Ok(candidates)
}

/// The nearest documents of all that pass, by HNSW.
async fn nearest(store: &TraceStore, begun: &Begun, query: &SearchQuery) -> Result<Vec<Known>> {
    let Begun { connection, schema, embedded, passing, .. } = begun;
    let mut parameters = Parameters::default();
    parameters.bind(Vector::new(&embedded.vector));
    let (wanted, distance) = (store.sql().vector(1, &schema.vector), &schema.distance);
    let source = source(store, passing, query, &mut parameters);
    // A number, since the planner would compare all documents for a limit that it does not know.
    let count = near(query);
    let sql = format!(
        "SELECT id, hash FROM ({source}) AS document ORDER BY embedding {distance} {wanted} LIMIT {count}"
    );
    let rows =
        connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(&query.filter))?;
    rows.iter().map(Known::of).collect()
}

//! From a query to ranked documents, and from documents to spans and traces.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{OperationHit, SearchOptions, SpanHit, TraceHit, compare};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Connection, Microseconds, TraceStore};

/// How many documents are considered for each wanted result, at least, and at most in all.
const DOCUMENTS_PER_RESULT: usize = 8;
const MIN_DOCUMENTS: usize = 160;
const MAX_DOCUMENTS: usize = 1000;
/// How many spans of one document are looked at, at least; twice as many as results are wanted, when that is more.
const SPANS_PER_DOCUMENT: usize = 20;
/// What the query's words count for in a score, beside the cosine; a rare word counts more than a common one.
const WORDS_WEIGHT: f64 = 0.2;
/// The most matched spans that a trace shows.
const SPANS_PER_TRACE: usize = 5;

/// Rows of a period, by the expression of the index span_rows_document and exactly.
const WITHIN_5_AND_6: &str = "r.start_time >= $5 AND r.start_time < $6 \
     AND date_bin('10 s', r.start_time, 'epoch') BETWEEN date_bin('10 s', $5, 'epoch') AND date_bin('10 s', $6, 'epoch')";

/// A document near to the query.
struct Document {
    id: i32,
    score: f64,
    service: String,
    text: String,
    is_error: bool,
}

pub(super) async fn traces(
    store: &TraceStore,
    query: &str,
    options: &SearchOptions,
) -> Result<Vec<TraceHit>> {
    let (connection, documents) = nearest(store, query, options).await?;
    let per_document = SPANS_PER_DOCUMENT.max(2 * limit(options)) as i64;
    let spans = spans_of(store, &connection, &documents, options, per_document).await?;
    let mut hits: Vec<TraceHit> = Vec::new();
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    for (_, span) in spans {
        match places.get(&span.trace_id) {
            Some(&at) if hits[at].spans.len() < SPANS_PER_TRACE => hits[at].spans.push(span),
            Some(_) => {}
            None if hits.len() < limit(options) => {
                places.insert(span.trace_id, hits.len());
                hits.push(TraceHit {
                    trace_id: span.trace_id,
                    score: span.score,
                    root_service: String::new(),
                    root_name: String::new(),
                    start: span.start,
                    duration: Duration::ZERO,
                    span_count: 0,
                    error_count: 0,
                    spans: vec![span],
                });
            }
            None => {}
        }
    }
    summarize(store, &connection, &mut hits, &places).await?;
    connection.give_back();
    Ok(hits)
}

pub(super) async fn operations(
    store: &TraceStore,
    query: &str,
    options: &SearchOptions,
) -> Result<Vec<OperationHit>> {
    let (connection, documents) = nearest(store, query, options).await?;
    let spans = spans_of(store, &connection, &documents, options, 1).await?;
    connection.give_back();
    let mut texts: HashMap<i32, String> =
        documents.into_iter().map(|document| (document.id, document.text)).collect();
    let mut seen = HashSet::new();
    let mut hits = Vec::new();
    for (document_id, example) in spans {
        let Some(text) = texts.remove(&document_id) else { continue };
        // Two documents with the same text differ in what a person would not call another operation.
        if seen.insert((example.service.clone(), text.clone())) {
            hits.push(OperationHit { document_id, text, example });
        }
        if hits.len() == limit(options) {
            break;
        }
    }
    Ok(hits)
}

fn limit(options: &SearchOptions) -> usize {
    options.limit.clamp(1, 1000)
}

/// The documents nearest to the query, best first.
async fn nearest(
    store: &TraceStore,
    query: &str,
    options: &SearchOptions,
) -> Result<(Connection, Vec<Document>)> {
    let doing = || Error::database("searching documents");
    let (connection, schema, vector) = compare::begin(store, query).await?;
    let tables = &store.sql().schema;
    let count = (limit(options) * DOCUMENTS_PER_RESULT).clamp(MIN_DOCUMENTS, MAX_DOCUMENTS);
    let distance = &schema.distance;
    let wanted = store.sql().vector(1, &schema.vector);
    // Filters leave few documents, which are compared exactly (OFFSET 0 keeps HNSW out): HNSW would look for the
    // nearest of all documents, and find too few of these.
    let source = if options.service.is_none() && options.since.is_none() && options.until.is_none() {
        format!(
            "(SELECT * FROM {tables}.span_documents WHERE embedding IS NOT NULL \
              AND $3::text IS NULL AND $5::timestamptz IS NOT NULL AND $6::timestamptz IS NOT NULL)"
        )
    } else {
        format!(
            "(SELECT * FROM {tables}.span_documents d WHERE embedding IS NOT NULL \
              AND ($3::text IS NULL OR service = $3) \
              AND EXISTS (SELECT FROM {tables}.span_rows r WHERE r.document_id = d.id AND {WITHIN_5_AND_6}) OFFSET 0)"
        )
    };
    let sql = format!(
        "WITH query AS (SELECT tsvector_to_array(to_tsvector('pg_catalog.english', $4)) AS words), \
         near AS MATERIALIZED ( \
             SELECT id, 1 - (embedding {distance} {wanted}) AS score, service, text, status_code, words \
             FROM {source} AS document ORDER BY embedding {distance} {wanted} LIMIT $2) \
         SELECT near.id, score, service, text, status_code, query.words, \
                ARRAY(SELECT unnest(query.words) INTERSECT SELECT unnest(tsvector_to_array(near.words))) \
         FROM near CROSS JOIN query"
    );
    connection.batch_execute(&format!("SET LOCAL hnsw.ef_search = {count}")).await.map_err(doing())?;
    let (since, until) = period(options);
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&vector, &(count as i64), &options.service, &query, &since, &until];
    let rows = connection.query_prepared(&sql, &parameters).await.map_err(doing())?;
    connection.batch_execute("COMMIT").await.map_err(doing())?;
    let threshold = options.similarity_threshold.unwrap_or(store.settings().similarity_threshold);
    Ok((connection, ranked(&rows, threshold)))
}

/// Scores documents by cosine and by the query's words, leaves out what is below the threshold, and sorts.
fn ranked(rows: &[Row], threshold: f64) -> Vec<Document> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        for word in row.get::<_, Vec<&str>>(6) {
            *found.entry(word).or_default() += 1;
        }
    }
    // A word that most of the documents near the query have tells little about any of them.
    let weight =
        |word: &str| (1.0 + rows.len() as f64 / (1.0 + found.get(word).copied().unwrap_or(0) as f64)).ln();
    let total = |words: Vec<&str>| words.into_iter().map(weight).sum::<f64>();
    let score = |row: &Row| {
        let share = total(row.get(6)) / total(row.get(5)).max(f64::MIN_POSITIVE);
        (1.0 - WORDS_WEIGHT) * row.get::<_, f64>(1) + WORDS_WEIGHT * share
    };
    let mut documents: Vec<Document> = rows
        .iter()
        .map(|row| Document {
            id: row.get(0),
            score: score(row),
            service: row.get(2),
            text: row.get(3),
            is_error: row.get::<_, i16>(4) == 2,
        })
        .filter(|document| threshold <= 0.0 || document.score >= threshold)
        .collect();
    documents.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    documents
}

/// The bounds on the start of spans.
fn period(options: &SearchOptions) -> (Time, Time) {
    (
        options.since.map_or(Time::MIN, |time| Time::from(Timestamp::from(time))),
        options.until.map_or(Time::MAX, |time| Time::from(Timestamp::from(time))),
    )
}

/// The newest spans of documents, in the order of the documents, each with its document's id.
async fn spans_of(
    store: &TraceStore,
    connection: &Connection,
    documents: &[Document],
    options: &SearchOptions,
    per_document: i64,
) -> Result<Vec<(i32, SpanHit)>> {
    let tables = &store.sql().schema;
    // The expression of the index span_rows_document.
    let bin = "date_bin('10 s', r.start_time, 'epoch')";
    let sql = format!(
        "SELECT d.id, s.trace_id, s.span_id, s.start_time, s.start_ns, s.duration_ns, \
                {tables}.span_body(d.body, s.fillers) ->> 'name', \
                coalesce(nullif({tables}.span_body(d.body, s.fillers) ->> 'status_message', ''), \
                         {tables}.span_body(d.body, s.fillers) #>> '{{events,0,attributes,exception.message}}') \
         FROM unnest($1::integer[]) WITH ORDINALITY AS wanted (id, place) \
         JOIN {tables}.span_documents d ON d.id = wanted.id \
         CROSS JOIN LATERAL ( \
             SELECT * FROM {tables}.span_rows r \
             WHERE r.document_id = wanted.id AND r.start_time >= $2 AND r.start_time < $3 \
               AND {bin} BETWEEN date_bin('10 s', $2, 'epoch') AND date_bin('10 s', $3, 'epoch') \
             ORDER BY {bin} DESC, r.start_time DESC, r.start_ns DESC LIMIT $4) s \
         ORDER BY wanted.place, s.start_time DESC, s.start_ns DESC"
    );
    let ids: Vec<i32> = documents.iter().map(|document| document.id).collect();
    let (since, until) = period(options);
    let doing = || Error::database("reading matched spans");
    let parameters: [&(dyn ToSql + Sync); 4] = [&ids, &since, &until, &per_document];
    let rows = connection.query_prepared(&sql, &parameters).await.map_err(doing())?;
    let by_id: HashMap<i32, &Document> = documents.iter().map(|document| (document.id, document)).collect();
    Ok(rows
        .iter()
        .filter_map(|row| by_id.get(&row.get(0)).map(|document| (document.id, span_hit(row, document))))
        .collect())
}

fn span_hit(row: &Row, document: &Document) -> SpanHit {
    SpanHit {
        trace_id: TraceId::from_bytes(row.get::<_, Uuid>(1).into_bytes()),
        span_id: SpanId::from_bytes(row.get::<_, i64>(2).to_be_bytes()),
        score: document.score,
        service: document.service.clone(),
        name: row.get::<_, Option<String>>(6).unwrap_or_default(),
        is_error: document.is_error,
        message: row.get(7),
        start: start(row, 3, 4),
        duration: Duration::from_nanos(row.get::<_, i64>(5).max(0) as u64),
    }
}

fn start(row: &Row, microseconds: usize, nanoseconds: usize) -> Timestamp {
    let microseconds = i128::from(row.get::<_, Microseconds>(microseconds).0);
    Timestamp(microseconds * 1000 + i128::from(row.get::<_, i16>(nanoseconds)))
}

/// Adds root, times and counts to the traces found.
async fn summarize(
    store: &TraceStore,
    connection: &Connection,
    hits: &mut [TraceHit],
    places: &HashMap<TraceId, usize>,
) -> Result<()> {
    let tables = &store.sql().schema;
    let sql = format!(
        "SELECT DISTINCT ON (r.trace_id) r.trace_id, d.service, {tables}.span_body(d.body, r.fillers) ->> 'name', \
                min(r.start_time) OVER whole, \
                extract(epoch FROM max(r.start_time + make_interval(secs => r.duration_ns / 1e9)) OVER whole \
                                   - min(r.start_time) OVER whole)::float8, \
                count(*) OVER whole, count(*) FILTER (WHERE d.status_code = 2) OVER whole \
         FROM {tables}.span_rows r JOIN {tables}.span_documents d ON d.id = r.document_id \
         WHERE encode(uuid_send(r.trace_id), 'hex') COLLATE \"C\" = ANY($1) \
         WINDOW whole AS (PARTITION BY r.trace_id) \
         ORDER BY r.trace_id, r.parent_span_id <> 0, r.start_time, r.start_ns"
    );
    let doing = || Error::database("summarizing traces");
    let ids: Vec<String> = hits.iter().map(|hit| hit.trace_id.to_string()).collect();
    for row in connection.query_prepared(&sql, &[&ids]).await.map_err(doing())? {
        let trace_id = TraceId::from_bytes(row.get::<_, Uuid>(0).into_bytes());
        let Some(hit) = places.get(&trace_id).and_then(|&at| hits.get_mut(at)) else { continue };
        hit.root_service = row.get(1);
        hit.root_name = row.get::<_, Option<String>>(2).unwrap_or_default();
        hit.start = Timestamp(i128::from(row.get::<_, Microseconds>(3).0) * 1000);
        // Clocks that are wrong by thousands of years make a duration that is not worth an error.
        hit.duration = Duration::try_from_secs_f64(row.get(4)).unwrap_or_default();
        hit.span_count = row.get::<_, i64>(5) as u64;
        hit.error_count = row.get::<_, i64>(6) as u64;
    }
    Ok(())
}

/// A bound on `timestamptz`, in PostgreSQL's microseconds since 2000.
#[derive(Debug)]
struct Time(i64);

impl Time {
    const MIN: Time = Time(i64::MIN);
    const MAX: Time = Time(i64::MAX);
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        let microseconds = time.0.div_euclid(1000) - i128::from(crate::store::POSTGRES_EPOCH_US);
        // -infinity and infinity where PostgreSQL's own range ends.
        Time(i64::try_from(microseconds).unwrap_or(if time.0 < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl ToSql for Time {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        bytes::BufMut::put_i64(out, self.0);
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    tokio_postgres::types::to_sql_checked!();
}

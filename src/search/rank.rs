//! From a query to ranked documents, and from documents to spans and traces.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::candidates::Query;
use super::phrases::{self, Phrases};
use super::score::{Document, score, words_of};
use super::{OperationHit, SearchOptions, SpanHit, TraceHit};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Connection, Microseconds, TraceStore};

/// How many spans of one document are looked at, at least; twice as many as results are wanted, when that is more.
const SPANS_PER_DOCUMENT: usize = 20;
/// The most matched spans that a trace shows.
const SPANS_PER_TRACE: usize = 5;

/// How many documents' spans are read at a time: as a rule the best ones are enough.
const DOCUMENTS: usize = 40;

/// Rows of a period, by the expression of the index span_rows_document and exactly.
pub(super) const WITHIN_5_AND_6: &str = "r.start_time >= $5 AND r.start_time < $6 \
     AND date_bin('10 s', r.start_time, 'epoch') BETWEEN date_bin('10 s', $5, 'epoch') AND date_bin('10 s', $6, 'epoch')";

pub(super) async fn traces(
    store: &TraceStore,
    query: &str,
    options: &SearchOptions,
) -> Result<Vec<TraceHit>> {
    let Found { connection, phrases, documents } = found(store, query, options).await?;
    let per_document = SPANS_PER_DOCUMENT.max(2 * limit(options)) as i64;
    let mut hits: Vec<TraceHit> = Vec::new();
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    let mut spans = Vec::new();
    for documents in documents.chunks(DOCUMENTS.max(2 * limit(options))) {
        spans.extend(spans_of(store, &connection, documents, options, &phrases, per_document).await?);
        let traces: HashSet<TraceId> = spans.iter().map(|(_, span)| span.trace_id).collect();
        if traces.len() >= limit(options) {
            break;
        }
    }
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
    let Found { connection, phrases, documents } = found(store, query, options).await?;
    let mut seen = HashSet::new();
    let mut hits = Vec::new();
    for documents in documents.chunks(DOCUMENTS.max(2 * limit(options))) {
        let texts: HashMap<i32, &str> =
            documents.iter().map(|document| (document.id, document.text.as_str())).collect();
        for (document_id, example) in spans_of(store, &connection, documents, options, &phrases, 1).await? {
            let Some(text) = texts.get(&document_id).map(|&text| text.to_owned()) else { continue };
            // Two documents with the same text differ in what a person would not call another operation.
            if seen.insert((example.service.clone(), text.clone())) {
                hits.push(OperationHit { document_id, text, example });
            }
        }
        if hits.len() >= limit(options) {
            break;
        }
    }
    connection.give_back();
    hits.truncate(limit(options));
    Ok(hits)
}

pub(super) fn limit(options: &SearchOptions) -> usize {
    options.limit.clamp(1, 1000)
}

/// What was found for a query.
struct Found {
    connection: Connection,
    phrases: Phrases,
    /// Best first.
    documents: Vec<Document>,
}

/// The documents that fit the query, best first.
async fn found(store: &TraceStore, query: &str, options: &SearchOptions) -> Result<Found> {
    let embedded = Query::embed(store, query).await?;
    let (connection, schema) = store.connection().await?;
    let words = embedded.words(store, &connection).await?;
    let candidates =
        embedded.candidates(store, &connection, &schema.distance, &schema.vector, options).await?;
    let vectors = store.word_vectors(&connection, words_of(&candidates)).await?;
    let mut documents = score(&words, embedded.speaks_of_failure, candidates, &vectors);
    let threshold = options.similarity_threshold.unwrap_or(store.settings().similarity_threshold);
    // What has the phrases is what was asked for, whatever the model makes of them.
    if threshold > 0.0 && embedded.phrases.is_empty() {
        documents.retain(|document| document.score >= threshold);
    }
    Ok(Found { connection, phrases: embedded.phrases, documents })
}

/// The bounds on the start of spans.
pub(super) fn period(options: &SearchOptions) -> (Time, Time) {
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
    phrases: &Phrases,
    per_document: i64,
) -> Result<Vec<(i32, SpanHit)>> {
    let tables = &store.sql().schema;
    let with_phrases = match phrases.is_empty() {
        true => String::from("$5::text[] IS NOT NULL AND $6::text[] IS NOT NULL"),
        false => phrases::condition(tables, 5, 6),
    };
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
               AND {with_phrases} \
             ORDER BY {bin} DESC, r.start_time DESC, r.start_ns DESC LIMIT $4) s \
         ORDER BY wanted.place, s.start_time DESC, s.start_ns DESC"
    );
    let ids: Vec<i32> = documents.iter().map(|document| document.id).collect();
    let (since, until) = period(options);
    let doing = || Error::database("reading matched spans");
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&ids, &since, &until, &per_document, &phrases.patterns, &phrases.parts];
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
        explanation: Arc::clone(&document.explanation),
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
pub(super) struct Time(i64);

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

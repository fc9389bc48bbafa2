//! From ranked documents, or conditions alone, to operations: documents with their newest span.

use std::collections::{HashMap, HashSet};

use super::OperationHit;
use super::by_time::newest_passing;
use super::conditions::asks_each_row;
use super::query::{Found, SearchQuery};
use super::ranked::{Ranked, end, ranked};
use super::repeated::PerDocument;
use super::score::Document;
use super::spans::{Documents, FoundSpan, newest, shown};
use super::traces::{MAX_SPANS, begin, scored, with_trace_ids};
use crate::error::{Error, Result};
use crate::store::{Columns, Connection, SchemaInfo, TraceStore};

/// An operation that was found, by its newest span.
struct FoundOperation {
    text: String,
    example: FoundSpan,
}

pub(super) async fn operations(store: &TraceStore, query: &SearchQuery) -> Result<Found<OperationHit>> {
    let query = &with_trace_ids(store, query).await?;
    if query.text.is_empty() {
        let (connection, info, last) = begin(store).await?;
        let found = by_conditions(store, &connection, &info, query, last).await?;
        let newest = found.iter().map(|found| found.example.start).max();
        let Found { hits, next } = query.paged(found, newest, last);
        let hits = operation_hits(store, &connection, hits, &[]).await?;
        connection.give_back();
        return Ok(Found { hits, next });
    }
    let operations = |documents: &[Document], spans: &[FoundSpan]| {
        let found: HashSet<i32> = spans.iter().map(|span| span.document).collect();
        let found = documents.iter().filter(|document| found.contains(&document.id));
        found
            .map(|document| (&document.compared.service, &document.compared.text))
            .collect::<HashSet<_>>()
            .len()
    };
    let Ranked { connection, documents, spans, newest, last } =
        ranked(store, query, PerDocument::ONE, operations).await?;
    let found = distinct(store, &connection, spans, query.wanted()).await?;
    let Found { hits, next } = query.paged(found, newest, last);
    let hits = operation_hits(store, &connection, hits, &documents).await?;
    end(connection);
    Ok(Found { hits, next })
}

/// Operations of the newest spans that pass the conditions.
async fn by_conditions(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    query: &SearchQuery,
    last: i32,
) -> Result<Vec<FoundOperation>> {
    let (filter, last) = (query.bounded_filter(), last.min(query.page.document));
    let mut count = query.wanted() * 4;
    loop {
        let spans = match asks_each_row(&filter) {
            true => newest_passing(store, connection, info, &filter, last, count).await?,
            false => newest(store, connection, &Documents::All(last), &filter, 1, count).await?,
        };
        let all = spans.len() < count || count >= MAX_SPANS;
        let found = distinct(store, connection, spans, query.wanted()).await?;
        if all || found.len() >= query.wanted() {
            return Ok(found);
        }
        count *= 8;
    }
}

/// The first span of each operation. Two documents with the same text differ in what a person would not call another one.
async fn distinct(
    store: &TraceStore,
    connection: &Connection,
    spans: Vec<FoundSpan>,
    wanted: usize,
) -> Result<Vec<FoundOperation>> {
    let ids: Vec<i32> = spans.iter().map(|span| span.document).collect();
    let sql =
        format!("SELECT id, service, text FROM {}.span_documents WHERE id = ANY($1)", store.sql().schema);
    let rows =
        connection.query_prepared(&sql, &[&ids]).await.map_err(Error::database("reading operations"))?;
    let mut texts: HashMap<i32, (String, String)> = rows
        .iter()
        .map(|row| Ok((row.column(0)?, (row.column(1)?, row.column(2)?))))
        .collect::<Result<_>>()?;
    let mut seen = HashSet::new();
    let operations = spans.into_iter().filter_map(|example| {
        let (service, text) = texts.remove(&example.document)?;
        seen.insert((service, text.clone())).then_some(FoundOperation { text, example })
    });
    Ok(operations.take(wanted).collect())
}

/// Operations as they are shown, with the scores of their documents.
async fn operation_hits(
    store: &TraceStore,
    connection: &Connection,
    found: Vec<FoundOperation>,
    documents: &[Document],
) -> Result<Vec<OperationHit>> {
    let (mut texts, spans): (HashMap<i32, String>, Vec<FoundSpan>) =
        found.into_iter().map(|found| ((found.example.document, found.text), found.example)).unzip();
    let spans = scored(shown(store, connection, spans).await?, documents);
    let hit = |(document_id, example)| {
        Some(OperationHit { document_id, text: texts.remove(&document_id)?, example })
    };
    Ok(spans.into_iter().filter_map(hit).collect())
}

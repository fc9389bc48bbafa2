//! From ranked documents, or conditions alone, to operations: documents with their newest span.

use std::collections::{HashMap, HashSet};

use super::query::{Found, SearchQuery};
use super::score::Document;
use super::spans::{Documents, newest, newest_of_traces};
use super::traces::{MAX_SPANS, begin, end, ranked, with_trace_ids};
use super::{OperationHit, SpanHit};
use crate::error::{Error, Result};
use crate::store::{Connection, TraceStore};

pub(super) async fn operations(store: &TraceStore, query: &SearchQuery) -> Result<Found<OperationHit>> {
    let (mut connection, last) = begin(store).await?;
    let query = &with_trace_ids(store, &connection, query).await?;
    let mut reach = query.page.reach;
    let hits = if query.text.is_empty() {
        by_conditions(store, &connection, query).await?
    } else {
        let operations = |documents: &[Document], spans: &[(i32, SpanHit)]| {
            let found: HashSet<i32> = spans.iter().map(|(id, _)| *id).collect();
            let found = documents.iter().filter(|document| found.contains(&document.id));
            found.map(|document| (&document.service, &document.text)).collect::<HashSet<_>>().len()
        };
        let ranked = ranked(store, connection, query, last, 1, operations).await?;
        (connection, reach) = (ranked.connection, ranked.reach);
        distinct(store, &connection, ranked.spans, query.wanted()).await?
    };
    end(connection, query).await?;
    Ok(query.paged(hits, last, reach))
}

/// Operations of the newest spans that pass the conditions.
async fn by_conditions(
    store: &TraceStore,
    connection: &Connection,
    query: &SearchQuery,
) -> Result<Vec<OperationHit>> {
    let filter = query.bounded_filter();
    let mut count = query.wanted() * 4;
    loop {
        let spans = match filter.trace_ids.is_empty() {
            true => {
                let all = Documents::All(query.page.document);
                newest(store, connection, &all, &filter, 1, count).await?
            }
            false => newest_of_traces(store, connection, &filter, count).await?,
        };
        let all = spans.len() < count || count >= MAX_SPANS;
        let hits = distinct(store, connection, spans, query.wanted()).await?;
        if all || hits.len() >= query.wanted() {
            return Ok(hits);
        }
        count *= 8;
    }
}

/// The first span of each operation. Two documents with the same text differ in what a person would not call another one.
async fn distinct(
    store: &TraceStore,
    connection: &Connection,
    spans: Vec<(i32, SpanHit)>,
    wanted: usize,
) -> Result<Vec<OperationHit>> {
    let ids: Vec<i32> = spans.iter().map(|(id, _)| *id).collect();
    let sql = format!("SELECT id, text FROM {}.span_documents WHERE id = ANY($1)", store.sql().schema);
    let rows =
        connection.query_prepared(&sql, &[&ids]).await.map_err(Error::database("reading operations"))?;
    let mut texts: HashMap<i32, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut seen = HashSet::new();
    let operations = spans.into_iter().filter_map(|(document_id, example)| {
        let text = texts.remove(&document_id)?;
        seen.insert((example.service.clone(), text.clone())).then_some(OperationHit {
            document_id,
            text,
            example,
        })
    });
    Ok(operations.take(wanted).collect())
}

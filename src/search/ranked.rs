//! The newest spans of the documents that fit a query's text.

use std::collections::{HashMap, HashSet};

use opentelemetry::trace::{SpanId, TraceId};

use super::candidates::near;
use super::compare::{self, Begun};
use super::compared::{Reach, commit};
use super::conditions::asks_each_row;
use super::query::SearchQuery;
use super::rank::nearest;
use super::recent::newest_of_documents;
use super::repeated::{PerDocument, with_further_traces};
use super::score::Document;
use super::spans::FoundSpan;
use super::traces::newest_start;
use crate::error::Result;
use crate::span::Timestamp;
use crate::store::{Connection, TraceStore};

/// Of how many documents spans are read at first, at least; then of twice as many. As a rule the best ones are enough.
const DOCUMENTS: usize = 4;

/// Of how many documents rows are asked one by one, at least; of twice as many as a page has results, when that is more. Their
/// rows lie far apart: where the best documents have too few, reading the newest of all spans takes less.
const ASKED_DOCUMENTS: usize = 20;

/// What was found by a query's text.
pub(super) struct Ranked {
    /// In a transaction.
    pub connection: Connection,
    /// The documents that fit, the best first.
    pub documents: Vec<Document>,
    /// Their newest spans, of the best document first.
    pub spans: Vec<FoundSpan>,
    /// When the newest span started that had a part in it.
    pub newest: Option<Timestamp>,
    /// The last document that there was.
    pub last: i32,
}

/// The newest spans of the documents that fit the query's text, until `count` of them is as many as results are wanted.
///
/// Where the best documents have too few, those of the newest spans that pass come behind them: what pages before showed stays
/// in its place.
pub(super) async fn ranked(
    store: &TraceStore,
    query: &SearchQuery,
    per_document: PerDocument,
    count: impl Fn(&[Document], &[FoundSpan]) -> usize,
) -> Result<Ranked> {
    let filter = query.bounded_filter();
    let mut reach = Reach::first(&filter);
    let (mut documents, mut spans, mut newest) = (Vec::new(), Vec::new(), None);
    loop {
        let begun = compare::begin(store, query, reach).await?;
        let nearest = nearest(store, &begun, query).await?;
        let found = match &begun.by_spans {
            Some(found) => in_order(found, &nearest, per_document.spans),
            None => of_documents(store, &begun, &nearest, query, per_document, &count).await?,
        };
        // Which documents are candidates, and so their scores, depends on all spans that were looked at.
        let looked_at = begun.by_spans.as_ref().unwrap_or(&found);
        newest = newest.max(newest_start(looked_at));
        add(&mut spans, found);
        documents.extend(nearest);
        let Begun { connection, last, passing, .. } = begun;
        let enough = count(&documents, &spans) >= query.wanted();
        if enough || !reach.is_short(&filter, &passing, last, near(query)) {
            return Ok(Ranked { connection, documents, spans, newest, last });
        }
        end(connection);
        reach = Reach::Spans;
    }
}

/// Ends the transaction of a search, and gives back its connection.
pub(super) fn end(connection: Connection) {
    commit(&connection);
    connection.give_back();
}

/// The newest spans of ranked documents that pass the conditions, until `count` of them is as many as results are wanted: of
/// the best documents first. When they are through, it is their next older spans, for later pages.
async fn of_documents(
    store: &TraceStore,
    begun: &Begun,
    documents: &[Document],
    query: &SearchQuery,
    mut per_document: PerDocument,
    count: impl Fn(&[Document], &[FoundSpan]) -> usize,
) -> Result<Vec<FoundSpan>> {
    let filter = query.bounded_filter();
    let documents = match asks_each_row(&filter) {
        true => &documents[..documents.len().min(ASKED_DOCUMENTS.max(2 * query.wanted_first()))],
        false => documents,
    };
    let mut spans = Vec::new();
    loop {
        let mut size = DOCUMENTS.max(2 * query.wanted() / per_document.spans);
        let mut left = documents;
        while !left.is_empty() && count(documents, &spans) < query.wanted() {
            let (now, later) = left.split_at(size.min(left.len()));
            let ids = now.iter().map(|document| document.id).collect();
            let Begun { connection, newest_root, .. } = begun;
            let mut found =
                newest_of_documents(store, connection, ids, &filter, *newest_root, per_document.spans)
                    .await?;
            while per_document.traces > 0 && count(documents, &spans) < query.wanted() && !found.is_empty() {
                let later = found.split_off(of_first(&found));
                add(&mut spans, with_further_traces(store, begun, found, &filter, per_document).await?);
                found = later;
            }
            add(&mut spans, found);
            (left, size) = (later, 2 * size);
        }
        // One span of each is enough where they are operations.
        if count(documents, &spans) >= query.wanted()
            || per_document.spans == 1
            || per_document.spans >= 2 * query.wanted()
            || !has_more(&spans, per_document.spans)
        {
            return Ok(spans);
        }
        per_document = per_document.more();
    }
}

/// How many of these spans are of the document of the first.
fn of_first(spans: &[FoundSpan]) -> usize {
    spans.iter().take_while(|span| Some(span.document) == spans.first().map(|first| first.document)).count()
}

/// Whether a document may have more spans than these, of which there are at most so many of each.
fn has_more(spans: &[FoundSpan], per_document: usize) -> bool {
    let mut counts: HashMap<i32, usize> = HashMap::new();
    spans.iter().any(|span| {
        let count = counts.entry(span.document).or_default();
        *count += 1;
        *count >= per_document
    })
}

/// Spans in the order of their documents, at most so many of each; then the others of these documents.
fn in_order(spans: &[FoundSpan], documents: &[Document], per_document: usize) -> Vec<FoundSpan> {
    let mut by_document: HashMap<i32, Vec<&FoundSpan>> = HashMap::new();
    for span in spans {
        by_document.entry(span.document).or_default().push(span);
    }
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for document in documents {
        let of_document = by_document.remove(&document.id).unwrap_or_default();
        let (now, later) = of_document.split_at(per_document.min(of_document.len()));
        first.extend(now.iter().copied().cloned());
        others.extend(later.iter().copied().cloned());
    }
    first.append(&mut others);
    first
}

/// Adds those spans that are not there yet.
fn add(spans: &mut Vec<FoundSpan>, more: Vec<FoundSpan>) {
    let mut seen: HashSet<(TraceId, SpanId)> =
        spans.iter().map(|span| (span.trace_id, span.span_id)).collect();
    spans.extend(more.into_iter().filter(|span| seen.insert((span.trace_id, span.span_id))));
}

//! Documents that come many times in a trace, such as a query that is asked once for each row of another one: their newest
//! spans are of few traces, so more are read until these are enough.

use std::collections::HashSet;

use opentelemetry::trace::TraceId;

use super::compare::Begun;
use super::filter::Filter;
use super::query::SearchQuery;
use super::recent::newest_of_documents;
use super::spans::FoundSpan;
use crate::error::Result;
use crate::store::TraceStore;

/// How many spans of one document are looked at, at least; twice as many as a page has results, when that is more.
const SPANS: usize = 20;
/// The most spans of one document that are read at once to find more of its traces.
const MOST: usize = 100_000;

/// How many of its newest spans are read of each document.
#[derive(Clone, Copy)]
pub(super) struct PerDocument {
    pub spans: usize,
    /// Of how many traces they are to be, where the document has so many.
    pub traces: usize,
}

impl PerDocument {
    /// The newest one.
    pub(super) const ONE: Self = PerDocument { spans: 1, traces: 0 };

    /// For a page of spans.
    pub(super) fn spans(query: &SearchQuery) -> Self {
        PerDocument { spans: SPANS.max(2 * query.wanted_first()), traces: 0 }
    }

    /// For a page of traces.
    pub(super) fn traces(query: &SearchQuery) -> Self {
        let PerDocument { spans, .. } = Self::spans(query);
        PerDocument { spans, traces: spans / 2 }
    }

    /// For later pages.
    pub(super) fn more(self) -> Self {
        PerDocument { spans: 8 * self.spans, traces: 8 * self.traces }
    }
}

/// The newest spans of a document, and one of each further trace until these are as many as wanted.
pub(super) async fn with_further_traces(
    store: &TraceStore,
    begun: &Begun,
    mut spans: Vec<FoundSpan>,
    filter: &Filter,
    per_document: PerDocument,
) -> Result<Vec<FoundSpan>> {
    let Some(document) = spans.first().map(|span| span.document) else { return Ok(spans) };
    let mut seen: HashSet<TraceId> = spans.iter().map(|span| span.trace_id).collect();
    let (mut read, mut found) = (per_document.spans, spans.len());
    while found >= read && read < MOST && seen.len() < per_document.traces {
        read = (8 * read).min(MOST);
        let filter = Filter { apart_from: seen.iter().copied().collect(), ..filter.clone() };
        let Begun { connection, newest_root, .. } = begun;
        let further =
            newest_of_documents(store, connection, vec![document], &filter, *newest_root, read).await?;
        found = further.len();
        spans.extend(further.into_iter().filter(|span| seen.insert(span.trace_id)));
    }
    Ok(spans)
}

//! Finding traces by meaning: nearest documents first, then their newest spans.
//!
//! Documents are ranked by the cosine of their embedding to the query's, and by the query's words that they contain.

mod compare;
mod rank;

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};

use crate::error::Result;
use crate::span::Timestamp;
use crate::store::TraceStore;

/// What a search is limited to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// The most results, 1 to 1000. Default 10.
    pub limit: usize,
    /// The lowest score, 0 (no limit) to 1; `None` is the setting `similarity_threshold`.
    pub similarity_threshold: Option<f64>,
    /// Only spans of this service.
    pub service: Option<String>,
    /// Only spans that started at this time or later.
    pub since: Option<SystemTime>,
    /// Only spans that started before this time.
    pub until: Option<SystemTime>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        SearchOptions { limit: 10, similarity_threshold: None, service: None, since: None, until: None }
    }
}

impl SearchOptions {
    /// With at most `limit` results.
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// With results of at least this score, 0 (no limit) to 1.
    pub fn with_similarity_threshold(mut self, threshold: f64) -> Self {
        self.similarity_threshold = Some(threshold);
        self
    }

    /// With spans of this service only.
    pub fn with_service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// With spans that started at `time` or later.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// With spans that started before `time`.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }
}

/// A trace in which spans matched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TraceHit {
    /// The trace.
    pub trace_id: TraceId,
    /// The score of its best span.
    pub score: f64,
    /// The service of the root, or of the first span where there is no root.
    pub root_service: String,
    /// The name of the root.
    pub root_name: String,
    /// When the trace started.
    pub start: Timestamp,
    /// From the first start to the last end.
    pub duration: Duration,
    /// How many spans it has.
    pub span_count: u64,
    /// How many of them failed.
    pub error_count: u64,
    /// The spans that matched, best first.
    pub spans: Vec<SpanHit>,
}

/// A span that matched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanHit {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// How well its document fits the query, up to 1: four fifths are the cosine similarity of their embeddings, one fifth
    /// is the share of the query's words that it has.
    pub score: f64,
    /// The service.
    pub service: String,
    /// The name, as it was exported.
    pub name: String,
    /// Whether it failed.
    pub is_error: bool,
    /// The status message or, where there is none, the message of its first exception.
    pub message: Option<String>,
    /// When it started.
    pub start: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

/// An operation that matched: a document, with its newest span as an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OperationHit {
    /// The document's id in the database.
    pub document_id: i32,
    /// What was embedded.
    pub text: String,
    /// The newest span of this operation.
    pub example: SpanHit,
}

impl TraceStore {
    /// Traces that show what `query` says, best first.
    ///
    /// The query is embedded, the nearest documents are found by cosine, and for each its newest spans within the
    /// options.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) when the model is missing or another one made the embeddings;
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Database`](crate::Error::Database),
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub async fn search_traces(&self, query: &str, options: &SearchOptions) -> Result<Vec<TraceHit>> {
        self.timed("searching traces", rank::traces(self, query, options)).await
    }

    /// Operations that do what `query` says, best first; none comes twice.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces).
    pub async fn search_operations(&self, query: &str, options: &SearchOptions) -> Result<Vec<OperationHit>> {
        self.timed("searching operations", rank::operations(self, query, options)).await
    }
}

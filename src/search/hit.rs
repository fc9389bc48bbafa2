//! What a search finds.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};

use crate::span::Timestamp;

/// A trace in which spans matched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TraceHit {
    /// The trace.
    pub trace_id: TraceId,
    /// The score of its best span; 1 where there was nothing to rank by.
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
    /// How well its document fits the query, up to 1; 1 where there was nothing to rank by.
    pub score: f64,
    /// What its score is made of; `None` where there was nothing to rank by.
    pub explanation: Option<Arc<Explanation>>,
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

/// What a score is made of: 0.4 × `cosine` + 0.6 × `words` + `failure` + `company`, at most 1.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The cosine similarity of the embeddings of the query and of the document, -1 to 1.
    pub cosine: f64,
    /// How near the document's words are to the query's, 0 to 1; words that few candidates have count more.
    pub words: f64,
    /// What it gains because it failed and the query speaks of failure.
    pub failure: f64,
    /// What it gains because another document of its service fits better.
    pub company: f64,
    /// Words of the query with the nearest of the document, where they are near.
    pub matched: Vec<MatchedWord>,
}

/// Two words that are near by their meaning.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatchedWord {
    /// In the query, in lowercase.
    pub query: String,
    /// In the document, in lowercase.
    pub document: String,
    /// Their cosine similarity, up to 1. The query's word has its context, so it seldom is 1.
    pub similarity: f64,
}

//! `--explain`: why a span is a result.

use opentelemetry_pgvector::search::SpanHit;
use serde_json::{Value, json};

use crate::highlight::Words;

/// A line for each reason.
pub fn reasons(span: &SpanHit, words: &Words) -> Vec<String> {
    let words = found(span, words);
    let mut reasons = vec![format!("score {:.3}", span.score)];
    if !words.is_empty() {
        reasons.push(format!("words {}", words.join(", ")));
    }
    reasons
}

/// The same for machines.
pub fn as_json(span: &SpanHit, words: &Words) -> Value {
    json!({ "score": span.score, "words": found(span, words) })
}

/// The words of the query that the span shows.
fn found(span: &SpanHit, words: &Words) -> Vec<String> {
    words.found_in(&[&span.service, &span.name, span.message.as_deref().unwrap_or_default()])
}

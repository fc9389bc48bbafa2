//! `--explain`: why a span is a result.

use opentelemetry_pgvector::search::{Explanation, SpanHit};
use serde_json::{Value, json};

use opentelemetry_pgvector::serve::highlight::Words;

/// A line for each reason.
pub fn reasons(span: &SpanHit, words: &Words) -> Vec<String> {
    let Some(why) = &span.explanation else {
        return vec!["it passes the conditions; there was nothing to rank by".into()];
    };
    let mut parts = vec![format!("cosine {:.2}", why.cosine), format!("words {:.2}", why.words)];
    parts.extend((why.failure > 0.0).then(|| format!("failure +{:.2}", why.failure)));
    parts.extend((why.company > 0.0).then(|| format!("company +{:.2}", why.company)));
    let mut reasons = vec![format!("score {:.3}: {}", span.score, parts.join(", "))];
    let near: Vec<String> = why
        .matched
        .iter()
        .map(|pair| format!("{} ~ {} {:.2}", pair.query, pair.document, pair.similarity))
        .collect();
    reasons.extend((!near.is_empty()).then(|| format!("near words: {}", near.join(", "))));
    let shown = found(span, words);
    reasons.extend((!shown.is_empty()).then(|| format!("in the span: {}", shown.join(", "))));
    reasons
}

/// The same for machines.
pub fn as_json(span: &SpanHit, words: &Words) -> Value {
    let why = span.explanation.as_deref();
    let near = |why: &Explanation| {
        why.matched
            .iter()
            .map(|pair| json!({ "query": pair.query, "document": pair.document, "similarity": pair.similarity }))
            .collect::<Vec<_>>()
    };
    json!({
        "score": span.score,
        "cosine": why.map(|why| why.cosine),
        "words_score": why.map(|why| why.words),
        "failure": why.map(|why| why.failure),
        "company": why.map(|why| why.company),
        "near": why.map(near),
        "words": found(span, words),
    })
}

/// The words of the query that the span shows.
fn found(span: &SpanHit, words: &Words) -> Vec<String> {
    words.found_in(&[&span.service, &span.name, span.message.as_deref().unwrap_or_default()])
}

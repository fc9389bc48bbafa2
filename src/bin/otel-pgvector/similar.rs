//! `similar`.

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::SimilarTrace;
use serde_json::Value;

use crate::args::SimilarOptions;
use crate::failure::{Failure, Outcome};
use crate::hits::{Shown, score};
use crate::human;
use crate::search::print;
use crate::terminal::tell;

pub async fn similar(store: TraceStore, options: &SimilarOptions) -> Outcome {
    let found = store.similar_traces(options.id, options.limit as usize).await?;
    let shown = Shown::plain();
    print(&found, options.json, |trace| as_json(trace, &shown), |trace| text(trace, &shown))?;
    if found.is_empty() {
        if store.get_trace(options.id).await?.is_empty() {
            return Err(Failure::NotFound(format!("no trace {} is stored", options.id)));
        }
        tell!("no other trace has an operation in common with it");
    }
    Ok(())
}

fn text(similar: &SimilarTrace, shown: &Shown) -> Vec<String> {
    let mut lines = shown.trace_head(&similar.trace, score(similar.trace.score));
    let shared = human::count(similar.shared as u64, "operation");
    let (missing, additional) =
        (human::thousands(similar.missing as u64), human::thousands(similar.additional as u64));
    lines
        .push(format!("      {shared} in common, {missing} not in this one, {additional} in this one alone"));
    lines
}

fn as_json(similar: &SimilarTrace, shown: &Shown) -> Value {
    let mut object = shown.trace_json(&similar.trace);
    if let Some(fields) = object.as_object_mut() {
        // No span matched: the traces are alike as a whole.
        fields.remove("spans");
        fields.remove("span_id");
    }
    object["shared"] = similar.shared.into();
    object["missing"] = similar.missing.into();
    object["additional"] = similar.additional.into();
    object
}

//! `new`.

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::NewOperation;
use serde_json::{Value, json};

use crate::args::NewOptions;
use crate::failure::Outcome;
use crate::hits::{Shown, score};
use crate::search::print;
use crate::terminal::{fit_between, one_line, tell};
use crate::{human, suggest, time};

pub async fn new(store: TraceStore, options: &NewOptions) -> Outcome {
    let service = options.service.as_deref();
    let found = store.new_since(options.since, service, options.limit as usize).await?;
    let shown = Shown::plain();
    print(&found, options.json, |new| as_json(new, &shown), |new| text(new, &shown))?;
    if found.is_empty() {
        suggest::known_services(&store, options.service.as_slice()).await?;
        tell!("nothing is new: every operation was seen before; try an earlier --since");
    }
    Ok(())
}

/// The new operation, then the nearest older one.
fn text(new: &NewOperation, shown: &Shown) -> Vec<String> {
    let (paint, example) = (shown.paint, &new.operation.example);
    let what = one_line(&format!("{} {}", example.service, example.name));
    let what = if example.is_error { paint.red(&format!("✗ {what}")) } else { format!("+ {what}") };
    let duration = paint.dim(&format!("  {}", human::duration(example.duration)));
    let mut lines = vec![fit_between("", &paint.bold(&what), &duration)];
    if let Some(message) = &example.message {
        let message = one_line(message);
        lines.push(format!("      {}", if example.is_error { paint.red(&message) } else { message }));
    }
    lines.push(match &new.nearest {
        Some(nearest) => {
            let text = one_line(&format!("{} {}", nearest.service, nearest.text));
            format!("      nearest before  {}{}", score(nearest.similarity), paint.dim(&text))
        }
        None => "      nothing like it before".into(),
    });
    lines.push(format!("      first stored    {}", time::readable(new.first_seen)));
    lines.push(format!(
        "      newest          {}  {}",
        example.trace_id,
        paint.dim(&time::readable(example.start))
    ));
    lines
}

fn as_json(new: &NewOperation, shown: &Shown) -> Value {
    let mut object = shown.operation_json(&new.operation);
    object["first_seen"] = time::exact(new.first_seen).into();
    object["nearest"] = new.nearest.as_ref().map_or(Value::Null, |nearest| {
        json!({
            "document_id": nearest.document_id,
            "service": nearest.service,
            "text": nearest.text,
            "similarity": nearest.similarity,
        })
    });
    object
}

//! `search`.

use std::io::{self, Write};

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::{OperationHit, SearchOptions as Query, SpanHit, TraceHit};
use serde_json::{Value, json};

use crate::args::{By, SearchOptions};
use crate::failure::Outcome;
use crate::human;
use crate::terminal::{Paint, fit, one_line, stdout, width};
use crate::time;

pub async fn search(store: TraceStore, options: &SearchOptions) -> Outcome {
    let mut query = Query::default().with_limit(options.limit as usize);
    query.similarity_threshold = options.min_score;
    query.service.clone_from(&options.service);
    query.since = options.since;
    query.until = options.until;

    let found = match options.by {
        By::Trace => {
            let hits = store.search_traces(&options.query, &query).await?;
            print(&hits, options.json, trace_json, trace_text)?;
            hits.len()
        }
        By::Operation => {
            let hits = store.search_operations(&options.query, &query).await?;
            print(&hits, options.json, operation_json, operation_text)?;
            hits.len()
        }
    };
    // For a script, no results are results too: this is no failure.
    if found == 0 {
        eprintln!("{}", nothing(&store, options));
    }
    Ok(())
}

/// Says what was looked for, and what could be changed.
fn nothing(store: &TraceStore, options: &SearchOptions) -> String {
    let threshold = options.min_score.unwrap_or(store.settings().similarity_threshold);
    let mut text = format!("nothing found with a score of {threshold} or more; try a lower --min-score");
    let filters = [
        ("--service", options.service.is_some()),
        ("--since", options.since.is_some()),
        ("--until", options.until.is_some()),
    ];
    let given: Vec<&str> = filters.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if !given.is_empty() {
        text += &format!(", or without {}", given.join(" and "));
    }
    text + ". `otel-pgvector health` says what is stored, and whether it is embedded"
}

fn print<T>(
    hits: &[T],
    as_json: bool,
    json: fn(&T) -> Value,
    text: fn(&T, &Page) -> Vec<String>,
) -> io::Result<()> {
    let mut out = stdout();
    let page = Page { paint: Paint::stdout(), width: width() };
    for (number, hit) in hits.iter().enumerate() {
        if as_json {
            writeln!(out, "{}", json(hit))?;
            continue;
        }
        if number > 0 {
            writeln!(out)?;
        }
        for line in text(hit, &page) {
            writeln!(out, "{}", page.fit(&line))?;
        }
    }
    out.flush()
}

struct Page {
    paint: Paint,
    width: Option<usize>,
}

impl Page {
    fn fit(&self, line: &str) -> String {
        self.width.map_or_else(|| line.to_owned(), |width| fit(line, width))
    }

    /// A span that matched, on a line, and its message on another.
    fn span(&self, span: &SpanHit) -> Vec<String> {
        let duration = human::duration(span.duration);
        let what = one_line(&format!("{} {}", span.service, span.name));
        let what = if span.is_error { self.paint.red(&format!("✗ {what}")) } else { format!("· {what}") };
        let score = self.paint.dim(&format!("{:.2}", span.score));
        let mut lines = vec![format!("      {score}  {what}  {}", self.paint.dim(&duration))];
        if let Some(message) = &span.message {
            let message = one_line(message);
            let message = if span.is_error { self.paint.red(&message) } else { message };
            lines.push(format!("              {message}"));
        }
        lines
    }
}

fn trace_text(hit: &TraceHit, page: &Page) -> Vec<String> {
    let paint = page.paint;
    let errors = match hit.error_count {
        0 => String::new(),
        count => format!("  {}", paint.red(&human::count(count, "error"))),
    };
    let name = one_line(&format!("{} {}", hit.root_service, hit.root_name));
    let mut lines = vec![
        format!(
            "{:.2}  {}  {}  {}{errors}",
            hit.score,
            paint.bold(&name),
            human::duration(hit.duration),
            human::count(hit.span_count, "span"),
        ),
        format!("      {}  {}", hit.trace_id, paint.dim(&time::readable(hit.start))),
    ];
    lines.extend(hit.spans.iter().flat_map(|span| page.span(span)));
    lines
}

fn operation_text(hit: &OperationHit, page: &Page) -> Vec<String> {
    let example = &hit.example;
    let paint = page.paint;
    let mut lines = page.span(example);
    let when = paint.dim(&time::readable(example.start));
    lines.push(format!("              {}  {when}", example.trace_id));
    lines.push(format!("              {}", paint.dim(&one_line(&hit.text))));
    lines
}

fn trace_json(hit: &TraceHit) -> Value {
    let best = hit.spans.first();
    json!({
        "trace_id": hit.trace_id.to_string(),
        "span_id": best.map(|span| span.span_id.to_string()),
        "score": hit.score,
        "root_service": hit.root_service,
        "root_name": hit.root_name,
        "start": time::exact(hit.start),
        "duration_ns": hit.duration.as_nanos() as u64,
        "span_count": hit.span_count,
        "error_count": hit.error_count,
        "spans": hit.spans.iter().map(span_json).collect::<Vec<_>>(),
    })
}

fn operation_json(hit: &OperationHit) -> Value {
    let mut object = span_json(&hit.example);
    object["document_id"] = hit.document_id.into();
    object["text"] = hit.text.as_str().into();
    object
}

fn span_json(span: &SpanHit) -> Value {
    json!({
        "trace_id": span.trace_id.to_string(),
        "span_id": span.span_id.to_string(),
        "score": span.score,
        "service": span.service,
        "name": span.name,
        "is_error": span.is_error,
        "message": span.message,
        "start": time::exact(span.start),
        "duration_ns": span.duration.as_nanos() as u64,
    })
}

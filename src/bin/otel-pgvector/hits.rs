//! What a search found, as text and as JSON.

use opentelemetry_pgvector::search::{OperationHit, SearchQuery, SpanHit, TraceHit};
use opentelemetry_pgvector::serve::highlight::Words;
use serde_json::{Value, json};

use crate::terminal::{Paint, fit_between, one_line};
use crate::{explain, human, time};

/// How results are shown.
pub struct Shown {
    pub paint: Paint,
    pub words: Words,
    /// Whether they have a score: there were words to rank by.
    pub scored: bool,
    pub explain: bool,
}

/// The columns in front of what belongs to a trace, and to a span.
const INDENT: &str = "      ";
const DEEP: &str = "              ";

impl Shown {
    pub fn new(query: &SearchQuery, explain: bool) -> Shown {
        Shown { paint: Paint::stdout(), words: Words::of(query), scored: !query.text().is_empty(), explain }
    }

    /// Without a query.
    pub fn plain() -> Shown {
        Shown::new(&SearchQuery::new(""), false)
    }

    /// A trace, and the spans that matched.
    pub fn trace(&self, hit: &TraceHit) -> Vec<String> {
        let mut lines = self.trace_head(hit, if self.scored { score(hit.score) } else { INDENT.into() });
        lines.extend(hit.spans.iter().flat_map(|span| self.span(span)));
        lines
    }

    /// Root, duration and counts of a trace; its id and when it was.
    pub fn trace_head(&self, hit: &TraceHit, before: String) -> Vec<String> {
        let paint = self.paint;
        let errors = match hit.error_count {
            0 => String::new(),
            count => format!("  {}", paint.red(&human::count(count, "error"))),
        };
        let name = one_line(&format!("{} {}", hit.root_service, hit.root_name));
        let after =
            format!("  {}  {}{errors}", human::duration(hit.duration), human::count(hit.span_count, "span"));
        let head = fit_between(&before, &paint.bold(&name), &after);
        vec![head, format!("{INDENT}{}  {}", hit.trace_id, paint.dim(&time::readable(hit.start)))]
    }

    /// The text with these words in bold.
    fn mark(&self, words: &Words, text: &str) -> String {
        let parts = words.parts(text).into_iter();
        parts.map(|(part, is_word)| if is_word { self.paint.bold(part) } else { part.to_owned() }).collect()
    }

    /// A span on a line, and its message on another.
    pub fn span(&self, span: &SpanHit) -> Vec<String> {
        // The words of the query, and those that are near to them by their meaning.
        let near = span.explanation.iter().flat_map(|why| &why.matched);
        let words = self.words.and(near.map(|pair| pair.document.as_str()));
        let what = self.mark(&words, &one_line(&format!("{} {}", span.service, span.name)));
        let what = if span.is_error { self.paint.red(&format!("✗ {what}")) } else { format!("· {what}") };
        let before = if self.scored { self.paint.dim(&score(span.score)) } else { String::new() };
        let duration = self.paint.dim(&format!("  {}", human::duration(span.duration)));
        let mut lines = vec![fit_between(&format!("{INDENT}{before}"), &what, &duration)];
        if let Some(message) = &span.message {
            let message = self.mark(&words, &one_line(message));
            let message = if span.is_error { self.paint.red(&message) } else { message };
            lines.push(format!("{DEEP}{message}"));
        }
        if self.explain {
            let reasons = explain::reasons(span, &self.words).join("; ");
            lines.push(format!("{DEEP}{}", self.paint.dim(&format!("why: {}", one_line(&reasons)))));
        }
        lines
    }

    /// A span, its trace and when it was.
    pub fn span_alone(&self, span: &SpanHit) -> Vec<String> {
        let mut lines = self.span(span);
        lines.push(format!("{DEEP}{}  {}", span.trace_id, self.paint.dim(&time::readable(span.start))));
        lines
    }

    /// An operation: its newest span, and what was embedded.
    pub fn operation(&self, hit: &OperationHit) -> Vec<String> {
        let mut lines = self.span_alone(&hit.example);
        lines.push(format!("{DEEP}{}", self.paint.dim(&one_line(&hit.text))));
        lines
    }

    pub fn trace_json(&self, hit: &TraceHit) -> Value {
        json!({
            "trace_id": hit.trace_id.to_string(),
            "span_id": hit.spans.first().map(|span| span.span_id.to_string()),
            "score": hit.score,
            "root_service": hit.root_service,
            "root_name": hit.root_name,
            "start": time::exact(hit.start),
            "duration_ns": hit.duration.as_nanos() as u64,
            "span_count": hit.span_count,
            "error_count": hit.error_count,
            "spans": hit.spans.iter().map(|span| self.span_json(span)).collect::<Vec<_>>(),
        })
    }

    pub fn operation_json(&self, hit: &OperationHit) -> Value {
        let mut object = self.span_json(&hit.example);
        object["document_id"] = hit.document_id.into();
        object["text"] = hit.text.as_str().into();
        object
    }

    pub fn span_json(&self, span: &SpanHit) -> Value {
        let mut object = json!({
            "trace_id": span.trace_id.to_string(),
            "span_id": span.span_id.to_string(),
            "score": span.score,
            "service": span.service,
            "name": span.name,
            "is_error": span.is_error,
            "message": span.message,
            "start": time::exact(span.start),
            "duration_ns": span.duration.as_nanos() as u64,
        });
        if self.explain {
            object["explanation"] = explain::as_json(span, &self.words);
        }
        object
    }
}

/// A score, and the space behind it.
pub fn score(score: f64) -> String {
    format!("{score:.2}  ")
}

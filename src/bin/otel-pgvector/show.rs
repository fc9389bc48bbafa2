//! `trace`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::import::otlp_json::write_spans;
use opentelemetry_pgvector::span::{Attribute, Span, Timestamp, Value};

use crate::args::TraceOptions;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::terminal::{Paint, fit, one_line, pad, stdout, width, width_or_default};
use crate::time;
use crate::waterfall::{Line, bar, lines, period};

pub async fn trace(store: TraceStore, options: &TraceOptions) -> Outcome {
    let spans = store.get_trace(options.id).await?;
    if spans.is_empty() {
        return Err(Failure::NotFound(format!("no trace {} is stored", options.id)));
    }
    let mut out = stdout();
    if options.json {
        write_spans(&mut out, &spans)?;
        writeln!(out)?;
    } else {
        Waterfall::new(&spans, options.verbose).print(&mut out)?;
    }
    Ok(out.flush()?)
}

struct Waterfall<'a> {
    spans: &'a [Span<'a>],
    verbose: bool,
    paint: Paint,
    /// Where free text is cut, if anywhere.
    width: Option<usize>,
    label: usize,
    bar: usize,
    start: Timestamp,
    end: Timestamp,
}

/// Columns of a duration.
const DURATION: usize = 10;
/// Deeper spans are not indented further.
const MAX_INDENT: usize = 20;

impl<'a> Waterfall<'a> {
    fn new(spans: &'a [Span<'a>], verbose: bool) -> Self {
        let free = width_or_default().saturating_sub(DURATION + 2);
        let (start, end) = period(spans);
        let label = free * 3 / 5;
        let (paint, width) = (Paint::stdout(), width());
        Waterfall { spans, verbose, paint, width, label, bar: free - label, start, end }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(first) = self.spans.first() else { return Ok(()) };
        let errors = self.spans.iter().filter(|span| span.is_error()).count() as u64;
        let errors = match errors {
            0 => String::new(),
            count => format!("  {}", self.paint.red(&human::count(count, "error"))),
        };
        let summary = format!(
            "{}  {}  {}  {}{errors}",
            self.paint.bold(&first.trace_id.to_string()),
            time::readable(self.start),
            human::duration(between(self.start, self.end)),
            human::count(self.spans.len() as u64, "span"),
        );
        writeln!(out, "{}", self.cut(&summary))?;
        for line in lines(self.spans) {
            if let Some(span) = self.spans.get(line.span) {
                self.span(out, &line, span)?;
            }
        }
        Ok(())
    }

    fn span(&self, out: &mut impl Write, line: &Line, span: &Span<'_>) -> io::Result<()> {
        let indent = "  ".repeat(line.depth.min(MAX_INDENT));
        let orphan = if line.orphan { "↯ " } else { "" };
        let name = one_line(&format!("{} {}", span.resource.service_name(), span.name));
        let label = pad(&format!("{indent}{orphan}{name}"), self.label);
        let bar = bar(span, self.start, self.end, self.bar);
        let duration = human::duration(between(span.start, span.end));
        let (label, bar) = match span.is_error() {
            true => (self.paint.red(&label), self.paint.red(&bar)),
            false => (label, bar),
        };
        writeln!(out, "{label} {bar} {duration:>DURATION$}")?;
        if let Some(message) = message(span) {
            writeln!(out, "{}", self.cut(&format!("{indent}  {}", self.paint.red(&one_line(&message)))))?;
        }
        if self.verbose {
            self.details(out, &format!("{indent}    "), span)?;
        }
        Ok(())
    }

    fn details(&self, out: &mut impl Write, indent: &str, span: &Span<'_>) -> io::Result<()> {
        self.attributes(out, indent, &span.attributes)?;
        for event in &span.events {
            let after = human::duration(between(span.start, event.time));
            let line = format!("{indent}+{after} {}", one_line(&event.name));
            writeln!(out, "{}", self.cut(&line))?;
            self.attributes(out, &format!("{indent}  "), &event.attributes)?;
        }
        for link in &span.links {
            writeln!(out, "{indent}link to {} {}", link.trace_id, link.span_id)?;
        }
        Ok(())
    }

    fn attributes(&self, out: &mut impl Write, indent: &str, attributes: &[Attribute<'_>]) -> io::Result<()> {
        for (key, value) in attributes {
            let key = self.paint.dim(&one_line(key));
            writeln!(out, "{}", self.cut(&format!("{indent}{key} {}", one_line(&text(value)))))?;
        }
        Ok(())
    }

    fn cut(&self, line: &str) -> String {
        self.width.map_or_else(|| line.to_owned(), |width| fit(line, width))
    }
}

/// From one time to a later one; nothing where the clock went back.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from((to.0 - from.0).max(0)).unwrap_or(u64::MAX))
}

/// Why a span failed: its status message or, where there is none, that of its first exception.
fn message(span: &Span<'_>) -> Option<String> {
    if !span.is_error() {
        return None;
    }
    if !span.status.message.is_empty() {
        return Some(span.status.message.to_string());
    }
    let attributes = span.events.iter().flat_map(|event| &event.attributes);
    attributes
        .into_iter()
        .find(|(key, _)| key == "exception.message")
        .map(|(_, value)| text(value).into_owned())
}

fn text<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::Empty => Cow::Borrowed(""),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Double(value) => value.to_string().into(),
        Value::String(value) => Cow::Borrowed(value),
        Value::Bytes(value) => format!("{} bytes", value.len()).into(),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")).into()
        }
        Value::KeyValues(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}: {}", text(value))).collect();
            format!("{{{}}}", pairs.join(", ")).into()
        }
    }
}

//! `trace`.

use std::io::{self, Write};
use std::time::Duration;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::import::otlp_json::write_spans;
use opentelemetry_pgvector::serve::trace::{
    Line, Segment, Tree, between, critical_path, kind, lines, message, period, text, total,
};
use opentelemetry_pgvector::span::{Attribute, Span};

use crate::args::TraceOptions;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::terminal::{Paint, columns, cut, one_line, pad, stdout, width_or_default, write_json};
use crate::time;
use crate::waterfall::{Axis, below, branch};

pub async fn trace(store: TraceStore, options: &TraceOptions) -> Outcome {
    let spans = store.get_trace(options.id).await?;
    if spans.is_empty() {
        return Err(Failure::NotFound(format!("no trace {} is stored", options.id)));
    }
    let mut out = stdout();
    if options.json {
        let mut json = Vec::new();
        write_spans(&mut json, &spans)?;
        write_json(&mut out, &String::from_utf8_lossy(&json))?;
    } else {
        Waterfall::new(&spans, options.verbose).print(&mut out)?;
    }
    Ok(out.flush()?)
}

struct Waterfall<'a> {
    spans: &'a [Span<'a>],
    lines: Vec<Line>,
    critical: Vec<Vec<Segment>>,
    verbose: bool,
    paint: Paint,
    /// The columns of a span's name.
    label: usize,
    axis: Axis,
}

/// Columns of a duration.
const DURATION: usize = 10;
/// How many spans of the critical path are named.
const NAMED: usize = 3;

impl<'a> Waterfall<'a> {
    fn new(spans: &'a [Span<'a>], verbose: bool) -> Self {
        let tree = Tree::of(spans);
        let free = width_or_default().saturating_sub(DURATION + 2);
        let (start, end) = period(spans);
        let mut all = Waterfall {
            spans,
            lines: lines(spans, &tree),
            critical: critical_path(spans, &tree),
            verbose,
            paint: Paint::stdout(),
            label: free * 3 / 5,
            axis: Axis { start, end, columns: 0 },
        };
        // Names get what they need, bars the rest.
        let widest = all.lines.iter().map(|line| columns(&all.label(line))).max().unwrap_or_default();
        all.label = all.label.min(widest);
        all.axis.columns = free - all.label;
        all
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(first) = self.spans.first() else { return Ok(()) };
        let errors = self.spans.iter().filter(|span| span.is_error()).count() as u64;
        let errors = match errors {
            0 => String::new(),
            count => format!("  {}", self.paint.red(&human::count(count, "error"))),
        };
        let summary = format!(
            "{}  {}  {}{errors}  {}",
            self.paint.bold(&first.trace_id.to_string()),
            human::duration(between(self.axis.start, self.axis.end)),
            human::count(self.spans.len() as u64, "span"),
            self.paint.dim(&time::readable(self.axis.start)),
        );
        writeln!(out, "{}", cut(&summary))?;
        writeln!(out, "{}", cut(&self.paint.dim(&self.critical_summary())))?;
        for line in &self.lines {
            if let Some(span) = self.spans.get(line.span) {
                self.span(out, line, span)?;
            }
        }
        Ok(())
    }

    /// The spans that the critical path is most of, with their own time on it.
    fn critical_summary(&self) -> String {
        let mut spans: Vec<(i128, &Span<'_>)> =
            self.critical.iter().map(|segments| total(segments)).zip(self.spans).collect();
        spans.sort_by_key(|(time, _)| -time);
        let named = spans.iter().take(NAMED).filter(|(time, _)| *time > 0).map(|(time, span)| {
            let time = Duration::from_nanos(u64::try_from(*time).unwrap_or(u64::MAX));
            format!("{} {}", name(span), human::duration(time))
        });
        format!("█ critical path: {}", named.collect::<Vec<_>>().join(", "))
    }

    fn label(&self, line: &Line) -> String {
        let mark = match self.spans.get(line.span) {
            _ if line.orphan => "↯ ",
            Some(span) if span.is_error() => "✗ ",
            _ => "",
        };
        format!(
            "{}{mark}{}",
            branch(line, self.label / 2),
            self.spans.get(line.span).map(name).unwrap_or_default()
        )
    }

    fn span(&self, out: &mut impl Write, line: &Line, span: &Span<'_>) -> io::Result<()> {
        let label = pad(&self.label(line), self.label);
        let critical = self.critical.get(line.span).map(Vec::as_slice).unwrap_or_default();
        let bar = self.axis.bar((span.start, span.end), critical);
        let duration = human::duration(between(span.start, span.end));
        let (label, bar) = match span.is_error() {
            true => (self.paint.red(&label), self.paint.red(&bar)),
            false => (label, bar),
        };
        writeln!(out, "{label} {bar} {duration:>DURATION$}")?;
        let indent = below(line, self.label / 2);
        if let Some(message) = message(span) {
            writeln!(out, "{}", cut(&format!("{indent}{}", self.paint.red(&one_line(&message)))))?;
        }
        if self.verbose {
            self.details(out, &indent, span)?;
        }
        Ok(())
    }

    fn details(&self, out: &mut impl Write, indent: &str, span: &Span<'_>) -> io::Result<()> {
        let after = human::duration(between(self.axis.start, span.start));
        let about = format!("{} {} +{after}", span.span_id, kind(span.kind));
        writeln!(out, "{}", cut(&format!("{indent}{}", self.paint.dim(&about))))?;
        self.attributes(out, indent, &span.attributes)?;
        for event in &span.events {
            let after = human::duration(between(span.start, event.time));
            let line = format!("{indent}+{after} {}", one_line(&event.name));
            writeln!(out, "{}", cut(&line))?;
            self.attributes(out, &format!("{indent}  "), &event.attributes)?;
        }
        for link in &span.links {
            writeln!(out, "{}", cut(&format!("{indent}link to {} {}", link.trace_id, link.span_id)))?;
        }
        Ok(())
    }

    fn attributes(&self, out: &mut impl Write, indent: &str, attributes: &[Attribute<'_>]) -> io::Result<()> {
        for (key, value) in attributes {
            let key = self.paint.dim(&one_line(key));
            writeln!(out, "{}", cut(&format!("{indent}{key} {}", one_line(&text(value)))))?;
        }
        Ok(())
    }
}

fn name(span: &Span<'_>) -> String {
    one_line(&format!("{} {}", span.resource.service_name(), span.name))
}

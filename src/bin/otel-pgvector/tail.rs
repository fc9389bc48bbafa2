//! `tail`: spans as they are stored.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Filter, SearchQuery, SpanHit};
use opentelemetry_pgvector::span::Timestamp;
use opentelemetry_pgvector::{Result, TraceStore};

use crate::args::TailOptions;
use crate::failure::{Failure, Outcome, warn};
use crate::hits::Shown;
use crate::interrupt::interrupted;
use crate::terminal::{cut, fit_between, one_line, stdout, write_json};
use crate::{human, suggest, time};

/// How often the database is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most spans of a question, and the most questions at once.
const PAGE: usize = 1000;
const PAGES: usize = 10;

pub async fn tail(store: TraceStore, options: &TailOptions) -> Outcome {
    tokio::select! {
        biased;
        () = interrupted() => Err(Failure::Interrupted),
        outcome = follow(&store, options) => outcome,
    }
}

async fn follow(store: &TraceStore, options: &TailOptions) -> Outcome {
    // A service may be about to start: this is no error here.
    if let Err(Failure::NotFound(text)) = suggest::known_services(store, &options.filter.service).await {
        warn(&text);
    }
    let mut follower = Follower {
        filter: options.filter.filter(),
        window: options.window,
        newest: None,
        seen: HashMap::new(),
        warned: false,
    };
    let first = follower.first(store, options.lines as usize).await?;
    show(&first, options.json)?;
    let mut failing = false;
    loop {
        match follower.next(store).await {
            Ok(spans) => {
                show(&spans, options.json)?;
                failing = false;
            }
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut failing, true) {
                    warn(&format!("{error}; trying again"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks again and again at all spans that started within a window before the newest one, since spans are stored in the
/// order in which they end and are sent.
struct Follower {
    filter: Filter,
    window: Duration,
    /// The newest start of a span so far.
    newest: Option<SystemTime>,
    /// The spans of the window that were shown, with their starts.
    seen: HashMap<(TraceId, SpanId), Timestamp>,
    warned: bool,
}

impl Follower {
    /// The last spans that there are, the oldest first.
    async fn first(&mut self, store: &TraceStore, lines: usize) -> Result<Vec<SpanHit>> {
        let query = SearchQuery::filtered(self.filter.clone()).limit(lines.max(1));
        let mut spans = store.search_spans(query).await?.hits;
        self.newest = spans.iter().filter_map(|span| span.start.to_system_time()).max();
        self.seen.extend(spans.iter().map(|span| ((span.trace_id, span.span_id), span.start)));
        // What else is within the window is known from here on, with what came since the first question.
        spans.extend(self.next(store).await?);
        spans.sort_by_key(|span| span.start);
        Ok(spans.split_off(spans.len().saturating_sub(lines)))
    }

    /// The spans that are there now and were not before, the oldest first.
    async fn next(&mut self, store: &TraceStore) -> Result<Vec<SpanHit>> {
        let now = SystemTime::now();
        // A clock that is ahead must not hide what others send.
        let newest = self.newest.map_or(now, |newest| newest.min(now));
        let since = newest.checked_sub(self.window).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut query = SearchQuery::filtered(self.filter.clone().since(since)).limit(PAGE);
        let mut spans = Vec::new();
        for asked in 1.. {
            let found = store.search_spans(query.clone()).await?;
            spans.extend(found.hits);
            match found.next {
                Some(page) if asked < PAGES => query = query.page(page),
                Some(_) => {
                    self.warn();
                    break;
                }
                None => break,
            }
        }
        self.newest = self.newest.max(spans.iter().filter_map(|span| span.start.to_system_time()).max());
        let mut known = HashSet::new();
        spans.retain(|span| {
            let id = (span.trace_id, span.span_id);
            known.insert(id) && !self.seen.contains_key(&id)
        });
        let oldest = Timestamp::from(since);
        self.seen.retain(|_, start| *start >= oldest);
        self.seen.extend(spans.iter().map(|span| ((span.trace_id, span.span_id), span.start)));
        spans.reverse();
        Ok(spans)
    }

    fn warn(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            let most = human::thousands((PAGE * PAGES) as u64);
            warn(&format!("more than {most} spans within --window: some may be missed; add conditions"));
        }
    }
}

fn show(spans: &[SpanHit], as_json: bool) -> io::Result<()> {
    let mut out = stdout();
    let shown = Shown::plain();
    for span in spans {
        if as_json {
            write_json(&mut out, &shown.span_json(span).to_string())?;
            continue;
        }
        for line in lines(span, &shown) {
            writeln!(out, "{}", cut(&line))?;
        }
    }
    out.flush()
}

/// A span on a line, and its message on another.
fn lines(span: &SpanHit, shown: &Shown) -> Vec<String> {
    let paint = shown.paint;
    let what = one_line(&format!("{} {}", span.service, span.name));
    let what = if span.is_error { paint.red(&format!("✗ {what}")) } else { format!("· {what}") };
    let before = format!("{} {:>9}  ", paint.dim(&time::of_day(span.start)), human::duration(span.duration));
    let mut lines = vec![fit_between(&before, &what, &paint.dim(&format!("  {}", span.trace_id)))];
    if let Some(message) = &span.message {
        let message = one_line(message);
        lines.push(format!("{:24}  {}", "", if span.is_error { paint.red(&message) } else { message }));
    }
    lines
}

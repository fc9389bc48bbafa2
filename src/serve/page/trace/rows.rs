//! The rows of the waterfall: of the page without a script, and as data for the script.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::find::Shown;
use super::look::{Look, SpanKey};
use super::whole::Whole;
use crate::serve::page::show;
use crate::serve::trace::{MAX_DEPTH, message};

/// How many rows a page has.
pub(super) const PAGE: usize = 500;
/// How many characters of a name or a message a row has.
const LONG: usize = 200;
/// How many periods of the critical path a row has; a span with more has the last ones as one.
const SEGMENTS: usize = 20;

/// A span's row.
pub(super) struct Row {
    /// Its place among the spans.
    pub(super) span: usize,
    pub(super) depth: usize,
    pub(super) matches: bool,
    /// Whether its children are shown; `None` where it has none.
    pub(super) is_open: Option<bool>,
    /// A bit for each depth up to its own: whether another row of that depth follows below the same ancestor.
    pub(super) rails: u32,
}

/// The rows that are shown: without those below closed spans.
pub(super) fn rows(whole: &Whole, shown: &[Shown], look: &Look) -> Vec<Row> {
    let closed: std::collections::HashSet<SpanKey> = look.closed.iter().copied().collect();
    let mut rows: Vec<Row> = Vec::with_capacity(shown.len());
    let mut hidden_below = None;
    for (at, each) in shown.iter().enumerate() {
        let line = &whole.lines[each.line];
        if hidden_below.is_some_and(|depth| line.depth > depth) {
            continue;
        }
        let has_children = shown.get(at + 1).is_some_and(|next| whole.lines[next.line].depth > line.depth);
        let is_open = has_children.then(|| !closed.contains(&whole.key(line.span)));
        hidden_below = (is_open == Some(false)).then_some(line.depth);
        rows.push(Row { span: line.span, depth: line.depth, matches: each.matches, is_open, rails: 0 });
    }
    let mut below = 0_u32;
    for row in rows.iter_mut().rev() {
        let own = 1_u32 << row.depth.min(MAX_DEPTH);
        below &= own | (own - 1);
        row.rails = below;
        below |= own;
    }
    rows
}

/// The page of rows that is looked at: that which is asked for, that with the span, or the first.
pub(super) fn page_of(rows: &[Row], whole: &Whole, look: &Look) -> usize {
    let last = rows.len().saturating_sub(1) / PAGE;
    let of_span = || {
        let at = whole.place(look.span?)?;
        Some(rows.iter().position(|row| row.span == at)? / PAGE)
    };
    look.page.or_else(of_span).unwrap_or(0).min(last)
}

/// When a span was on the critical path: start and length in nanoseconds after the trace's start, the earliest first.
pub(super) fn critical(whole: &Whole, span: usize) -> Vec<(i128, i128)> {
    let segments = &whole.critical[span];
    let mut periods: Vec<(i128, i128)> =
        segments.iter().rev().map(|(from, to)| (from.0 - whole.start.0, to.0 - from.0)).collect();
    if let (Some((start, length)), true) = (periods.last().copied(), periods.len() > SEGMENTS) {
        periods.truncate(SEGMENTS);
        if let Some(last) = periods.last_mut() {
            last.1 = start + length - last.0;
        }
    }
    periods
}

/// What the script draws. Names come once; times are in nanoseconds after the trace's start.
#[derive(Serialize)]
struct Data<'a> {
    took: i128,
    /// Names of services, and the classes of their colours.
    services: Vec<(&'a str, String)>,
    names: Vec<&'a str>,
    rows: Vec<Box<RawValue>>,
}

/// A row of [`Data`]: key, depth, service, name, start, duration, flags, critical path, message.
type Tuple<'a> = (String, usize, usize, usize, i128, i128, u8, Vec<i128>, Option<&'a str>);

/// The span failed.
const FAILED: u8 = 1;
/// Its parent is missing.
const ORPHAN: u8 = 2;
/// It is shown for the sake of others.
const BYSTANDER: u8 = 4;

/// All rows as JSON, also those below closed spans.
pub(super) fn json(whole: &Whole, shown: &[Shown]) -> serde_json::Result<Vec<u8>> {
    let (mut services, mut names) = (Places::default(), Places::default());
    let mut data =
        Data { took: whole.end.0 - whole.start.0, services: Vec::new(), names: Vec::new(), rows: Vec::new() };
    for each in shown {
        let line = &whole.lines[each.line];
        let span = &whole.spans[line.span];
        let mut flags = 0;
        for (flag, is_set) in [(FAILED, span.is_error()), (ORPHAN, line.orphan), (BYSTANDER, !each.matches)] {
            flags |= if is_set { flag } else { 0 };
        }
        let why = message(span);
        let row: Tuple<'_> = (
            whole.key(line.span).to_string(),
            line.depth,
            services.of(span.resource.service_name()),
            names.of(show::cut(&span.name, LONG)),
            span.start.0 - whole.start.0,
            (span.end.0 - span.start.0).max(0),
            flags,
            critical(whole, line.span).into_iter().flat_map(|(from, length)| [from, length]).collect(),
            why.as_deref().map(|why| show::cut(why, LONG)),
        );
        data.rows.push(serde_json::value::to_raw_value(&row)?);
    }
    data.services = services.all.iter().map(|name| (show::cut(name, LONG), show::hue(name))).collect();
    data.names = names.all;
    serde_json::to_vec(&data)
}

/// Texts, each once.
#[derive(Default)]
struct Places<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Places<'a> {
    fn of(&mut self, text: &'a str) -> usize {
        *self.places.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() - 1
        })
    }
}

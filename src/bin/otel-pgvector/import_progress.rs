//! How an import shows how far it is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use opentelemetry_pgvector::import::Importer;

use crate::human;

/// How often the progress is drawn.
pub const TICK: Duration = Duration::from_millis(200);

/// Bytes as they lie on the disk, spans, and spans a second; the time left where the size is known.
pub fn bytes(bar: &ProgressBar, name: &str, size: Option<u64>, importer: &Importer) {
    let template = match size {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {spans} {eta}",
        None => "{msg} {spinner} {bytes} {spans} {elapsed}",
    };
    start(bar, name, size.unwrap_or(0), template, importer);
}

/// Millionths of a time range, spans, spans a second, and the time left.
pub fn parts(bar: &ProgressBar, name: &str, importer: &Importer) {
    start(bar, name, 1_000_000, "{msg} {wide_bar} {percent} % {spans} {eta}", importer);
}

fn start(bar: &ProgressBar, name: &str, length: u64, template: &str, importer: &Importer) {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let importer = importer.clone();
    let style = style.with_key("spans", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let spans = importer.imported().spans;
        // What cannot be drawn is not worth an error.
        let _ = write!(out, "{}, {}/s", human::count(spans, "span"), human::rate(spans, state.elapsed()));
    });
    bar.reset();
    bar.set_length(length);
    bar.set_style(style);
    bar.set_message(name.to_owned());
}

pub fn spinner() -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(TICK);
    spinner
}

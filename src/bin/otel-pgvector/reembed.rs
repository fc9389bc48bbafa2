//! `reembed`: from one model to another.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::store::{Model, ReembedProgress, Reembedded};
use serde::Serialize;

use crate::args::ReembedOptions;
use crate::failure::{Failure, Outcome};
use crate::human::{count, duration, thousands};
use crate::interrupt::interrupted;
use crate::terminal::{stdout, tell};

/// How often the progress is drawn.
const TICK: Duration = Duration::from_millis(200);

pub async fn reembed(store: TraceStore, options: &ReembedOptions) -> Outcome {
    let started = Instant::now();
    if options.dry_run {
        return summarize(&store, &store.plan_reembed().await?, started, options);
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(TICK);
    let result = tokio::select! {
        // In this order: the signal is listened to before anything is changed.
        biased;
        () = interrupted() => Err(Failure::Interrupted),
        result = store.reembed(|progress| draw(&bar, progress)) => result.map_err(Failure::from),
    };
    bar.finish_and_clear();
    // The model must not be running when the process exits.
    store.close().await;
    match &result {
        Err(Failure::Interrupted) => tell!("interrupted: run the same command again to go on"),
        Err(Failure::Failed(error)) if error.is_transient() => tell!("run the same command again to go on"),
        _ => {}
    }
    summarize(&store, &result?, started, options)
}

/// Documents of all, documents a second, and the time that is left.
fn draw(bar: &ProgressBar, progress: ReembedProgress) {
    let template = match progress {
        ReembedProgress::Embedding { done, of } => {
            // What an earlier run embedded counts for nothing in the rate.
            if bar.length().is_none() {
                bar.reset();
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_length(of);
            bar.set_position(done);
            "embedding {wide_bar} {pos}/{len} documents {rate} {eta} left"
        }
        ReembedProgress::Indexing => "{spinner} building the index",
        _ => "{spinner} waiting for a moment without other transactions, to change the model",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // What cannot be drawn is not worth an error.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    }));
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    reembedded: &'a Reembedded,
    dry_run: bool,
    elapsed_s: f64,
}

fn summarize(
    store: &TraceStore,
    reembedded: &Reembedded,
    started: Instant,
    options: &ReembedOptions,
) -> Outcome {
    let mut out = stdout();
    let elapsed = started.elapsed();
    if options.json {
        let elapsed_s = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        let summary = Summary { reembedded, dry_run: options.dry_run, elapsed_s };
        serde_json::to_writer(&mut out, &summary).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let schema = &store.settings().schema;
    let Reembedded { from, to, documents, embedded, left, needed, changed, .. } = reembedded;
    let to = described(to);
    let has_model = from.is_some();
    let from = from.as_ref().map_or_else(|| "no model".to_owned(), described);
    if *changed {
        writeln!(out, "schema {schema}: changed from {from} to {to}")?;
        let (embedded, documents) = (thousands(*embedded), count(*documents, "document"));
        writeln!(out, "embedded {embedded} of {documents} in {}", duration(elapsed))?;
    } else if *needed {
        let (left, documents) = (thousands(*left), count(*documents, "document"));
        writeln!(out, "schema {schema}: would change from {from} to {to}")?;
        writeln!(out, "to embed: {left} of {documents}")?;
    } else if has_model {
        writeln!(out, "schema {schema}: has the model {to} already")?;
    } else {
        writeln!(out, "schema {schema}: has no embeddings yet; the first decide the model")?;
    }
    Ok(out.flush()?)
}

fn described(model: &Model) -> String {
    format!("{} ({} dimensions)", model.name, model.dimension)
}

//! `import`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use opentelemetry_pgvector::import::{Imported, Importer, Input, embed_waiting};
use opentelemetry_pgvector::{Error, TraceStore};
use serde::Serialize;

use crate::args::ImportOptions;
use crate::failure::{Failure, Outcome, report, warn};
use crate::human;
use crate::terminal::stdout;

/// How often the progress is drawn.
const TICK: Duration = Duration::from_millis(200);

pub async fn otlp(store: TraceStore, options: ImportOptions) -> Outcome {
    let started = Instant::now();
    let bar = Arc::new(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    let reporter = Arc::clone(&bar);
    let importer = Importer::new(store.clone())
        .with_batch_size(options.batch_size as usize)
        .on_rejected(move |error| reporter.suspend(|| report(error)));

    let work = async {
        let stored = import_all(&importer, &options.files, &bar).await;
        bar.finish_and_clear();
        let elapsed = started.elapsed();
        if stored.is_ok() && !options.no_embedding {
            embed(&store).await;
        }
        stored.map(|()| elapsed)
    };
    let result = tokio::select! {
        // In this order: the signal is listened to before anything is read.
        biased;
        // Whatever is not committed is rolled back by the server as the connection closes.
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        result = work => result,
    };
    bar.finish_and_clear();
    // The model must not be running when the process exits.
    store.close().await;
    let imported = importer.imported();
    let elapsed = *result.as_ref().unwrap_or(&started.elapsed());
    summarize(imported, elapsed, options.json)?;
    match result {
        Err(Failure::Interrupted) => {
            eprintln!("interrupted: run the same command again to go on; nothing is stored twice");
            Err(Failure::Interrupted)
        }
        Err(failure) => {
            if imported.spans > 0 {
                eprintln!("run the same command again to go on; nothing is stored twice");
            }
            Err(failure)
        }
        Ok(_) if imported.rejected > 0 => Err(Failure::Reported),
        Ok(_) => Ok(()),
    }
}

async fn import_all(importer: &Importer, files: &[PathBuf], bar: &ProgressBar) -> Outcome {
    for file in files {
        let input = if file == Path::new("-") { Input::stdin() } else { Input::open(file)? };
        let bytes = input.bytes_read();
        let name = Path::new(input.name()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        bar.reset();
        bar.set_length(input.size().unwrap_or(0));
        bar.set_style(style(input.size().is_some(), importer));
        bar.set_message(name);
        let draw = async {
            loop {
                tokio::time::sleep(TICK).await;
                bar.set_position(bytes.load(std::sync::atomic::Ordering::Relaxed));
            }
        };
        tokio::select! {
            result = importer.otlp(input) => result.map(drop)?,
            () = draw => {}
        }
    }
    Ok(())
}

/// Bytes as they lie on the disk, spans, and spans a second.
fn style(sized: bool, importer: &Importer) -> ProgressStyle {
    let template = if sized {
        "{msg} {wide_bar} {bytes}/{total_bytes} {spans} {eta}"
    } else {
        "{msg} {spinner} {bytes} {spans} {elapsed}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let importer = importer.clone();
    style.with_key("spans", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let spans = importer.imported().spans;
        // What cannot be drawn is not worth an error.
        let _ = write!(out, "{}, {}/s", human::count(spans, "span"), rate(spans, state.elapsed()));
    })
}

/// Waits for the embeddings. Without them the spans are stored all the same, so failing here is no failure.
async fn embed(store: &TraceStore) {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(TICK);
    let report =
        |waiting| spinner.set_message(format!("embedding, {} left", human::count(waiting, "document")));
    let result = embed_waiting(store, report).await;
    spinner.finish_and_clear();
    match result {
        Ok(()) => {}
        Err(Error::Model(reason)) => warn(&format!(
            "the spans are stored, but not found by meaning yet: {reason}. Then run this import again: it stores nothing twice"
        )),
        Err(error) => warn(&format!("the spans are stored, but not all are found by meaning yet: {error}")),
    }
}

#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    imported: Imported,
    elapsed_s: f64,
}

fn summarize(imported: Imported, elapsed: Duration, as_json: bool) -> io::Result<()> {
    let mut out = stdout();
    if as_json {
        let elapsed_s = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        serde_json::to_writer(&mut out, &Summary { imported, elapsed_s })?;
        writeln!(out)?;
        return out.flush();
    }
    let stored = human::count(imported.stored, "span");
    write!(out, "stored {stored}, {} already there", human::thousands(imported.already_there))?;
    if imported.rejected > 0 {
        write!(out, ", {} rejected", human::thousands(imported.rejected))?;
    }
    writeln!(out, " in {} ({} spans/s)", human::duration(elapsed), rate(imported.spans, elapsed))?;
    out.flush()
}

fn rate(spans: u64, elapsed: Duration) -> String {
    human::thousands((spans as f64 / elapsed.as_secs_f64().max(1e-3)) as u64)
}

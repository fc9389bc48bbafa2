//! `import`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use opentelemetry_pgvector::import::{Imported, Importer, Input, embed_waiting};
use opentelemetry_pgvector::{Error, TraceStore};
use serde::Serialize;

use crate::args::{CommandSettings, HttpOptions, ImportCommand, ImportOptions};
use crate::failure::{Failure, Outcome, report, warn};
use crate::human;
use crate::import_progress::{TICK, bytes, parts, spinner};
use crate::import_source::{Source, sources};
use crate::interrupt::interrupted;
use crate::terminal::{stdout, tell};

/// Where the traces come from.
#[derive(Clone, Copy, PartialEq)]
enum From {
    Otlp,
    Jaeger,
    Tempo,
}

pub async fn import(settings: CommandSettings, command: ImportCommand) -> Outcome {
    let (from, names, http, options) = match command {
        ImportCommand::Otlp(options) => (From::Otlp, options.files, None, options.common),
        ImportCommand::Jaeger(options) => (From::Jaeger, options.sources, Some(options.http), options.common),
        ImportCommand::Tempo(options) => (From::Tempo, options.sources, Some(options.http), options.common),
    };
    // Before anything else, so that a wrong name is told at once.
    let sources = sources(&names, http.is_some())?;
    let store = if options.dry_run { None } else { Some(settings.open(true)?) };
    run(store, from, sources, http.as_ref(), &options).await
}

async fn run(
    store: Option<TraceStore>,
    from: From,
    sources: Vec<Source>,
    http: Option<&HttpOptions>,
    options: &ImportOptions,
) -> Outcome {
    let started = Instant::now();
    let bar = Arc::new(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    let reporter = Arc::clone(&bar);
    let mut importer = store
        .clone()
        .map_or_else(Importer::counting, Importer::new)
        .with_batch_size(options.batch_size as usize)
        .on_rejected(move |error| reporter.suspend(|| report(error)));
    if let Some(path) = &options.rejects {
        let doing = |source| Error::Io { doing: format!("creating {}", path.display()), source };
        importer = importer.with_rejects(Rejects::open(path).map_err(doing)?);
    }

    let work = async {
        let stored = import_all(&importer, from, sources, http, &bar).await;
        bar.finish_and_clear();
        let elapsed = started.elapsed();
        let is_stored = matches!(stored, Ok(()) | Err(Failure::Reported));
        if let Some(store) = store.as_ref().filter(|_| is_stored && !options.no_embedding) {
            embed(store).await;
        }
        stored.map(|()| elapsed)
    };
    let result = tokio::select! {
        // In this order: the signal is listened to before anything is read.
        biased;
        // Whatever is not committed is rolled back by the server as the connection closes.
        () = interrupted() => Err(Failure::Interrupted),
        result = work => result,
    };
    bar.finish_and_clear();
    // The model must not be running when the process exits.
    if let Some(store) = &store {
        store.close().await;
    }
    let imported = importer.imported();
    // Of an import that failed before its first span there is nothing to tell; a script gets its line all the same.
    if options.json || result.is_ok() || imported != Imported::default() {
        summarize(imported, *result.as_ref().unwrap_or(&started.elapsed()), options)?;
    }
    match result {
        Err(Failure::Interrupted) => {
            tell!("interrupted: run the same command again to go on; nothing is stored twice");
            Err(Failure::Interrupted)
        }
        Err(Failure::Reported) => {
            if imported.spans > 0 {
                tell!(
                    "mend or fetch again what could not be read, and run the same command again; nothing is stored twice"
                );
            }
            Err(Failure::Reported)
        }
        Err(failure) => {
            if imported.spans > 0 {
                tell!("run the same command again to go on; nothing is stored twice");
            }
            Err(failure)
        }
        Ok(_) if imported.rejected > 0 => Err(Failure::Reported),
        Ok(_) => Ok(()),
    }
}

/// `Reported` where files could not be read, or not to their end: what they have up to there and all others is imported.
async fn import_all(
    importer: &Importer,
    from: From,
    sources: Vec<Source>,
    http: Option<&HttpOptions>,
    bar: &Arc<ProgressBar>,
) -> Outcome {
    let mut outcome = Ok(());
    for source in sources {
        match (source, http) {
            (Source::Url(url), Some(http)) => {
                let warner = Arc::clone(bar);
                let source = http.source(&url)?.on_warning(move |text| warner.suspend(|| warn(text)));
                if http.since.is_none() {
                    bar.suspend(|| tell!("{}: the last 14 days; --since takes more or less", source.name()));
                }
                let position = source.progress();
                parts(bar, source.name(), importer);
                let work = async {
                    match from {
                        From::Tempo => importer.tempo(&source).await,
                        _ => importer.jaeger(&source).await,
                    }
                };
                drawing(bar, &position, work).await?;
            }
            (file, _) => match import_file(importer, from, file, bar).await {
                Err(error) if is_of_the_file(&error) => {
                    bar.suspend(|| report(&error));
                    outcome = Err(Failure::Reported);
                }
                imported => imported?,
            },
        }
    }
    outcome
}

/// Whether another file may be read all the same: the database, and a file for what is rejected, are for all of them.
fn is_of_the_file(error: &Error) -> bool {
    match error {
        Error::Input { .. } => true,
        Error::Io { doing, .. } => doing.starts_with("opening ") || doing.starts_with("reading "),
        _ => false,
    }
}

async fn import_file(importer: &Importer, from: From, file: Source, bar: &ProgressBar) -> Result<(), Error> {
    let input = match file {
        Source::File(path) => Input::open(path)?,
        _ => Input::stdin(),
    };
    let position = input.bytes_read();
    let name = Path::new(input.name()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    bytes(bar, &name, input.size(), importer);
    let work = async {
        match from {
            From::Otlp => importer.otlp(input).await,
            _ => importer.traces(input).await,
        }
    };
    drawing(bar, &position, work).await.map(drop)
}

/// Draws how far the work is, until it is done.
async fn drawing<T>(bar: &ProgressBar, position: &AtomicU64, work: impl Future<Output = T>) -> T {
    let mut draw = tokio::time::interval(TICK);
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = draw.tick() => bar.set_position(position.load(Ordering::Relaxed)),
        }
    }
}

/// A file for rejected records. What an earlier import wrote there goes when the first one comes.
struct Rejects {
    file: File,
    is_begun: bool,
}

impl Rejects {
    fn open(path: &Path) -> io::Result<Rejects> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        Ok(Rejects { file, is_begun: false })
    }
}

impl Write for Rejects {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A device or a pipe has no length.
        if !self.is_begun && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.is_begun = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Waits for the embeddings. Without them the spans are stored all the same, so failing here is no failure.
async fn embed(store: &TraceStore) {
    let spinner = spinner();
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
struct Summary<'a> {
    #[serde(flatten)]
    imported: Imported,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejects: Option<&'a Path>,
    elapsed_s: f64,
}

fn summarize(imported: Imported, elapsed: Duration, options: &ImportOptions) -> io::Result<()> {
    let mut out = stdout();
    let rejects = options.rejects.as_deref().filter(|_| imported.rejected > 0);
    if options.json {
        let elapsed_s = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        let summary = Summary { imported, dry_run: options.dry_run, rejects, elapsed_s };
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
        return out.flush();
    }
    if options.dry_run {
        write!(out, "read {}, stored nothing", human::count(imported.spans, "span"))?;
    } else {
        let stored = human::count(imported.stored, "span");
        write!(out, "stored {stored}, {} already there", human::thousands(imported.already_there))?;
    }
    if imported.rejected > 0 {
        write!(out, ", {} rejected", human::thousands(imported.rejected))?;
    }
    if let Some(path) = rejects {
        write!(out, " (see {})", path.display())?;
    }
    writeln!(out, " in {} ({} spans/s)", human::duration(elapsed), human::rate(imported.spans, elapsed))?;
    out.flush()
}

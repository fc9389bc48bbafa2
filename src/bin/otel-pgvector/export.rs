//! `export`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use opentelemetry_pgvector::export::{Compressed, Exported, Format, Selection, export_and_report};
use opentelemetry_pgvector::{Error, TraceStore};
use serde::Serialize;

use crate::args::{ExportOptions, OutputFormat};
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::terminal::{stdout, tell};
use crate::whole_file::WholeFile;
use crate::{human, suggest};

pub async fn otlp(store: TraceStore, options: &ExportOptions) -> Outcome {
    let started = Instant::now();
    let result = tokio::select! {
        biased;
        () = interrupted() => Err(Failure::Interrupted),
        result = write(&store, options) => result,
    };
    store.close().await;
    Ok(summarize(result?, started.elapsed(), options.json)?)
}

async fn write(store: &TraceStore, options: &ExportOptions) -> Result<Exported, Failure> {
    let Some(path) = &options.output else {
        let exported = run(store, options, stdout()).await?;
        known_names(store, options, exported).await?;
        return Ok(exported);
    };
    let doing = |source| Error::Io { doing: format!("writing {}", path.display()), source };
    let (whole, file) = WholeFile::create(path).map_err(doing)?;
    let mut output = compressed(path, file).map_err(doing)?;
    let exported = run(store, options, &mut output).await?;
    // Before the file takes its place: a wrong name is no reason to lose an earlier export.
    known_names(store, options, exported).await?;
    let file = output.finish().and_then(|file| file.into_inner().map_err(io::Error::from)).map_err(doing)?;
    whole.complete(file).map_err(doing)?;
    Ok(exported)
}

/// Fails where nothing was found since there is no such service or trace. Conditions that nothing meets are no failure.
async fn known_names(store: &TraceStore, options: &ExportOptions, exported: Exported) -> Outcome {
    if exported.traces > 0 {
        return Ok(());
    }
    let filter = options.filter();
    suggest::known_services(store, &filter.services).await?;
    for id in &filter.trace_ids {
        if store.get_trace(*id).await?.is_empty() {
            return Err(Failure::NotFound(format!("no trace {id} is stored")));
        }
    }
    Ok(())
}

fn compressed(path: &Path, file: File) -> io::Result<Compressed<io::BufWriter<File>>> {
    Compressed::new(path, io::BufWriter::new(file))
}

async fn run(store: &TraceStore, options: &ExportOptions, output: impl Write) -> Result<Exported, Failure> {
    let selection = Selection { filter: options.filter(), limit: options.limit };
    let format = match options.format {
        OutputFormat::Json => Format::Json,
        OutputFormat::Protobuf => Format::Protobuf,
        OutputFormat::ProtobufDelimited => Format::ProtobufDelimited,
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::default_spinner());
    let report = |exported: Exported| bar.set_message(described(exported));
    let result = export_and_report(store, &selection, format, output, report).await;
    bar.finish_and_clear();
    result.map_err(|error| match error {
        // Who reads only the beginning has got what they wanted.
        Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Failure::Io(source),
        error => error.into(),
    })
}

fn described(exported: Exported) -> String {
    format!("{} in {}", human::count(exported.spans, "span"), human::count(exported.traces, "trace"))
}

#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    exported: Exported,
    elapsed_s: f64,
}

fn summarize(exported: Exported, elapsed: Duration, as_json: bool) -> io::Result<()> {
    if as_json {
        let elapsed_s = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        tell!("{}", serde_json::to_string(&Summary { exported, elapsed_s })?);
    } else {
        tell!("exported {} in {}", described(exported), human::duration(elapsed));
    }
    Ok(())
}

//! Tempo's API: the search for ids of traces in a window of time, and each trace by its id.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt, stream};
use opentelemetry::trace::TraceId;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::client::Answer;
use super::window::Windows;
use super::{HttpSource, import_traces, microseconds, reject, unexpected};
use crate::error::Result;
use crate::import::importer::Importer;
use crate::import::jaeger::trace_id;

const SEARCH: &str = "/api/search";
/// Traces that are asked for at the same time.
const AT_ONCE: usize = 4;
const SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow, default)]
    traces: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct FoundTrace {
    #[serde(rename = "traceID")]
    trace_id: String,
}

pub(super) async fn import(importer: &Importer, source: &HttpSource) -> Result<()> {
    // One search finds the traces of all services; with several, each has its own.
    let searches: Vec<Option<String>> = match source.services.as_slice() {
        [] => vec![None],
        services => {
            services.iter().map(|service| Some(format!("service.name={}", logfmt(service)))).collect()
        }
    };
    for (number, tags) in searches.iter().enumerate() {
        let mut windows = Windows::new(microseconds(source.since), microseconds(source.until), SECOND);
        while let Some((start, end)) = windows.current() {
            let answer = search(source, tags.as_deref(), start / SECOND, end / SECOND).await?;
            let count = answer.traces.len();
            if count >= source.page_size {
                if windows.halved() {
                    continue;
                }
                source.warn(&format!(
                    "there are {count} traces or more in the second {}, and some may be missing: use a larger --page-size",
                    start / SECOND
                ));
            }
            windows.done(count <= source.page_size / 4);
            let mut ids = Vec::with_capacity(count);
            for trace in answer.traces {
                match trace {
                    Ok(id) => ids.push(id),
                    Err((record, reason)) => {
                        reject(importer, answer.origin.clone(), record.as_bytes(), reason)?;
                    }
                }
            }
            fetch(importer, source, ids).await?;
            let done = (number as f64 + windows.fraction()) / searches.len() as f64;
            source.progress.store((done * 1e6) as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A value as logfmt has it, which Tempo's parameter `tags` is in.
fn logfmt(value: &str) -> String {
    if value.contains(|character: char| character.is_whitespace() || matches!(character, '"' | '=')) {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

struct Answered {
    /// For messages.
    origin: String,
    /// What is no trace is there as it came, with the reason.
    traces: Vec<Result<TraceId, (String, String)>>,
}

async fn search(source: &HttpSource, tags: Option<&str>, start: i64, end: i64) -> Result<Answered> {
    let (start, end, limit) = (start.to_string(), end.to_string(), source.page_size.to_string());
    let mut query = vec![("start", start.as_str()), ("end", &end), ("limit", &limit)];
    query.extend(tags.map(|tags| ("tags", tags)));
    let body = source.client.get_list(SEARCH, &query).await?;
    let origin = format!("{}{SEARCH}?start={start}&end={end}", source.name());
    let found: Found<'_> = serde_json::from_slice(&body)
        .map_err(|error| unexpected(&origin, format!("this is not Tempo's answer: {error}")))?;
    let id = |trace: &RawValue| {
        let found: FoundTrace = serde_json::from_str(trace.get()).map_err(|error| error.to_string())?;
        trace_id(&found.trace_id)
    };
    let traces = found.traces.unwrap_or_default();
    let traces = traces.into_iter().map(|trace| id(trace).map_err(|reason| (trace.get().to_owned(), reason)));
    Ok(Answered { traces: traces.collect(), origin })
}

/// Imports the traces that were not read yet.
async fn fetch(importer: &Importer, source: &HttpSource, ids: Vec<TraceId>) -> Result<()> {
    let news = ids.into_iter().filter(|id| source.is_news(*id, 1));
    let answers = stream::iter(news.map(|id| async move { get(source, id).await.map(|body| (id, body)) }));
    let mut answers = answers.buffered(AT_ONCE);
    while let Some((id, answer)) = answers.try_next().await? {
        let origin = format!("{}/api/traces/{id}", source.name());
        match answer {
            Got::Trace(body) => import_traces(importer, origin, body).await?,
            Got::Nothing => source.warn(&format!("trace {id} was found, but is not there any more")),
            Got::Refused(reason) => reject(importer, origin, b"", reason)?,
        }
    }
    Ok(())
}

enum Got {
    Trace(Vec<u8>),
    Nothing,
    Refused(String),
}

/// A trace; versions of Tempo differ in the path. JSON and protobuf are told apart by the content, and without an
/// `Accept` it is JSON. Before version 2.7 one that is too large is a failure (500): where Tempo answers for a trace that
/// it does not have, it refuses that one.
async fn get(source: &HttpSource, id: TraceId) -> Result<Got> {
    for folder in ["/api/traces", "/api/v2/traces"] {
        let (path, other) = (format!("{folder}/{id}"), format!("{folder}/{}", Uuid::new_v4().simple()));
        match source.client.get_or_refused(&path, &other).await? {
            Answer::Body(body) => return Ok(Got::Trace(body)),
            Answer::TooLarge => return source.client.get_whole(&path, &[]).await.map(Got::Trace),
            Answer::Refused(reason) => return Ok(Got::Refused(reason)),
            Answer::NotFound => {}
        }
    }
    Ok(Got::Nothing)
}

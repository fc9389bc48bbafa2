//! Tempo's API: the search for ids of traces in a window of time, and each trace by its id.

use std::io::Cursor;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt, stream};
use opentelemetry::trace::TraceId;
use serde::Deserialize;

use super::client::Answer;
use super::window::Windows;
use super::{HttpSource, microseconds, unexpected};
use crate::error::Result;
use crate::import::importer::Importer;
use crate::import::input::Input;
use crate::import::jaeger::trace_id;

const SEARCH: &str = "/api/search";
/// Traces that are asked for at the same time.
const AT_ONCE: usize = 4;
const SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    traces: Option<Vec<FoundTrace>>,
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
            let ids = search(source, tags.as_deref(), start / SECOND, end / SECOND).await?;
            let count = ids.len();
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

async fn search(source: &HttpSource, tags: Option<&str>, start: i64, end: i64) -> Result<Vec<TraceId>> {
    let (start, end, limit) = (start.to_string(), end.to_string(), source.page_size.to_string());
    let mut query = vec![("start", start.as_str()), ("end", &end), ("limit", &limit)];
    query.extend(tags.map(|tags| ("tags", tags)));
    let body = source.client.get_whole(SEARCH, &query).await?;
    let wrong = |reason: String| {
        let origin = format!("{}{SEARCH}?start={start}&end={end}", source.name());
        unexpected(&origin, format!("this is not Tempo's answer: {reason}"))
    };
    let found: Found = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    found.traces.unwrap_or_default().iter().map(|trace| trace_id(&trace.trace_id).map_err(wrong)).collect()
}

/// Imports the traces that were not read yet.
async fn fetch(importer: &Importer, source: &HttpSource, ids: Vec<TraceId>) -> Result<()> {
    let news = ids.into_iter().filter(|id| source.is_news(*id, 1));
    let answers = stream::iter(news.map(|id| async move { get(source, id).await.map(|body| (id, body)) }));
    let mut answers = answers.buffered(AT_ONCE);
    while let Some((id, body)) = answers.try_next().await? {
        let origin = format!("{}/api/traces/{id}", source.name());
        match body {
            Some(body) => drop(importer.traces(Input::reader(origin, Cursor::new(body))).await?),
            None => source.warn(&format!("trace {id} was found, but is not there any more")),
        }
    }
    Ok(())
}

/// A trace; versions of Tempo differ in the path. JSON and protobuf are told apart by the content, and without an
/// `Accept` it is JSON.
async fn get(source: &HttpSource, id: TraceId) -> Result<Option<Vec<u8>>> {
    for path in [format!("/api/traces/{id}"), format!("/api/v2/traces/{id}")] {
        match source.client.get(&path, &[]).await? {
            Answer::Body(body) => return Ok(Some(body)),
            Answer::TooLarge => return source.client.get_whole(&path, &[]).await.map(Some),
            Answer::NotFound => {}
        }
    }
    Ok(None)
}

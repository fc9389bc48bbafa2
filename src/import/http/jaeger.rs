//! Jaeger's API: its services, and the traces of each in a window of time.

use std::io::Cursor;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::client::Answer;
use super::window::Windows;
use super::{HttpSource, import_traces, microseconds, unexpected};
use crate::error::Result;
use crate::import::document::{ApiError, errors_message};
use crate::import::importer::Importer;
use crate::import::jaeger::trace_id;
use crate::import::splitter::Splitter;

const TRACES: &str = "/api/traces";
const SERVICES: &str = "/api/services";

#[derive(Deserialize)]
struct Envelope<T> {
    data: Option<Vec<T>>,
    errors: Option<Vec<ApiError>>,
}

impl<T> Envelope<T> {
    /// What is asked for. Jaeger sends errors with status 200, too.
    fn data(self, source: &HttpSource, origin: impl Fn() -> String) -> Result<Vec<T>> {
        let data = self.data.unwrap_or_default();
        match self.errors.filter(|errors| !errors.is_empty()).map(errors_message) {
            Some(message) if data.is_empty() => return Err(unexpected(&origin(), message)),
            Some(message) => source.warn(&message),
            None => {}
        }
        Ok(data)
    }
}

/// As much of a trace as tells whether it is news.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<IgnoredAny>,
}

pub(super) async fn import(importer: &Importer, source: &HttpSource) -> Result<()> {
    let services = if source.services.is_empty() { services(source).await? } else { source.services.clone() };
    for (number, service) in services.iter().enumerate() {
        let mut windows = Windows::new(microseconds(source.since), microseconds(source.until), 1);
        while let Some((start, end)) = windows.current() {
            let whole = Window { service, start, end };
            let mut answer = whole.ask(source, false).await?;
            if answer.as_ref().is_none_or(|answer| answer.traces >= source.page_size) {
                if windows.halved() {
                    continue;
                }
                if answer.is_none() {
                    answer = whole.ask(source, true).await?;
                }
                if answer.as_ref().is_some_and(|answer| answer.traces >= source.page_size) {
                    source.warn(&format!(
                        "{service} has {} traces or more within a microsecond at {start} µs, and some may be missing: \
                         use a larger --page-size",
                        source.page_size
                    ));
                }
            }
            let Some(answer) = answer else { continue };
            windows.done(answer.traces <= source.page_size / 4);
            if !answer.news.is_empty() {
                import_traces(importer, whole.origin(source), answer.news).await?;
            }
            let done = (number as f64 + windows.fraction()) / services.len() as f64;
            source.progress.store((done * 1e6) as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn services(source: &HttpSource) -> Result<Vec<String>> {
    let body = source.client.get_list(SERVICES, &[]).await?;
    let origin = || format!("{}{SERVICES}", source.name());
    let answer: Envelope<String> = serde_json::from_slice(&body)
        .map_err(|error| unexpected(&origin(), format!("this is not Jaeger's answer: {error}")))?;
    let mut services = answer.data(source, origin)?;
    services.sort_unstable();
    services.dedup();
    if services.is_empty() {
        source.warn("it has no services");
    }
    Ok(services)
}

struct Window<'a> {
    service: &'a str,
    start: i64,
    end: i64,
}

struct Traces {
    /// How many the answer has.
    traces: usize,
    /// Those that were not read yet, in an envelope such as they came in.
    news: Vec<u8>,
}

impl Window<'_> {
    /// For messages.
    fn origin(&self, source: &HttpSource) -> String {
        let Window { service, start, end } = self;
        format!("{}{TRACES}?service={service}&start={start}&end={end}", source.name())
    }

    /// The traces of the window; `None` where they are too many bytes, unless the `whole` is asked for.
    async fn ask(&self, source: &HttpSource, whole: bool) -> Result<Option<Traces>> {
        let (start, end, limit) =
            (self.start.to_string(), self.end.to_string(), source.page_size.to_string());
        let query = [("service", self.service), ("start", &start), ("end", &end), ("limit", &limit)];
        let body = if whole {
            source.client.get_whole(TRACES, &query).await?
        } else {
            match source.client.get(TRACES, &query).await? {
                Answer::Body(body) => body,
                Answer::TooLarge => return Ok(None),
                // Some storages say so where there are no traces.
                Answer::NotFound => return Ok(Some(Traces { traces: 0, news: Vec::new() })),
                Answer::Refused(reason) => return Err(unexpected(&self.origin(source), reason)),
            }
        };
        let answer: Envelope<&RawValue> = match serde_json::from_slice(&body) {
            Ok(answer) => answer,
            Err(error) => {
                let traces = if error.is_data() { 0 } else { traces_in(&body) };
                return if traces > 0 {
                    // One of them is broken, and the others are to be stored.
                    Ok(Some(Traces { traces, news: body }))
                } else {
                    Err(unexpected(&self.origin(source), format!("this is not Jaeger's answer: {error}")))
                };
            }
        };
        let traces = answer.data(source, || self.origin(source))?;
        let full = traces.len() >= source.page_size;
        let mut news = Vec::new();
        for trace in &traces {
            // What has no such head goes on, to be reported where all is that is not understood.
            let head: Option<Head> = serde_json::from_str(trace.get()).ok();
            let known = head.and_then(|head| Some((trace_id(&head.trace_id).ok()?, head.spans.len())));
            if full || known.is_none_or(|(id, spans)| source.is_news(id, spans)) {
                news.push(if news.is_empty() { b'[' } else { b',' });
                news.extend_from_slice(trace.get().as_bytes());
            }
        }
        if !news.is_empty() {
            news = [b"{\"data\":", &*news, b"]}"].concat();
        }
        Ok(Some(Traces { traces: traces.len(), news }))
    }
}

/// How many traces an answer has, as far as brackets and quotes tell.
fn traces_in(body: &[u8]) -> usize {
    let mut records = Splitter::new(Box::new(Cursor::new(body.to_vec())), 1);
    std::iter::from_fn(|| records.next().ok().flatten()).count()
}

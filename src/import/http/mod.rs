//! Traces from a running Jaeger or Tempo, by their HTTP API.
//!
//! Both answer at most so many traces at once, and say nothing of what they left out. So the time range is walked in
//! windows (`window.rs`), each so narrow that its answer stays below the limit. What comes twice is stored once.

mod client;
mod jaeger;
mod tempo;
mod window;

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use opentelemetry::trace::TraceId;

use super::frames::{Frame, Kind};
use super::importer::{Imported, Importer};
use super::input::Input;
use super::reader;
use crate::error::{Error, Result};
use client::Client;

/// Traces that one answer may have by default. Jaeger's UI asks for 20, and its storages are slow beyond some thousands.
const PAGE_SIZE: usize = 200;
/// Traces that are remembered, so that they are not read again when they come with another service.
const REMEMBERED: u64 = 1 << 20;
/// The time range by default: Jaeger's storages keep two days by default, Tempo two weeks.
const RANGE: Duration = Duration::from_secs(14 * 86_400);

/// A running Jaeger or Tempo.
pub struct HttpSource {
    client: Client,
    services: Vec<String>,
    since: SystemTime,
    until: SystemTime,
    page_size: usize,
    /// How far it is, in millionths.
    progress: Arc<AtomicU64>,
    /// What was read of a trace already.
    seen: Cache<TraceId, usize>,
}

/// Headers may be secret.
impl std::fmt::Debug for HttpSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpSource")
            .field("name", &self.name())
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl HttpSource {
    /// A source at a URL such as `http://jaeger:16686` or `https://example.org/tempo`. A URL with `/api/` in its path is
    /// one answer, and read as it is. User and password in it are sent as basic authentication.
    ///
    /// # Errors
    /// [`Error::Input`] when it is no such URL.
    pub fn new(url: &str) -> Result<Self> {
        let now = SystemTime::now();
        Ok(HttpSource {
            client: Client::new(url)?,
            services: Vec::new(),
            since: now.checked_sub(RANGE).unwrap_or(UNIX_EPOCH),
            until: now,
            page_size: PAGE_SIZE,
            progress: Arc::default(),
            seen: Cache::new(REMEMBERED),
        })
    }

    /// With a header in each request, such as `Authorization` or `X-Scope-OrgID`. Its value is never printed.
    ///
    /// # Errors
    /// [`Error::Input`] when it has characters that no header may have.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        self.client.add_header(name, value)?;
        Ok(self)
    }

    /// With traces of these services only, instead of all.
    pub fn with_services(mut self, services: impl IntoIterator<Item = String>) -> Self {
        self.services.extend(services);
        self
    }

    /// With traces from this time on, instead of the last 14 days.
    pub fn with_since(mut self, since: SystemTime) -> Self {
        self.since = since;
        self
    }

    /// With traces until this time, instead of now.
    pub fn with_until(mut self, until: SystemTime) -> Self {
        self.until = until;
        self
    }

    /// With at most so many traces in an answer, at least 1, instead of 200.
    pub fn with_page_size(mut self, traces: usize) -> Self {
        self.page_size = traces.max(1);
        self
    }

    /// With a function that is told what may be missing, and the first time that a request is repeated.
    pub fn on_warning(mut self, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.client.on_warning(warn);
        self
    }

    /// The URL, without user and password, for messages.
    pub fn name(&self) -> &str {
        self.client.name()
    }

    /// Counts how far the import is, in millionths of the whole.
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress)
    }

    /// Whether the URL is that of one answer.
    fn is_answer(&self) -> bool {
        self.client.path().contains("/api/")
    }

    fn warn(&self, text: &str) {
        self.client.warn(text);
    }

    /// Whether so many spans of a trace were not read yet; they count as read then.
    fn is_news(&self, trace_id: TraceId, spans: usize) -> bool {
        let news = self.seen.get(&trace_id).is_none_or(|before| before < spans);
        if news {
            self.seen.insert(trace_id, spans);
        }
        news
    }

    async fn import_answer(&self, importer: &Importer) -> Result<()> {
        let body = self.client.get_whole("", &[]).await?;
        importer.traces(Input::reader(self.name(), Cursor::new(body))).await?;
        Ok(())
    }
}

/// Imports traces of an answer. Where they cannot be taken apart to the end, they are a record that is not understood, and
/// not the end of the import.
async fn import_traces(importer: &Importer, origin: String, traces: Vec<u8>) -> Result<()> {
    let traces: Arc<[u8]> = traces.into();
    let input = Input::reader(origin.clone(), Cursor::new(Arc::clone(&traces)));
    let rejecting = importer.clone();
    let unread = move |error| {
        let reason = match error {
            Error::Input { reason, .. } => reason,
            Error::Io { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        reject(&rejecting, origin, &traces, reason)
    };
    importer.store_by_trace(reader::start_and(importer, input, unread)?).await
}

fn reject(importer: &Importer, origin: String, record: &[u8], reason: String) -> Result<()> {
    let frame = Frame { kind: Kind::Json, bytes: record.to_vec(), origin, batch: None };
    importer.reject(&frame, &[], &[reason])
}

fn microseconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

fn unexpected(origin: &str, reason: impl Into<String>) -> Error {
    Error::Input { origin: origin.to_owned(), reason: reason.into() }
}

impl Importer {
    /// Imports from a running Jaeger (its API of version 1, which the UI uses); as [`traces`](Self::traces), so it may be
    /// interrupted and repeated, also with another time range.
    ///
    /// # Errors
    /// [`Error::Input`] where an answer is none of Jaeger's, or an error that does not pass by itself; and what
    /// [`traces`](Self::traces) says.
    pub async fn jaeger(&self, source: &HttpSource) -> Result<Imported> {
        if source.is_answer() {
            source.import_answer(self).await?;
        } else {
            jaeger::import(self, source).await?;
        }
        Ok(self.imported())
    }

    /// Imports from a running Tempo; as [`jaeger`](Self::jaeger).
    ///
    /// # Errors
    /// As [`jaeger`](Self::jaeger).
    pub async fn tempo(&self, source: &HttpSource) -> Result<Imported> {
        if source.is_answer() {
            source.import_answer(self).await?;
        } else {
            tempo::import(self, source).await?;
        }
        Ok(self.imported())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let source = HttpSource::new("http://app:hunter2@jaeger:16686").expect("a URL");
        let source = source.with_header("Authorization", "Bearer hunter2").expect("a header");
        let shown = format!("{source:?}");
        assert!(shown.contains("jaeger:16686") && !shown.contains("hunter2"), "{shown}");
    }
}

//! Requests that are repeated until there is an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use opentelemetry::otel_debug;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Action, Attempt as Redirect, Policy};
use reqwest::{Response, StatusCode, Url};

use super::unexpected;
use crate::error::Result;

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long one request is repeated.
const GIVE_UP: Duration = Duration::from_secs(120);
/// How long it is repeated until the server is asked for something else, to tell which of the two is at fault.
const TELL_APART: Duration = Duration::from_secs(5);
/// The largest answer that is read where a smaller one can be asked for.
const MAX_ANSWER: usize = 128 << 20;

pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    name: String,
    on_warning: Box<dyn Fn(&str) + Send + Sync>,
    /// Whether it was told that requests are repeated.
    has_warned: AtomicBool,
}

/// What came of a request.
pub(super) enum Answer {
    Body(Vec<u8>),
    /// More than is read at once.
    TooLarge,
    NotFound,
    /// The server has what is asked for, and does not answer with it, for this reason: as Tempo does where a trace is too large.
    Refused(String),
}

enum Attempt {
    Done(Answer),
    Again {
        reason: String,
        after: Option<Duration>,
        /// Whether the answer may be too much for the server.
        is_overload: bool,
        /// Whether the server failed, and not one before it.
        is_failure: bool,
    },
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self> {
        // The text may have a password in it, so that no message may have the text.
        let no_url = |reason: String| unexpected("the URL", reason);
        let mut base = Url::parse(url).map_err(|error| no_url(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(no_url("expected http://HOST or https://HOST".into()));
        }
        let mut headers = HeaderMap::new();
        if !base.username().is_empty() {
            headers.insert(AUTHORIZATION, basic(&base).map_err(|error| no_url(error.to_string()))?);
        }
        // They cannot fail where there is a host.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        base.set_fragment(None);
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .redirect(Policy::custom(stay_at_host))
            .build()
            .map_err(|error| no_url(message(error)))?;
        let mut shown = base.clone();
        shown.set_query(None);
        let name = shown.as_str().trim_end_matches('/').to_owned();
        let has_warned = AtomicBool::new(false);
        Ok(Client { http, base, headers, name, on_warning: Box::new(|_| {}), has_warned })
    }

    pub(super) fn on_warning(&mut self, warn: impl Fn(&str) + Send + Sync + 'static) {
        self.on_warning = Box::new(warn);
    }

    /// Tells a warning, with the source's name.
    pub(super) fn warn(&self, text: &str) {
        (self.on_warning)(&format!("{}: {text}", self.name));
    }

    pub(super) fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        // What is no name may have a piece of the value.
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| unexpected("--header", "what stands before the colon is no name of a header"))?;
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| unexpected("--header", format!("{name} has a value that cannot be sent")))?;
        value.set_sensitive(true);
        self.headers.append(name, value);
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &str {
        self.base.path()
    }

    /// An answer of at most so many bytes as are to be read at once.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) with the reason of the last attempt.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer> {
        self.get_limited(path, query, MAX_ANSWER, None).await
    }

    /// As [`get`](Self::get), where another path shows whether the server answers at all: then one at which it goes on
    /// failing is refused.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) async fn get_or_refused(&self, path: &str, other: &str) -> Result<Answer> {
        self.get_limited(path, &[], MAX_ANSWER, Some(other)).await
    }

    /// An answer of any size.
    ///
    /// # Errors
    /// As [`get`](Self::get), and where there is none.
    pub(super) async fn get_whole(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>> {
        let answer = self.get_limited(path, query, usize::MAX, None).await?;
        self.body(path, answer)
    }

    /// An answer that is never large.
    ///
    /// # Errors
    /// As [`get`](Self::get), and where there is none, or no end of it.
    pub(super) async fn get_list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>> {
        let answer = self.get(path, query).await?;
        self.body(path, answer)
    }

    fn body(&self, path: &str, answer: Answer) -> Result<Vec<u8>> {
        let reason = match answer {
            Answer::Body(body) => return Ok(body),
            Answer::Refused(reason) => reason,
            Answer::NotFound => "the server answers 404 Not Found".into(),
            Answer::TooLarge => format!("the answer has more than {} MiB", MAX_ANSWER >> 20),
        };
        Err(unexpected(&self.origin(path), reason))
    }

    fn origin(&self, path: &str) -> String {
        format!("{}{path}", self.name)
    }

    async fn get_limited(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: usize,
        other: Option<&str>,
    ) -> Result<Answer> {
        let url = self.url(path, query);
        let begin = Instant::now();
        let mut answers_others = false;
        let mut pauses = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_PAUSE)
            .with_max_interval(LONGEST_PAUSE)
            .with_max_elapsed_time(Some(GIVE_UP))
            .build();
        loop {
            let (reason, after, is_overload, is_failure) = match self.attempt(&url, limit).await {
                Ok(Attempt::Done(answer)) => return Ok(answer),
                Ok(Attempt::Again { reason, after, is_overload, is_failure }) => {
                    (reason, after, is_overload, is_failure)
                }
                Err(reason) => return Err(unexpected(&self.origin(path), reason)),
            };
            if is_failure && answers_others {
                return Ok(Answer::Refused(reason));
            }
            if let Some(other) = other
                && is_failure
                && begin.elapsed() >= TELL_APART
            {
                // One attempt more, as the server may have come back in between.
                let answer = self.attempt(&self.url(other, &[]), limit).await;
                answers_others = matches!(answer, Ok(Attempt::Done(_)));
            }
            let Some(pause) = pauses.next_backoff() else {
                let hint = if is_overload { "; a smaller --page-size may help" } else { "" };
                let reason = format!("{reason}, for {} s{hint}", GIVE_UP.as_secs());
                return Err(unexpected(&self.origin(path), reason));
            };
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                self.warn(&format!("{reason}; trying again, for {} s at most", GIVE_UP.as_secs()));
            }
            let pause = after.unwrap_or(pause).max(pause).min(GIVE_UP);
            otel_debug!(name: "Import.Retry", reason = reason, pause_ms = pause.as_millis() as u64);
            tokio::time::sleep(pause).await;
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        }
        if !query.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(query);
        }
        url
    }

    /// `Err` is for good.
    async fn attempt(&self, url: &Url, limit: usize) -> Result<Attempt, String> {
        let request = self.http.get(url.clone()).headers(self.headers.clone());
        let again = |error: reqwest::Error| {
            let is_overload = error.is_timeout() && !error.is_connect();
            Attempt::Again { reason: message(error), after: None, is_overload, is_failure: false }
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() || error.is_redirect() => return Err(message(error)),
            Err(error) => return Ok(again(error)),
        };
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(Attempt::Done(Answer::NotFound));
        }
        if !status.is_success() {
            let reason = refusal(&mut response).await;
            let is_overload = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
            let passes = is_overload || status == StatusCode::TOO_MANY_REQUESTS;
            let after =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return if passes {
                let is_failure = status == StatusCode::INTERNAL_SERVER_ERROR;
                Ok(Attempt::Again { reason, after: after.map(Duration::from_secs), is_overload, is_failure })
            } else if matches!(status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE) {
                Ok(Attempt::Done(Answer::Refused(reason)))
            } else {
                Err(reason)
            };
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > limit => {
                    return Ok(Attempt::Done(Answer::TooLarge));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Attempt::Done(Answer::Body(body))),
                Err(error) => return Ok(again(error)),
            }
        }
    }
}

/// A header may be a secret, which is for no other server.
fn stay_at_host(redirect: Redirect<'_>) -> Action {
    const MOST: usize = 5;
    let host = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = redirect.previous().first().is_some_and(|first| host(first) == host(redirect.url()));
    if same && redirect.previous().len() <= MOST { redirect.follow() } else { redirect.stop() }
}

/// The status and the beginning of what the server says.
async fn refusal(response: &mut Response) -> String {
    const SHOWN: usize = 200;
    let status = response.status();
    let text = response.chunk().await.ok().flatten().unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).chars().take(SHOWN).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        format!("the server answers {status}")
    } else {
        format!("the server answers {status}: {text}")
    }
}

fn basic(url: &Url) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    use base64::Engine;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
    let mut value =
        HeaderValue::try_from(format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(login)))?;
    value.set_sensitive(true);
    Ok(value)
}

/// With all causes, and without the URL, whose query may be long.
fn message(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_smaller_page_helps_where_nobody_listens() {
        let client = Client::new("http://127.0.0.1:1").expect("a URL");
        match client.attempt(&client.url("/api/services", &[]), MAX_ANSWER).await {
            Ok(Attempt::Again { reason, is_overload, .. }) => assert!(!is_overload, "{reason}"),
            _ => panic!("nobody listens there"),
        }
    }
}

//! The parameters of a request, as Jaeger reads them.

use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry::trace::TraceId;

use crate::span::Timestamp;

/// What a request may bring: no list of parameters, and no value, is longer than a URL.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(query: Option<&str>) -> Self {
        Parameters(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value under one of these names, the first name first; none where it is empty.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| {
            let value = self.all(name).next().filter(|value| !value.is_empty())?;
            Some((*name, value))
        })
    }

    /// The value under a name; none where it is empty.
    pub(super) fn get(&self, name: &'static str) -> Option<&str> {
        self.first(&[name]).map(|(_, value)| value)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Answers a request whose address cannot be read, with the reason.
pub(super) type Malformed = fn(&str) -> Response;

/// Lets a request through whose address can be read whatever it asks for.
pub(super) async fn require(State(malformed): State<Malformed>, request: Request, next: Next) -> Response {
    match check(request.uri()) {
        Ok(()) => next.run(request).await,
        Err(reason) => malformed(&reason),
    }
}

/// A text of PostgreSQL's does not have U+0000.
fn check(uri: &Uri) -> Result<(), String> {
    let query = Parameters::of(uri.query());
    if let Some((name, _)) = query.0.iter().find(|(name, value)| name.contains('\0') || value.contains('\0'))
    {
        return Err(format!("malformed parameter {}: {NUL}", name.escape_default()));
    }
    match percent_encoding::percent_decode_str(uri.path()).any(|byte| byte == 0) {
        true => Err(format!("malformed path: {NUL}")),
        false => Ok(()),
    }
}

/// The reason where a text has U+0000.
pub(super) const NUL: &str = "a text has no character U+0000";

/// A duration as Go writes it: `1.5s`, `100ms`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |reason: &str| format!("{reason} {text:?}");
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| wrong("expected a duration such as 1.5s or 100ms, not"))?;
    Duration::try_from(parsed).map_err(|_| wrong("a duration is not negative:"))
}

/// A number of microseconds since 1970.
pub(super) fn microseconds(text: &str) -> Result<SystemTime, String> {
    system_time(i128::from(number(text)?) * 1000)
}

/// A number of milliseconds since 1970.
pub(super) fn milliseconds(text: &str) -> Result<SystemTime, String> {
    system_time(i128::from(number(text)?) * 1_000_000)
}

/// So many milliseconds.
pub(super) fn milliseconds_long(text: &str) -> Result<Duration, String> {
    let length = u64::try_from(number(text)?);
    length.map(Duration::from_millis).map_err(|_| format!("a duration is not negative: {text:?}"))
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("expected a whole number, not {text:?}"))
}

/// A time as in RFC 3339.
pub(super) fn rfc3339(text: &str) -> Result<SystemTime, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("expected a time such as 2026-01-31T12:00:00Z, not {text:?}"))?;
    system_time(time.as_nanosecond())
}

fn system_time(nanoseconds: i128) -> Result<SystemTime, String> {
    Timestamp(nanoseconds).to_system_time().ok_or_else(|| "the time is out of range".to_owned())
}

/// A trace's id as Jaeger takes it: up to 32 hexadecimal digits, or base64.
pub(super) fn trace_id(text: &str) -> Result<TraceId, String> {
    let is_hexadecimal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hexadecimal && text.len() <= 32 {
        return TraceId::from_hex(&format!("{text:0>32}")).map_err(|error| error.to_string());
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [base64::alphabet::STANDARD, base64::alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .map(TraceId::from_bytes)
        .ok_or_else(|| format!("{text:?} is not up to 32 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("1.5s", Duration::from_millis(1500)),
            ("100ms", Duration::from_millis(100)),
            ("1h30m", Duration::from_secs(5400)),
            ("1h2m3.5s", Duration::from_millis(3_723_500)),
            ("250us", Duration::from_micros(250)),
            ("250µs", Duration::from_micros(250)),
            ("7ns", Duration::from_nanos(7)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for wrong in ["", "5", "-1s", "1 parsec", "'; DROP TABLE x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_of_traces_are_hexadecimal_with_or_without_zeros_or_base64() {
        let id = TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128);
        for text in [
            "0af7651916cd43dd8448eb211c80319c",
            "AF7651916CD43DD8448EB211C80319C",
            "CvdlGRbNQ92ESOshHIAxnA==",
            "CvdlGRbNQ92ESOshHIAxnA",
        ] {
            assert_eq!(trace_id(text), Ok(id), "{text}");
        }
        assert_eq!(trace_id("1"), Ok(TraceId::from(1_u128)));
        for wrong in ["", "x", "0af7651916cd43dd8448eb211c80319c0", "-1", "../../etc"] {
            assert!(trace_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_text_has_the_character_that_postgresql_cannot_store() {
        let reason = |uri: &'static str| check(&Uri::from_static(uri)).err();
        assert_eq!(reason("/api/search?q=a%2500&service=b"), None);
        for (uri, expected) in [
            ("/?q=a%00b", "malformed parameter q: "),
            ("/?q=a&attribute=k%3D%00", "malformed parameter attribute: "),
            ("/?a%00=b", "malformed parameter a\\u{0}: "),
            ("/api/services/a%00/operations", "malformed path: "),
        ] {
            assert_eq!(reason(uri), Some(format!("{expected}{NUL}")), "{uri}");
        }
    }

    #[test]
    fn a_parameter_may_come_several_times_and_is_decoded() {
        let parameters = Parameters::of(Some("tag=a%3Ab&tag=c%26d&empty=&service=x+y"));
        assert_eq!(parameters.all("tag").collect::<Vec<_>>(), ["a:b", "c&d"]);
        assert_eq!(parameters.get("service"), Some("x y"));
        assert_eq!(parameters.get("empty"), None);
    }
}

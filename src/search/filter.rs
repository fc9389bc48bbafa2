//! What a search is limited to: every condition holds for one and the same span.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::span::without_nul;

/// Conditions on spans. An empty one lets every span through; those that are given hold together, for the same span.
///
/// ```
/// use std::time::Duration;
/// use opentelemetry_pgvector::search::{Filter, Kind, Status};
///
/// # fn main() -> opentelemetry_pgvector::Result<()> {
/// let filter = Filter::default()
///     .service("checkout")
///     .kind(Kind::Server)
///     .status(Status::Error)
///     .longer_than(Duration::from_millis(500))
///     .attribute("http.response.status_code>=500".parse()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Filter {
    /// Of one of these services.
    pub services: Vec<String>,
    /// With this name: as it was exported, or with `…` for what varies as in the view `documents`.
    pub operation: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With this status.
    pub status: Option<Status>,
    /// Started at this time or later.
    pub since: Option<SystemTime>,
    /// Started before this time.
    pub until: Option<SystemTime>,
    /// At least as long.
    pub min_duration: Option<Duration>,
    /// At most as long.
    pub max_duration: Option<Duration>,
    /// With these attributes of the span.
    pub attributes: Vec<Condition>,
    /// With these attributes of the resource.
    pub resource: Vec<Condition>,
    /// With these keys and values as attributes of the span, its resource, its scope, or one of its events or links: as it
    /// is written, whatever its type, or a number of that value.
    pub tags: Vec<(String, String)>,
    /// With the status error, or with another.
    pub failed: Option<bool>,
    /// Of the instrumentation scope of this name.
    pub scope: Option<String>,
    /// With an exception among its events, or without one.
    pub exception: Option<bool>,
    /// Of one of these traces.
    pub trace_ids: Vec<TraceId>,
    /// With these texts in name, status, attributes, events or links, in either case of letters.
    pub phrases: Vec<String>,
    /// Of none of these traces.
    pub(crate) apart_from: Vec<TraceId>,
}

/// The kind of a span, as OTLP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "OpenTelemetry's own words")]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// The status of a span, as OTLP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "OpenTelemetry's own words")]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// A condition on an attribute. As text: `key`, `key=value`, `key!=value`, `key~regex`, `key!~regex`, `key>number`, `>=`,
/// `<` and `<=`. Values are compared as text, whatever their type: `http.response.status_code=404`.
///
/// Old and new names of the semantic conventions are one: `http.method` is `http.request.method`, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The attribute's key.
    pub key: String,
    /// What its value has to be.
    pub test: Test,
}

/// What the value of an attribute has to be. A span without the attribute fails every test.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Anything.
    Exists,
    /// This text, number or boolean, or a list that has it.
    Is(String),
    /// Anything else.
    IsNot(String),
    /// A text that a regular expression of PostgreSQL's fits somewhere.
    Matches(String),
    /// A text that it fits nowhere.
    MatchesNot(String),
    /// A number, or a text that is one, that compares so.
    Compares(Comparison, f64),
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Filter {
    /// Of this service, too.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.services.push(name.into());
        self
    }

    /// With this name.
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operation = Some(name.into());
        self
    }

    /// Of this kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// With this status.
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Started at this time or later.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Started before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// At least as long.
    pub fn longer_than(mut self, duration: Duration) -> Self {
        self.min_duration = Some(duration);
        self
    }

    /// At most as long.
    pub fn shorter_than(mut self, duration: Duration) -> Self {
        self.max_duration = Some(duration);
        self
    }

    /// With such an attribute of the span.
    pub fn attribute(mut self, condition: Condition) -> Self {
        self.attributes.push(condition);
        self
    }

    /// With such an attribute of the resource.
    pub fn resource_attribute(mut self, condition: Condition) -> Self {
        self.resource.push(condition);
        self
    }

    /// With such an attribute of the span, its resource, its scope, or one of its events or links.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// With the status error, or with another.
    pub fn failed(mut self, has: bool) -> Self {
        self.failed = Some(has);
        self
    }

    /// Of this instrumentation scope.
    pub fn scope(mut self, name: impl Into<String>) -> Self {
        self.scope = Some(name.into());
        self
    }

    /// With an exception among its events, or without one.
    pub fn exception(mut self, has: bool) -> Self {
        self.exception = Some(has);
        self
    }

    /// Of this trace, too.
    pub fn trace_id(mut self, id: TraceId) -> Self {
        self.trace_ids.push(id);
        self
    }

    /// With this text in it.
    pub fn phrase(mut self, text: impl Into<String>) -> Self {
        self.phrases.push(text.into());
        self
    }

    /// The regular expressions in it.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().chain(&self.resource).filter_map(|condition| match &condition.test {
            Test::Matches(expression) | Test::MatchesNot(expression) => Some(expression.as_str()),
            _ => None,
        })
    }

    /// With its texts as they are stored, where U+0000 has a sign of its own.
    pub(super) fn stored(mut self) -> Self {
        let mut texts: Vec<&mut String> = self.services.iter_mut().chain(&mut self.phrases).collect();
        texts.extend(self.operation.iter_mut().chain(&mut self.scope));
        texts.extend(self.tags.iter_mut().flat_map(|(key, value)| [key, value]));
        for Condition { key, test } in self.attributes.iter_mut().chain(&mut self.resource) {
            texts.push(key);
            match test {
                Test::Is(text) | Test::IsNot(text) | Test::Matches(text) | Test::MatchesNot(text) => {
                    texts.push(text)
                }
                Test::Exists | Test::Compares(..) => {}
            }
        }
        for text in texts.into_iter().filter(|text| text.contains('\0')) {
            *text = without_nul(text);
        }
        self
    }

    /// Whether it asks for nothing but a period.
    pub(super) fn is_empty_but_for_time(&self) -> bool {
        Filter { since: None, until: None, ..self.clone() }.is_empty()
    }

    /// Whether every span passes.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

impl Condition {
    /// Exactly this value.
    pub fn is(key: impl Into<String>, value: impl Into<String>) -> Self {
        Condition { key: key.into(), test: Test::Is(value.into()) }
    }

    /// Any value.
    pub fn exists(key: impl Into<String>) -> Self {
        Condition { key: key.into(), test: Test::Exists }
    }
}

impl Kind {
    /// The kind with this number; `None` for 0 and for numbers that OTLP does not have.
    pub fn from_number(number: i16) -> Option<Self> {
        [Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer]
            .into_iter()
            .find(|kind| *kind as i16 == number)
    }
}

/// As it is read.
impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.test {
            Test::Exists => write!(formatter, "{key}"),
            Test::Is(value) => write!(formatter, "{key}={value}"),
            Test::IsNot(value) => write!(formatter, "{key}!={value}"),
            Test::Matches(value) => write!(formatter, "{key}~{value}"),
            Test::MatchesNot(value) => write!(formatter, "{key}!~{value}"),
            Test::Compares(comparison, number) => write!(formatter, "{key}{}{number}", comparison.sign()),
        }
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |reason: &str| Error::Input { origin: format!("condition `{text}`"), reason: reason.into() };
        let at = text.find(['=', '!', '~', '<', '>']).unwrap_or(text.len());
        let (key, rest) = (text[..at].trim(), &text[at..]);
        if key.is_empty() {
            return Err(wrong("no key; expected key=value, key!=value, key~regex, key>number or key"));
        }
        let operators = ["!=", "!~", ">=", "<=", "=", "~", ">", "<"];
        let test = match operators.iter().find(|operator| rest.starts_with(**operator)) {
            None if rest.is_empty() => Test::Exists,
            None => return Err(wrong("`!` stands before `=` or `~`")),
            Some(operator) => Test::read(operator, unquoted(rest[operator.len()..].trim())).map_err(wrong)?,
        };
        Ok(Condition { key: key.into(), test })
    }
}

impl Test {
    /// What an operator and a value ask for.
    pub(super) fn read(operator: &str, value: &str) -> std::result::Result<Self, &'static str> {
        let compares = |comparison| {
            let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
            number
                .map(|number| Test::Compares(comparison, number))
                .ok_or("a number is expected behind < and >")
        };
        match operator {
            "=" => Ok(Test::Is(value.into())),
            "!=" => Ok(Test::IsNot(value.into())),
            "~" => Ok(Test::Matches(value.into())),
            "!~" => Ok(Test::MatchesNot(value.into())),
            ">" => compares(Comparison::Greater),
            ">=" => compares(Comparison::GreaterOrEqual),
            "<" => compares(Comparison::Less),
            _ => compares(Comparison::LessOrEqual),
        }
    }
}

impl Comparison {
    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
        }
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

macro_rules! named {
    ($type:ident, $what:literal, $($name:literal => $variant:ident),+) => {
        impl $type {
            /// As it is written.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($name => Ok($type::$variant),)+
                    _ => Err(Error::Input {
                        origin: format!(concat!($what, " `{}`"), text),
                        reason: concat!("expected one of:", $(" ", $name),+).into(),
                    }),
                }
            }
        }
    };
}

named!(Kind, "kind", "internal" => Internal, "server" => Server, "client" => Client, "producer" => Producer, "consumer" => Consumer);
named!(Status, "status", "unset" => Unset, "ok" => Ok, "error" => Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let cases = [
            ("http.route", Test::Exists),
            ("http.route=/cart", Test::Is("/cart".into())),
            ("http.route = \"a b\"", Test::Is("a b".into())),
            ("a=b=c", Test::Is("b=c".into())),
            ("a=", Test::Is(String::new())),
            ("a!=b", Test::IsNot("b".into())),
            ("a~^x|y$", Test::Matches("^x|y$".into())),
            ("a!~x", Test::MatchesNot("x".into())),
            ("a>5", Test::Compares(Comparison::Greater, 5.0)),
            ("a>=-5.5", Test::Compares(Comparison::GreaterOrEqual, -5.5)),
            ("a<1e3", Test::Compares(Comparison::Less, 1000.0)),
            ("a<=0", Test::Compares(Comparison::LessOrEqual, 0.0)),
        ];
        for (text, test) in cases {
            assert_eq!(text.parse::<Condition>().expect(text).test, test, "{text}");
        }
        for wrong in ["", "=x", "a!b", "a>x", "a<NaN"] {
            let error = wrong.parse::<Condition>().expect_err(wrong).to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        assert_eq!("SERVER".parse::<Kind>().expect("a kind"), Kind::Server);
        assert!("broken".parse::<Status>().expect_err("none").to_string().contains("unset ok error"));
    }
}

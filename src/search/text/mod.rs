//! A search in one line of text: words and filters together, `payment declined service:checkout status:error >500ms`.

mod read;
mod written;

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TraceId;

use super::filter::{Condition, Filter, Kind, Status, Test};
use super::query::SearchQuery;
use crate::error::{Error, Result};
use crate::span::Timestamp;
pub(crate) use read::Mistake;
use read::read;
#[doc(hidden)]
pub use written::{read_duration, read_time};

/// A search as it is typed: its terms, in their order. As text it is what it was read from, with one space between terms.
///
/// Times before now (`last:1h`) stay so until the search is made, so that a text may be kept and used again.
///
/// ```
/// use opentelemetry_pgvector::search::{QueryText, Status, Term};
///
/// # fn main() -> opentelemetry_pgvector::Result<()> {
/// let text: QueryText = r#"payment declined service:checkout "E-1042" >500ms http.route=/cart last:1h"#.parse()?;
/// let failed = text.with(Term::Status(Status::Error));
/// assert_eq!(
///     failed.to_string(),
///     r#"payment declined service:checkout "E-1042" >500ms http.route=/cart last:1h status:error"#
/// );
/// assert_eq!(failed.to_query().text(), "payment declined E-1042");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryText {
    terms: Vec<Term>,
}

/// A part of a [`QueryText`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Term {
    /// A word, searched for by its meaning.
    Word(String),
    /// `"text"`: it is in the span as it stands, in either case of letters.
    Phrase(String),
    /// `service:checkout`; of several, any.
    Service(String),
    /// `operation:"GET /cart"`.
    Operation(String),
    /// `kind:server`.
    Kind(Kind),
    /// `status:error`.
    Status(Status),
    /// `>500ms`: at least as long.
    LongerThan(Duration),
    /// `<2s`: at most as long.
    ShorterThan(Duration),
    /// `last:1h`: so long before now or later.
    Last(Duration),
    /// `since:2026-01-31T12:00:00Z`: at this time or later.
    Since(SystemTime),
    /// `until:2026-01-31T12:00:00Z`: before this time.
    Until(SystemTime),
    /// `http.route=/cart`, `retry>3`, `exists:user.id`: an attribute of the span.
    Attribute(Condition),
    /// `resource.cloud.region=eu`: an attribute of the resource.
    Resource(Condition),
    /// `scope:http`: the instrumentation scope.
    Scope(String),
    /// `trace:4bf92f3577b34da6a3ce929d0e0e4736`; of several, any.
    Trace(TraceId),
    /// `exception:yes` or `exception:no`: with an exception among the events, or without.
    Exception(bool),
}

impl QueryText {
    /// The terms, in their order.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// With another term at the end. It stands in for a term that it cannot be together with: there is one status.
    #[must_use]
    pub fn with(&self, term: Term) -> Self {
        let mut terms = self.terms.clone();
        terms.retain(|other| *other != term && !other.excludes(&term));
        terms.push(term);
        QueryText { terms }
    }

    /// Without the terms for which this holds.
    #[must_use]
    pub fn without(&self, is_left_out: impl Fn(&Term) -> bool) -> Self {
        QueryText { terms: self.terms.iter().filter(|term| !is_left_out(term)).cloned().collect() }
    }

    /// The search that it asks for. What is before now counts from now.
    pub fn to_query(&self) -> SearchQuery {
        let filter = self.terms.iter().fold(Filter::default(), |filter, term| term.add_to(filter));
        let mut query = SearchQuery::filtered(filter);
        // Phrases have a meaning, too, where there is an order by meaning.
        if self.terms.iter().any(|term| matches!(term, Term::Word(_))) {
            let texts = self.terms.iter().filter_map(|term| match term {
                Term::Word(text) | Term::Phrase(text) => Some(text.replace('"', " ")),
                _ => None,
            });
            query.text = texts.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        }
        query
    }

    /// Where the last token of a text begins, which may be in the making.
    #[cfg(any(test, feature = "serve"))]
    pub(crate) fn last_token(text: &str) -> usize {
        read::last_token(text)
    }

    /// Reads a text; what is wrong with it as the page shows it.
    pub(crate) fn read(text: &str) -> std::result::Result<Self, Mistake> {
        read(text).map(|terms| QueryText { terms })
    }
}

impl SearchQuery {
    /// A search by words and filters in one text, as the page's search box has it: see
    /// [`docs/conditions.md`](https://github.com/opentelemetry-pgvector/opentelemetry-pgvector/blob/main/docs/conditions.md).
    ///
    /// ```
    /// use opentelemetry_pgvector::search::SearchQuery;
    ///
    /// # fn main() -> opentelemetry_pgvector::Result<()> {
    /// let query = SearchQuery::parse("payment declined service:checkout status:error >500ms")?;
    /// assert_eq!(query.text(), "payment declined");
    /// assert_eq!(query.conditions().services, ["checkout"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`], with the part that is not understood and what to write instead.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(text.parse::<QueryText>()?.to_query())
    }
}

impl std::str::FromStr for QueryText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        QueryText::read(text).map_err(Mistake::into_error)
    }
}

impl From<Vec<Term>> for QueryText {
    fn from(terms: Vec<Term>) -> Self {
        QueryText { terms }
    }
}

/// As it is typed.
impl fmt::Display for QueryText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            if at > 0 {
                formatter.write_char(' ')?;
            }
            term.fmt(formatter)?;
        }
        Ok(())
    }
}

impl Term {
    /// Whether a search cannot have both.
    pub(crate) fn excludes(&self, other: &Term) -> bool {
        use Term::{Exception, Kind, Last, LongerThan, Operation, Scope, ShorterThan, Since, Status, Until};
        matches!(
            (self, other),
            (Operation(_), Operation(_))
                | (Kind(_), Kind(_))
                | (Status(_), Status(_))
                | (LongerThan(_), LongerThan(_))
                | (ShorterThan(_), ShorterThan(_))
                | (Last(_) | Since(_), Last(_) | Since(_))
                | (Until(_), Until(_))
                | (Scope(_), Scope(_))
                | (Exception(_), Exception(_))
        )
    }

    /// Whether it is the condition that [`Hidden`](super::Hidden) names so.
    #[cfg(any(test, feature = "serve"))]
    pub(crate) fn is_named(&self, condition: &str) -> bool {
        match self {
            Term::Word(_) => false,
            Term::Phrase(text) => condition == format!("\"{text}\""),
            Term::Service(_) => condition == "service",
            Term::Operation(_) => condition == "operation",
            Term::Kind(_) => condition == "kind",
            Term::Status(_) => condition == "status",
            Term::LongerThan(_) => condition == "minimum duration",
            Term::ShorterThan(_) => condition == "maximum duration",
            Term::Last(_) | Term::Since(_) => condition == "since",
            Term::Until(_) => condition == "until",
            Term::Attribute(attribute) => condition == format!("attribute {attribute}"),
            Term::Resource(attribute) => condition == format!("resource attribute {attribute}"),
            Term::Scope(_) => condition == "scope",
            Term::Trace(_) => condition == "trace id",
            Term::Exception(_) => condition == "exception",
        }
    }

    fn add_to(&self, filter: Filter) -> Filter {
        match self {
            Term::Word(_) => filter,
            Term::Phrase(text) => filter.phrase(text),
            Term::Service(name) => filter.service(name),
            Term::Operation(name) => filter.operation(name),
            Term::Kind(kind) => filter.kind(*kind),
            Term::Status(status) => filter.status(*status),
            Term::LongerThan(duration) => filter.longer_than(*duration),
            Term::ShorterThan(duration) => filter.shorter_than(*duration),
            // Longer ago than time goes back is no condition.
            Term::Last(ago) => match SystemTime::now().checked_sub(*ago) {
                Some(time) => filter.since(time),
                None => filter,
            },
            Term::Since(time) => filter.since(*time),
            Term::Until(time) => filter.until(*time),
            Term::Attribute(condition) => filter.attribute(condition.clone()),
            Term::Resource(condition) => filter.resource_attribute(condition.clone()),
            Term::Scope(name) => filter.scope(name),
            Term::Trace(id) => filter.trace_id(*id),
            Term::Exception(has) => filter.exception(*has),
        }
    }
}

/// As it is typed.
impl fmt::Display for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Word(word) => formatter.write_str(word),
            Term::Phrase(text) => formatter.write_str(&quoted(text)),
            Term::Service(name) => write!(formatter, "service:{}", value(name)),
            Term::Operation(name) => write!(formatter, "operation:{}", value(name)),
            Term::Kind(kind) => write!(formatter, "kind:{}", kind.name()),
            Term::Status(status) => write!(formatter, "status:{}", status.name()),
            Term::LongerThan(duration) => write!(formatter, ">{}", written::duration(*duration)),
            Term::ShorterThan(duration) => write!(formatter, "<{}", written::duration(*duration)),
            Term::Last(ago) => write!(formatter, "last:{}", written::ago(*ago)),
            Term::Since(time) => write!(formatter, "since:{}", written::time(Timestamp::from(*time))),
            Term::Until(time) => write!(formatter, "until:{}", written::time(Timestamp::from(*time))),
            Term::Attribute(condition) => write_condition(formatter, "", condition),
            Term::Resource(condition) => write_condition(formatter, RESOURCE, condition),
            Term::Scope(name) => write!(formatter, "scope:{}", value(name)),
            Term::Trace(id) => write!(formatter, "trace:{id}"),
            Term::Exception(has) => write!(formatter, "exception:{}", if *has { "yes" } else { "no" }),
        }
    }
}

/// What stands before the key of a resource's attribute.
const RESOURCE: &str = "resource.";

fn write_condition(formatter: &mut fmt::Formatter<'_>, before: &str, condition: &Condition) -> fmt::Result {
    let key = if read::is_plain_key(&condition.key)
        && !(before.is_empty() && condition.key.starts_with(RESOURCE))
    {
        condition.key.clone()
    } else {
        quoted(&condition.key)
    };
    match &condition.test {
        Test::Exists => write!(formatter, "exists:{before}{key}"),
        Test::Is(text) => write!(formatter, "{before}{key}={}", value(text)),
        Test::IsNot(text) => write!(formatter, "{before}{key}!={}", value(text)),
        Test::Matches(text) => write!(formatter, "{before}{key}~{}", value(text)),
        Test::MatchesNot(text) => write!(formatter, "{before}{key}!~{}", value(text)),
        Test::Compares(comparison, number) => write!(formatter, "{before}{key}{}{number}", comparison.sign()),
    }
}

/// A value behind a `:` or an operator: in quotes where it would end too early.
fn value(text: &str) -> String {
    let is_plain =
        !text.is_empty() && !text.contains(|character: char| character.is_whitespace() || character == '"');
    if is_plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;

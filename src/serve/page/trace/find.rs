//! Finding spans within a trace, by the words and filters that the search takes.

use std::collections::HashSet;

use regex::Regex;

use super::detail::is_exception;
use super::whole::Whole;
use crate::search::{Comparison, Condition, QueryText, Term, Test};
use crate::serve::trace::{between, text};
use crate::span::{Attribute, Span, Timestamp, Value, names_of};

/// A line of the waterfall that is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// Its place among the trace's lines.
    pub(super) line: usize,
    /// Whether the span itself has what is looked for; otherwise it is shown because one below it has.
    pub(super) matches: bool,
}

/// Lines with spans that have what is looked for, and their ancestors; all where nothing is.
pub(super) fn shown(whole: &Whole, find: &str) -> Vec<Shown> {
    let wanted = Wanted::of(find);
    let mut shown = Vec::new();
    // From the end: what is below a line is known before it. The depth of the line whose ancestors are still missing.
    let mut missing = 0;
    for (line, each) in whole.lines.iter().enumerate().rev() {
        let matches = wanted.fits(&whole.spans[each.span]);
        if matches || each.depth < missing {
            shown.push(Shown { line, matches });
            missing = each.depth;
        }
    }
    shown.reverse();
    shown
}

/// What a span must have: of several services any, of the rest all.
struct Wanted {
    services: HashSet<String>,
    checks: Vec<Check>,
}

enum Check {
    /// Somewhere in the span's texts, in lowercase.
    Text(String),
    Attribute(Condition, Option<Regex>),
    Resource(Condition, Option<Regex>),
    Term(Term),
}

impl Wanted {
    /// A text that is no search is looked for as it stands.
    fn of(find: &str) -> Self {
        let terms = match QueryText::read(find) {
            Ok(text) => text.terms().to_vec(),
            Err(_) => vec![Term::Phrase(find.trim().to_owned())],
        };
        let mut wanted = Wanted { services: HashSet::new(), checks: Vec::new() };
        for term in terms {
            wanted.checks.push(match term {
                Term::Service(name) => {
                    wanted.services.insert(name);
                    continue;
                }
                Term::Word(text) | Term::Phrase(text) => Check::Text(text.to_lowercase()),
                Term::Attribute(condition) => Check::Attribute(condition.clone(), regex(&condition)),
                Term::Resource(condition) => Check::Resource(condition.clone(), regex(&condition)),
                other => Check::Term(other),
            });
        }
        wanted
    }

    fn fits(&self, span: &Span<'_>) -> bool {
        let is_of_service = self.services.is_empty() || self.services.contains(span.resource.service_name());
        is_of_service && self.checks.iter().all(|check| check.fits(span))
    }
}

impl Check {
    fn fits(&self, span: &Span<'_>) -> bool {
        match self {
            Check::Text(words) => has_text(span, words),
            Check::Attribute(condition, regex) => passes(&span.attributes, condition, regex.as_ref()),
            Check::Resource(condition, regex) => passes(&span.resource.attributes, condition, regex.as_ref()),
            Check::Term(term) => fits(span, term),
        }
    }
}

fn fits(span: &Span<'_>, term: &Term) -> bool {
    let duration = || between(span.start, span.end);
    match term {
        Term::Operation(name) => span.name == name.as_str(),
        Term::Kind(kind) => span.kind == *kind as i32,
        Term::Status(status) => span.status.code.0 == *status as i32,
        Term::LongerThan(least) => duration() >= *least,
        Term::ShorterThan(most) => duration() <= *most,
        Term::Since(time) => span.start >= Timestamp::from(*time),
        Term::Until(time) => span.start < Timestamp::from(*time),
        Term::Scope(name) => span.scope.name == *name,
        Term::Exception(has) => span.events.iter().any(is_exception) == *has,
        // It is one trace that is looked at, and when it was has been said.
        _ => true,
    }
}

fn has_text(span: &Span<'_>, words: &str) -> bool {
    let contains = |text: &str| text.to_lowercase().contains(words);
    let any = |attributes: &[Attribute<'_>]| {
        attributes.iter().any(|(key, value)| contains(&format!("{key}={}", text(value))))
    };
    contains(&span.name)
        || contains(span.resource.service_name())
        || contains(&span.status.message)
        || contains(&span.span_id.to_string())
        || any(&span.attributes)
        || span.events.iter().any(|event| contains(&event.name) || any(&event.attributes))
        || span.links.iter().any(|link| contains(&link.trace_id.to_string()) || any(&link.attributes))
}

/// As far as this engine knows PostgreSQL's regular expressions; what it does not understand fits nothing.
fn regex(condition: &Condition) -> Option<Regex> {
    match &condition.test {
        Test::Matches(regex) | Test::MatchesNot(regex) => Regex::new(regex).ok(),
        _ => None,
    }
}

/// Whether an attribute of this key, whatever a version of the conventions calls it, passes.
fn passes(attributes: &[Attribute<'_>], condition: &Condition, regex: Option<&Regex>) -> bool {
    let names = names_of(&condition.key);
    let Some((_, value)) = attributes.iter().find(|(key, _)| names.contains(&key.as_ref())) else {
        return false;
    };
    let is = |wanted: &str| match value {
        Value::Array(values) => values.iter().any(|value| text(value) == wanted),
        value => text(value) == wanted,
    };
    match &condition.test {
        Test::Exists => true,
        Test::Is(wanted) => is(wanted),
        Test::IsNot(wanted) => !is(wanted),
        Test::Matches(_) => regex.is_some_and(|regex| regex.is_match(&text(value))),
        Test::MatchesNot(_) => regex.is_some_and(|regex| !regex.is_match(&text(value))),
        Test::Compares(comparison, number) => {
            text(value).parse::<f64>().is_ok_and(|value| match comparison {
                Comparison::Greater => value > *number,
                Comparison::GreaterOrEqual => value >= *number,
                Comparison::Less => value < *number,
                Comparison::LessOrEqual => value <= *number,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;
    use crate::serve::trace::tests::span;
    use crate::span::{Status, StatusCode};

    fn whole() -> Whole {
        let mut spans = vec![
            span(1, 0, 0, 100_000_000),
            span(2, 1, 10, 20),
            span(3, 2, 11, 12),
            span(4, 1, 30, 90_000_000),
            span(5, 4, 40, 50),
            span(6, 4, 60, 70),
        ];
        spans[4].name = "charge <Card>".into();
        spans[4].kind = 3;
        spans[4].status = Status { code: StatusCode::ERROR, message: "too late".into() };
        spans[4].attributes = vec![
            ("card.kind".into(), Value::String("Debit Ä".into())),
            ("http.status_code".into(), Value::Int(402)),
        ];
        Whole::of(TraceId::from(1), spans, 100)
    }

    #[test]
    fn ancestors_of_what_is_found_are_shown() {
        let whole = whole();
        let found = |find: &str| -> Vec<(usize, bool)> {
            shown(&whole, find).iter().map(|shown| (shown.line, shown.matches)).collect()
        };
        let way = vec![(0, false), (3, false), (4, true)];
        for find in
            ["charge", "CARD charge", "\"debit ä\"", "0000000000000005", "too late charge", "status:error"]
        {
            assert_eq!(found(find), way, "{find}");
        }
        assert_eq!(found("").len(), 6);
        assert_eq!(found(">50ms"), [(0, true), (3, true)]);
    }

    #[test]
    fn filters_are_those_of_the_search() {
        let whole = whole();
        let finds = |find: &str| shown(&whole, find).iter().any(|shown| shown.line == 4 && shown.matches);
        for find in [
            "kind:client",
            "\"card.kind\"=\"Debit Ä\"",
            "http.status_code=402",
            "http.response.status_code>=400",
            "http.status_code~^4",
            "http.status_code!=500",
            "operation:\"charge <Card>\"",
            "exists:card.kind",
            "exception:no",
            "<1s",
        ] {
            assert!(finds(find), "{find}");
        }
        for find in [
            "nothing",
            "kind:server",
            "status:ok",
            "http.status_code<400",
            "http.status_code~[",
            "card.kind!~^Deb",
            "exception:yes",
            "service:x",
            "scope:x",
            "user.id!=1",
        ] {
            assert!(!finds(find), "{find}");
        }
    }

    #[test]
    fn what_is_no_search_is_looked_for_as_it_stands() {
        let mut spans = vec![span(1, 0, 0, 1), span(2, 1, 0, 1)];
        spans[1].name = "see \"http://x".into();
        let whole = Whole::of(TraceId::from(1), spans, 100);
        let found = shown(&whole, " \"http://x ");
        assert_eq!(found.iter().filter(|shown| shown.matches).count(), 1);
    }
}

//! Finding spans within a trace, by the words and filters that the search takes.

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};

use super::detail::is_exception;
use super::whole::Whole;
use crate::search::{Comparison, Condition, QueryText, Term, Test};
use crate::serve::human;
use crate::serve::parameters::Parameters;
use crate::serve::trace::{between, text};
use crate::span::{Attribute, Span, Timestamp, Value, names_of};

/// The longest text, in bytes: a link may not be much longer.
const LONGEST: usize = 4_000;
/// How many regular expressions a text has at most, and how large each of them is, compiled, in bytes.
const REGEXES: usize = 10;
const REGEX_SIZE: usize = 1 << 20;

/// The parameter `find`, without the blanks around it.
///
/// # Errors
/// What is said of one that would take too long.
pub(super) fn of(parameters: &Parameters) -> Result<String, String> {
    let find = parameters.get("find").unwrap_or_default().trim();
    if find.len() > LONGEST {
        let longest = human::thousands(LONGEST as u64);
        return Err(format!("malformed parameter find: it has up to {longest} characters"));
    }
    let is_regex = |term: &Term| match term {
        Term::Attribute(condition) | Term::Resource(condition) => {
            matches!(condition.test, Test::Matches(_) | Test::MatchesNot(_))
        }
        _ => false,
    };
    if terms(find).iter().filter(|term| is_regex(term)).count() > REGEXES {
        return Err(format!("malformed parameter find: it has up to {REGEXES} regular expressions"));
    }
    Ok(find.to_owned())
}

/// Each of its terms once. A text that is no search is looked for as it stands.
fn terms(find: &str) -> Vec<Term> {
    let Ok(text) = QueryText::read(find) else { return vec![Term::Phrase(find.trim().to_owned())] };
    let mut terms: Vec<Term> = Vec::new();
    for term in text.terms() {
        if !terms.contains(term) {
            terms.push(term.clone());
        }
    }
    terms
}

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
    fn of(find: &str) -> Self {
        let mut wanted = Wanted { services: HashSet::new(), checks: Vec::new() };
        for term in terms(find) {
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

/// As far as this engine knows PostgreSQL's regular expressions; what it does not understand, or what grows too large,
/// fits nothing.
fn regex(condition: &Condition) -> Option<Regex> {
    match &condition.test {
        Test::Matches(regex) | Test::MatchesNot(regex) => {
            RegexBuilder::new(regex).size_limit(REGEX_SIZE).build().ok()
        }
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
    fn a_text_that_would_take_too_long_is_refused() {
        let asked = |find: &str| {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("find", find).finish();
            of(&Parameters::of(Some(&query)))
        };
        let regexes = |count: usize| (0..count).map(|at| format!("a{at}~x ")).collect::<String>();
        assert_eq!(asked("  charge card \n").as_deref(), Ok("charge card"));
        assert_eq!(asked(&" ".repeat(60_000)).as_deref(), Ok(""));
        assert!(asked(&"a".repeat(LONGEST)).is_ok());
        assert!(asked(&"a".repeat(LONGEST + 1)).expect_err("too long").contains("up to 4,000 characters"));
        assert!(asked(&regexes(REGEXES)).is_ok());
        assert!(asked(&"a~x ".repeat(900)).is_ok());
        let reason = asked(&regexes(REGEXES + 1)).expect_err("too many");
        assert!(reason.contains("up to 10 regular expressions"), "{reason}");
    }

    #[test]
    fn a_term_is_looked_for_once_and_a_regular_expression_within_bounds() {
        assert_eq!(Wanted::of("a b a~x a~x \"b\" a").checks.len(), 4);
        let grown = Wanted::of(r"card.kind~\w{80}{80}");
        assert!(matches!(&grown.checks[..], [Check::Attribute(_, None)]));
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

//! Finding spans within a trace.

use super::whole::Whole;
use crate::serve::trace::text;
use crate::span::{Attribute, Span};

/// What a span must have; all of it.
#[derive(Debug, PartialEq)]
enum Term {
    /// Somewhere in its texts, in lowercase.
    Text(String),
    Service(String),
    Error,
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
    let terms = terms(find);
    let matches = |line: usize| {
        let span = &whole.spans[whole.lines[line].span];
        terms.iter().all(|term| has(span, term))
    };
    let mut shown = Vec::new();
    // From the end: what is below a line is known before it. The depth at which an ancestor is still missing.
    let mut wanted = 0;
    for line in (0..whole.lines.len()).rev() {
        let (depth, matches) = (whole.lines[line].depth, matches(line));
        let is_ancestor = depth < wanted;
        if matches || is_ancestor {
            shown.push(Shown { line, matches });
            wanted = depth;
        }
    }
    shown.reverse();
    shown
}

/// Words, and `"words with spaces"`.
fn terms(find: &str) -> Vec<Term> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut is_quoted) = (String::new(), false);
    for character in find.chars().chain([' ']) {
        match character {
            '"' => is_quoted = !is_quoted,
            _ if character.is_whitespace() && !is_quoted => words.extend(Some(std::mem::take(&mut word))),
            _ => word.push(character),
        }
    }
    words.push(word);
    let term = |word: String| match word.split_once(':') {
        Some(("service", name)) if !name.is_empty() => Term::Service(name.to_owned()),
        Some(("status", "error")) => Term::Error,
        _ => Term::Text(word.trim().to_lowercase()),
    };
    words.into_iter().filter(|word| !word.trim().is_empty()).map(term).collect()
}

fn has(span: &Span<'_>, term: &Term) -> bool {
    let words = match term {
        Term::Service(name) => return span.resource.service_name() == name,
        Term::Error => return span.is_error(),
        Term::Text(words) => words,
    };
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

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;
    use crate::serve::trace::tests::span;
    use crate::span::Value;

    #[test]
    fn ancestors_of_what_is_found_are_shown() {
        let mut spans = vec![
            span(1, 0, 0, 100),
            span(2, 1, 10, 20),
            span(3, 2, 11, 12),
            span(4, 1, 30, 90),
            span(5, 4, 40, 50),
            span(6, 4, 60, 70),
        ];
        spans[4].name = "charge <Card>".into();
        spans[4].attributes = vec![("card.kind".into(), Value::String("Debit Ä".into()))];
        let whole = Whole::of(TraceId::from(1), spans, 100);
        let found = |find: &str| -> Vec<(usize, bool)> {
            shown(&whole, find).iter().map(|shown| (shown.line, shown.matches)).collect()
        };
        let way = vec![(0, false), (3, false), (4, true)];
        for find in ["charge", "CARD charge", "\"debit ä\"", "card.kind=debit", "0000000000000005"] {
            assert_eq!(found(find), way, "{find}");
        }
        assert_eq!(found("").len(), 6);
        assert_eq!(found("  \" ").len(), 6);
        assert!(
            found("nothing").is_empty() && found("status:error").is_empty() && found("service:x").is_empty()
        );
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(
            terms("a \"B c\" service:\"x y\" status:error http://x"),
            [
                Term::Text("a".into()),
                Term::Text("b c".into()),
                Term::Service("x y".into()),
                Term::Error,
                Term::Text("http://x".into())
            ]
        );
    }
}

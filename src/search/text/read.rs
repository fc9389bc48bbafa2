//! Reading the text of a search, term by term.

use std::time::Duration;

use super::super::filter::{Condition, Test};
use super::super::query::{is_id, trace_id};
use super::written::{read_ago, read_duration, read_moment, read_time};
use super::{RESOURCE, Term, quoted};
use crate::error::Error;

/// What stands before a `:`.
const NAMES: [&str; 11] = [
    "service",
    "operation",
    "kind",
    "status",
    "last",
    "since",
    "until",
    "exists",
    "scope",
    "trace",
    "exception",
];
/// What compares an attribute, the longer ones first.
const OPERATORS: [&str; 8] = ["!=", "!~", ">=", "<=", "=", "~", ">", "<"];

/// A part of a text that is not understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Mistake {
    /// As it was typed.
    pub(crate) token: String,
    /// What is wrong, and what to write.
    pub(crate) reason: String,
    /// What may stand in its place.
    pub(crate) instead: Vec<String>,
}

impl Mistake {
    pub(super) fn into_error(self) -> Error {
        let Mistake { token, mut reason, instead } = self;
        if !instead.is_empty() {
            reason = format!("{reason}; write {}", instead.join(" or "));
        }
        Error::Input { origin: format!("search `{token}`"), reason }
    }
}

type Read<T> = Result<T, Mistake>;

pub(super) fn read(text: &str) -> Read<Vec<Term>> {
    let mut terms: Vec<Term> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, after) = rest.split_at(length(rest)?);
        rest = after.trim_start();
        for term in read_token(token)? {
            if let Some(other) = terms.iter().find(|other| other.excludes(&term)) {
                let reason = format!("a search cannot have it beside `{other}`: leave one of them out");
                return Err(mistake(token, reason));
            }
            terms.push(term);
        }
    }
    let bounds = terms.iter().fold((None, None), |(least, most), term| match term {
        Term::LongerThan(duration) => (Some(*duration), most),
        Term::ShorterThan(duration) => (least, Some(*duration)),
        _ => (least, most),
    });
    if let (Some(least), Some(most)) = bounds
        && most < least
    {
        return Err(mistake(
            &Term::ShorterThan(most).to_string(),
            format!("it is shorter than {}", Term::LongerThan(least)),
        ));
    }
    Ok(terms)
}

/// Where the last token of a text begins, which may be in the making; at the text's end where a space is behind the others.
#[cfg(any(test, feature = "serve"))]
pub(super) fn last_token(text: &str) -> usize {
    let mut at = text.len() - text.trim_start().len();
    while let Ok(length) = length(&text[at..]) {
        let after = text[at + length..].trim_start();
        if after.is_empty() {
            let is_open = at + length == text.len() && length > 0;
            return if is_open { at } else { text.len() };
        }
        at = text.len() - after.len();
    }
    at
}

/// How long the first token of a text is. A quote opens at its beginning, and behind an operator or a `:` or `.`.
fn length(text: &str) -> Read<usize> {
    let mut opened: Option<usize> = None;
    let mut is_escaped = false;
    let mut may_open = true;
    for (at, character) in text.char_indices() {
        match (opened, character) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(_), '"') => opened = None,
            (Some(_), _) => {}
            (None, '"') if may_open => opened = Some(at),
            (None, _) if character.is_whitespace() => return Ok(at),
            (None, _) => {}
        }
        may_open = matches!(character, ':' | '=' | '~' | '<' | '>' | '.');
    }
    match opened {
        None => Ok(text.len()),
        Some(at) => {
            let token: String = text.chars().take(100).collect();
            let (before, within) = (&text[..at], text[at + 1..].trim());
            Err(match within {
                "" => Mistake {
                    token,
                    reason: "the quote has no end: leave it out, or write a text and close it".into(),
                    instead: Vec::new(),
                },
                within => Mistake {
                    token,
                    reason: "the quote has no end: close it".into(),
                    instead: vec![format!("{before}{}", quoted(within))],
                },
            })
        }
    }
}

fn read_token(token: &str) -> Read<Vec<Term>> {
    if let Some((text, "")) = unquoted(token) {
        return Ok(if text.trim().is_empty() { Vec::new() } else { vec![Term::Phrase(text)] });
    }
    if let Some(bounds) = duration(token) {
        return bounds.map_err(|reason| mistake(token, reason));
    }
    let (key, rest) = key(token);
    if let Some(text) = rest.strip_prefix(':').filter(|_| !token.starts_with('"')) {
        return match NAMES.contains(&key.to_lowercase().as_str()) {
            true => named(token, &key.to_lowercase(), text).map(|term| vec![term]),
            false if text.is_empty() => Ok(vec![word(token)]),
            false => Err(unknown(token, &key, text)),
        };
    }
    match condition(token, &key, rest)? {
        Some(condition) => Ok(vec![condition]),
        None => Ok(vec![word(token)]),
    }
}

/// An id of a trace or of a span has no meaning, and is looked for as it stands.
fn word(token: &str) -> Term {
    if is_id(token) { Term::Phrase(token.to_owned()) } else { Term::Word(token.to_owned()) }
}

/// `>500ms`, `<=2s`, `500ms..2s`.
fn duration(token: &str) -> Option<Result<Vec<Term>, String>> {
    let term =
        |make: fn(Duration) -> Term, text: &str| read_duration(text).map(|duration| vec![make(duration)]);
    if let Some(text) = token.strip_prefix(">=").or_else(|| token.strip_prefix('>')) {
        return Some(term(Term::LongerThan, text));
    }
    if let Some(text) = token.strip_prefix("<=").or_else(|| token.strip_prefix('<')) {
        return Some(term(Term::ShorterThan, text));
    }
    let (least, most) = token.split_once("..")?;
    let (least, most) = (read_duration(least).ok()?, read_duration(most));
    Some(most.map(|most| vec![Term::LongerThan(least), Term::ShorterThan(most)]))
}

/// The key that a token begins with, in quotes or not, and what follows.
fn key(token: &str) -> (String, &str) {
    if let Some((key, rest)) = unquoted(token) {
        return (key, rest);
    }
    if let Some((key, rest)) = token.strip_prefix(RESOURCE).and_then(unquoted) {
        return (format!("{RESOURCE}{key}"), rest);
    }
    let at = token.find(ends_key).unwrap_or(token.len());
    (token[..at].to_owned(), &token[at..])
}

fn ends_key(character: char) -> bool {
    matches!(character, ':' | '=' | '!' | '~' | '<' | '>' | '"')
}

/// Whether a key is read as it stands.
pub(super) fn is_plain_key(key: &str) -> bool {
    let is_named = NAMES.contains(&key.to_lowercase().as_str());
    !key.is_empty()
        && !is_named
        && key != DURATION
        && !key.contains(|character: char| ends_key(character) || character.is_whitespace())
}

/// A key that people take for the span's duration.
const DURATION: &str = "duration";

/// `key=value` and the like; `None` for what is a word.
fn condition(token: &str, key: &str, rest: &str) -> Read<Option<Term>> {
    let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
        // `failed!` is a word, too.
        return match token.starts_with('"') {
            true => Err(mistake(token, "a space is missing behind the quote")),
            false => Ok(None),
        };
    };
    let text = value(token, &rest[operator.len()..])?;
    if key.is_empty() {
        return Err(mistake(token, "a key is expected before it, as in http.route=/cart"));
    }
    if key == DURATION && !token.starts_with('"') {
        let sign = if operator.starts_with('>') { '>' } else { '<' };
        return Err(Mistake {
            token: token.to_owned(),
            reason: "durations stand alone".into(),
            instead: vec![format!("{sign}{text}")],
        });
    }
    let test = Test::read(operator, &text).map_err(|reason| mistake(token, reason))?;
    Ok(Some(of_key(token, key, test)))
}

/// A condition on the resource where the key says so, without quotes around all of it.
fn of_key(token: &str, key: &str, test: Test) -> Term {
    match key.strip_prefix(RESOURCE).filter(|key| !key.is_empty() && !token.starts_with('"')) {
        Some(key) => Term::Resource(Condition { key: key.to_owned(), test }),
        None => Term::Attribute(Condition { key: key.to_owned(), test }),
    }
}

/// `name:value` with a name that there is.
fn named(token: &str, name: &str, text: &str) -> Read<Term> {
    let wrong = |reason: String| mistake(token, reason);
    if text.is_empty() {
        return Err(wrong(format!("a value is expected behind `{name}:`")));
    }
    if name == "exists" {
        let (key, rest) = key(text);
        // Without quotes a key ends with the token: it may have any sign.
        let key = if text.contains('"') { key } else { text.to_owned() };
        return match rest.is_empty() || !text.contains('"') {
            true => Ok(of_key(text, &key, Test::Exists)),
            false => Err(wrong("a key is expected behind `exists:`".into())),
        };
    }
    let text = value(token, text)?;
    let input = |error: Error| match error {
        Error::Input { reason, .. } => wrong(reason),
        other => wrong(other.to_string()),
    };
    Ok(match name {
        "service" => Term::Service(text),
        "operation" => Term::Operation(text),
        "scope" => Term::Scope(text),
        "kind" => Term::Kind(text.parse().map_err(input)?),
        "status" => Term::Status(text.parse().map_err(input)?),
        "last" => Term::Last(
            read_ago(&text).ok_or_else(|| wrong("expected a duration such as 15m, 1h or 2d".into()))?,
        ),
        "since" => match read_ago(&text) {
            Some(ago) => Term::Last(ago),
            None => Term::Since(read_moment(&text).map_err(wrong)?),
        },
        "until" => Term::Until(read_time(&text).map_err(wrong)?),
        "trace" => {
            let id = trace_id(&text).ok_or_else(|| wrong("expected 32 hexadecimal digits".into()))?;
            Term::Trace(id)
        }
        _ => match text.to_lowercase().as_str() {
            "yes" | "true" => Term::Exception(true),
            "no" | "false" => Term::Exception(false),
            _ => return Err(wrong("expected exception:yes or exception:no".into())),
        },
    })
}

/// A value, in quotes or not.
fn value(token: &str, text: &str) -> Read<String> {
    match unquoted(text) {
        Some((value, "")) => Ok(value),
        Some(_) => Err(mistake(token, "a space is missing behind the quote")),
        None => Ok(text.to_owned()),
    }
}

/// A text that begins with a quote: what is in the quotes, and what follows. `\"` and `\\` are a quote and a backslash.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut characters = text.strip_prefix('"')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((inner, &text[at + 2..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => inner.push(escaped),
                Some((_, other)) => inner.extend(['\\', other]),
                None => return None,
            },
            _ => inner.push(character),
        }
    }
    None
}

fn unknown(token: &str, name: &str, text: &str) -> Mistake {
    let likeness = |known: &&str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let close = NAMES.iter().copied().filter(|known| likeness(known) > 0.85);
    let close = close.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let mut instead: Vec<String> = close.map(|close| format!("{close}:{text}")).into_iter().collect();
    if instead.is_empty() && is_plain_key(name) && !text.starts_with("//") {
        instead.push(format!("{name}={text}"));
    }
    instead.push(quoted(token));
    Mistake { token: token.to_owned(), reason: format!("there is no filter `{name}:`"), instead }
}

fn mistake(token: &str, reason: impl Into<String>) -> Mistake {
    Mistake { token: token.to_owned(), reason: reason.into(), instead: vec![quoted(token)] }
}

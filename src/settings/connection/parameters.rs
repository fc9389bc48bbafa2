//! libpq's parameters that the driver does not know, or takes for something else, out of a connection string.
//!
//! The scanner follows the driver's grammar. What it cannot read it leaves to the driver, which rejects it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::SCHEMES;

/// Parameters that are read here. `tcp_user_timeout` has libpq's unit; of the rest the defaults differ.
const OURS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
    "tcp_user_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "target_session_attrs",
];

/// Name and value of a parameter.
pub(super) type Parameter = (&'static str, String);

/// The connection string without our parameters, and these.
pub(super) fn take(text: &str) -> (String, Vec<Parameter>) {
    let is_url = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    let taken = if is_url { from_url(text) } else { from_pairs(text) };
    taken.unwrap_or_else(|| (text.to_owned(), Vec::new()))
}

fn ours(name: &str) -> Option<&'static str> {
    OURS.into_iter().find(|ours| *ours == name)
}

fn from_url(text: &str) -> Option<(String, Vec<Parameter>)> {
    let (address, mut query) = text.split_once('?')?;
    let (mut rest, mut taken) = (Vec::new(), Vec::new());
    while !query.is_empty() {
        let (name, behind) = query.split_once('=')?;
        let (value, next) = behind.split_once('&').unwrap_or((behind, ""));
        match ours(&decoded(name)?) {
            Some(name) => taken.push((name, decoded(value)?.into_owned())),
            None => rest.push(format!("{name}={value}")),
        }
        query = next;
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    Some((format!("{address}{separator}{}", rest.join("&")), taken))
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

fn from_pairs(text: &str) -> Option<(String, Vec<Parameter>)> {
    let (mut rest, mut taken) = (Vec::new(), Vec::new());
    let mut at = text.trim_start();
    while !at.is_empty() {
        let end = at.find(|c: char| c.is_whitespace() || c == '=')?;
        let (name, behind) = at.split_at(end);
        let behind = behind.trim_start().strip_prefix('=')?.trim_start();
        let (value, next) = value(behind)?;
        match ours(name) {
            Some(name) => taken.push((name, value)),
            None => rest.push(at.strip_suffix(next)?),
        }
        at = next.trim_start();
    }
    Some((rest.join(" "), taken))
}

/// The value in front, with its quotes and backslashes resolved, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let inner = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if quoted.is_some() => return Some((value, inner.get(at + 1..)?)),
            space if quoted.is_none() && space.is_whitespace() => return Some((value, inner.get(at..)?)),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    (quoted.is_none() && !value.is_empty()).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn ours_are_taken_and_the_rest_stays_as_it_was() {
        for (text, rest, taken) in [
            ("host=db sslmode=verify-full", "host=db", vec![("sslmode", "verify-full")]),
            (
                "sslrootcert = 'C:\\\\a b\\'s.crt'  password='x sslkey=y'",
                "password='x sslkey=y'",
                vec![("sslrootcert", "C:\\a b's.crt")],
            ),
            (
                "postgresql://u:p%3F@db/x?sslrootcert=%2Fa%26b&connect_timeout=3&sslmode=require",
                "postgresql://u:p%3F@db/x?connect_timeout=3",
                vec![("sslrootcert", "/a&b"), ("sslmode", "require")],
            ),
            ("postgresql://db?passfile=/x", "postgresql://db", vec![("passfile", "/x")]),
            ("password=a b sslmode=disable", "password=a b sslmode=disable", vec![]),
            ("password='a sslmode=disable", "password='a sslmode=disable", vec![]),
            ("", "", vec![]),
        ] {
            let taken: Vec<_> = taken.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(take(text), (rest.to_owned(), taken), "{text}");
        }
    }
}

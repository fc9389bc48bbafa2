//! Secrets within a URL or a connection string: parameters whose names the rules match, and a password before the host.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::redact::Reader;
use crate::settings::redact::Action;

/// A URL, a query or a path with a query, redacted; `None` where nothing in it is secret.
pub(super) fn url(reader: &mut Reader<'_>, text: &str) -> Option<String> {
    let mut cuts = Cuts::default();
    let mut start = 0;
    for piece in text.split_inclusive(['?', '&', ';', '#']) {
        let end = start + piece.trim_end_matches(['?', '&', ';', '#']).len();
        if let Some(equals) = piece.find('=').map(|at| start + at)
            && equals < end
        {
            cuts.parameter(reader, text, start..equals, equals + 1..end);
        }
        start += piece.len();
    }
    let authority = text.find("://").map(|at| at + 3).map(|from| {
        let length = text.get(from..).and_then(|rest| rest.find(['/', '?', '#']));
        from..length.map_or(text.len(), |length| from + length)
    });
    cuts.password(reader, text, authority);
    cuts.apply(text)
}

/// A connection string, redacted: a URL, `key=value` pairs with blanks, semicolons or `&` between them, or both.
pub(super) fn connection_string(reader: &mut Reader<'_>, text: &str) -> Option<String> {
    static NAME: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?:^|[\s;&?,])([\w.%-]+)\s*=\s*").ok());
    let mut cuts = Cuts::default();
    let mut pairs: Vec<Pair> = Vec::new();
    let mut from = 0;
    while let Some(found) = NAME.as_ref().and_then(|name| name.captures_at(text, from)) {
        let (Some(all), Some(name)) = (found.get(0), found.get(1)) else { break };
        pairs.push(Pair { start: all.start(), name: name.range(), value: all.end() });
        // What looks like a name within quotes is a part of the value.
        from = end_of_quoted(text, all.end()).unwrap_or(all.end());
    }
    for (at, pair) in pairs.iter().enumerate() {
        // A value ends where the next pair begins: what stands between them may be a part of a password.
        let end = pairs.get(at + 1).map_or(text.len(), |next| next.start.max(pair.value));
        cuts.parameter(reader, text, pair.name.clone(), pair.value..end);
    }
    let authority = text.find("://").map(|at| at + 3).map(|from| {
        // A password may hold a slash that nobody escaped.
        let length = text.get(from..).and_then(|rest| rest.find(['?', ' ']));
        from..length.map_or(text.len(), |length| from + length)
    });
    cuts.password(reader, text, authority);
    cuts.apply(text)
}

/// Where a pair begins, with the sign before its name; its name; and where its value begins.
struct Pair {
    start: usize,
    name: Range<usize>,
    value: usize,
}

/// Behind the closing quote of a value that is quoted; the end of the text where it is not closed.
fn end_of_quoted(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let quote = rest.chars().next().filter(|sign| matches!(sign, '\'' | '"'))?;
    let mut signs = rest.char_indices().skip(1);
    while let Some((at, sign)) = signs.next() {
        if sign == '\\' {
            signs.next();
        } else if sign == quote {
            return Some(start + at + quote.len_utf8());
        }
    }
    Some(text.len())
}

/// What is to be replaced in a text, and by what.
#[derive(Default)]
struct Cuts(Vec<(Range<usize>, String)>);

impl Cuts {
    fn parameter(&mut self, reader: &mut Reader<'_>, text: &str, name: Range<usize>, value: Range<usize>) {
        if let Some(written) = text.get(name.clone()) {
            let action = reader.action(&percent_decoded(written));
            self.secret(reader, text, action, value.clone(), name.start..value.end);
        }
    }

    /// The password in `user:password@host`, as if it were a parameter of that name.
    fn password(&mut self, reader: &mut Reader<'_>, text: &str, authority: Option<Range<usize>>) {
        let Some(authority) = authority else { return };
        let user = text.get(authority.clone()).and_then(|authority| authority.rsplit_once('@'));
        if let Some((name, password)) = user.and_then(|(user, _)| user.split_once(':')) {
            let colon = authority.start + name.len();
            let end = colon + 1 + password.len();
            let action = reader.action("password");
            self.secret(reader, text, action, colon + 1..end, colon..end);
        }
    }

    fn secret(
        &mut self,
        reader: &Reader<'_>,
        text: &str,
        action: Option<Action>,
        value: Range<usize>,
        dropped: Range<usize>,
    ) {
        match (action, text.get(value.clone())) {
            (None, _) | (_, None | Some("")) => {}
            (Some(Action::Drop), _) => self.0.push((dropped, String::new())),
            (Some(action), Some(secret)) => {
                self.0.extend(reader.redaction.replacement(action, secret).map(|shown| (value, shown)));
            }
        }
    }

    fn apply(mut self, text: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for (range, shown) in self.0 {
            // A pair may lie within a password.
            if range.start >= from {
                redacted.push_str(text.get(from..range.start)?);
                redacted.push_str(&shown);
            }
            from = from.max(range.end);
        }
        redacted.push_str(text.get(from..)?);
        Some(redacted)
    }
}

/// A name with its `%41` as `A`; what is no UTF-8 then stays as it is.
fn percent_decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::span::redact::Redaction;

    fn redaction(rules: &str) -> Redaction {
        let settings = Settings { redact: vec![rules.to_owned()], ..Settings::default() };
        Redaction::new(&settings).expect("valid rules")
    }

    #[test]
    fn parameters_of_a_url_follow_the_rules() {
        let redaction = redaction("default, session=drop, page_token=keep");
        for (text, expected) in [
            ("https://shop.example/pay?id=7&token=s3cret&x=1", "https://shop.example/pay?id=7&token=***&x=1"),
            ("/pay?ACCESS_TOKEN=s3cret", "/pay?ACCESS_TOKEN=***"),
            ("api%5Fkey=s3cret&flag&b", "api%5Fkey=***&flag&b"),
            ("token=s3cret", "token=***"),
            ("?token=s3=cret;x=1", "?token=***;x=1"),
            (
                "https://shop.example/#access_token=s3cret&state=1",
                "https://shop.example/#access_token=***&state=1",
            ),
            ("https://u:s3cret@shop.example/a?b=c", "https://u:***@shop.example/a?b=c"),
            ("/a?session=s3cret&b=1", "/a?&b=1"),
            (
                "https://s3.example/k?X-Amz-Signature=s3cret&AWSAccessKeyId=s3cret&Signature=s3cret&sig=s3cret",
                "https://s3.example/k?X-Amz-Signature=***&AWSAccessKeyId=***&Signature=***&sig=***",
            ),
        ] {
            let redacted = url(&mut redaction.reader(), text);
            assert_eq!(redacted.as_deref(), Some(expected), "{text}");
            assert_eq!(url(&mut redaction.reader(), expected), None, "once is enough");
        }
        for text in [
            "https://shop.example:80/@me?a=b",
            "/a?page_token=7&q=token",
            "",
            "=",
            "&&=?",
            "token=",
            "/a/token",
        ] {
            assert_eq!(url(&mut redaction.reader(), text), None, "{text}");
        }
    }

    #[test]
    fn the_password_of_a_connection_string_is_masked_however_it_is_written() {
        let redaction = redaction("default");
        for (text, expected) in [
            (
                "postgresql://app:s3cret@db:5432/shop?sslmode=require",
                "postgresql://app:***@db:5432/shop?sslmode=require",
            ),
            ("postgresql://app:s3/cr@et@db/shop", "postgresql://app:***@db/shop"),
            (
                "jdbc:mysql://db/shop?user=app&password=s3cret&x=1",
                "jdbc:mysql://db/shop?user=app&password=***&x=1",
            ),
            ("host=db user=app password=s3cret dbname=shop", "host=db user=app password=*** dbname=shop"),
            ("host=db password='s3 cr\\'et x=1' user=app", "host=db password=*** user=app"),
            ("host=db password = s3;cret user=app", "host=db password = *** user=app"),
            (
                "Server=db;User ID=app;Password=s3 cret;Encrypt=yes",
                "Server=db;User ID=app;Password=***;Encrypt=yes",
            ),
            ("Server=db;Pwd=\"s3;cr=et\"", "Server=db;Pwd=***"),
            ("password='s3cret", "password=***"),
            ("password=s3cret\u{3000}user=app", "password=***\u{3000}user=app"),
            (
                "AccountName=a;AccountKey=s3cret==;EndpointSuffix=core",
                "AccountName=a;AccountKey=***;EndpointSuffix=core",
            ),
        ] {
            assert_eq!(connection_string(&mut redaction.reader(), text).as_deref(), Some(expected), "{text}");
            assert_eq!(connection_string(&mut redaction.reader(), expected), None, "once is enough");
        }
        for text in ["host=db user=app", "postgresql://app@db/shop", "", "=", "password=", "a = = b"] {
            assert_eq!(connection_string(&mut redaction.reader(), text), None, "{text}");
        }
    }
}

//! Finding the literals in a text: numbers, identifiers, quoted values, addresses.
//!
//! `select * from orders where id = 42 and owner = 'ada'` is one operation, however many numbers and owners there are. What
//! stays is the *template*; what is taken out are the *fillers*. Joining the pieces again always gives the text exactly.

/// What kind of text is searched for literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Prose, names, messages: double quotes hold values.
    Plain,
    /// SQL: double quotes hold identifiers; a list of literals is one literal.
    Sql,
    /// URLs: values of the query are literals, percent-encoding is respected.
    Url,
    /// Stack traces: line numbers and quoted paths belong to the code, only identifiers are literals.
    Stack,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Belongs to the template.
    Constant(&'a str),
    /// A literal, different from span to span.
    Filler(&'a str),
}

/// The longest text that is searched; a longer one is a literal as a whole.
const MAX_TEXT: usize = 32 * 1024;
/// The most literals in one text; one with more is a literal as a whole.
const MAX_FILLERS: usize = 64;

/// Cuts `text` into constants and literals and hands them to `emit`, in order.
///
/// A text that is too long or has too many literals comes as one filler.
pub(crate) fn mask<'a>(text: &'a str, style: Style, pieces: &mut Vec<Piece<'a>>) {
    pieces.clear();
    if text.len() > MAX_TEXT {
        pieces.push(Piece::Filler(text));
        return;
    }
    let mut scanner = Scanner::new(text, style);
    let mut constant = 0;
    let mut at = 0;
    let mut fillers = 0;
    while at < text.len() {
        let (start, end) = match scanner.literal_at(at) {
            Found::Literal(start, end) => (start, end),
            Found::Skip(next) => {
                at = next;
                continue;
            }
        };
        fillers += 1;
        if fillers > MAX_FILLERS {
            pieces.clear();
            pieces.push(Piece::Filler(text));
            return;
        }
        if constant < start {
            pieces.push(Piece::Constant(&text[constant..start]));
        }
        pieces.push(Piece::Filler(&text[start..end]));
        constant = end;
        at = end;
        // The closing quote belongs to the template, and must not open the next literal.
        if start > 0
            && matches!(scanner.bytes[start - 1], b'\'' | b'"')
            && scanner.bytes.get(end) == Some(&scanner.bytes[start - 1])
        {
            at += 1;
        }
    }
    if constant < text.len() {
        pieces.push(Piece::Constant(&text[constant..]));
    }
}

/// The literals of a text in each style. Stored rows hold them, and are searched for them: where this changes what is a literal,
/// a search has to look for both.
pub(crate) fn literals(text: &str) -> [Vec<&str>; 4] {
    [Style::Plain, Style::Sql, Style::Url, Style::Stack].map(|style| {
        let mut pieces = Vec::new();
        mask(text, style, &mut pieces);
        let fillers = pieces.iter().filter_map(|piece| match piece {
            Piece::Filler(text) => Some(*text),
            Piece::Constant(_) => None,
        });
        fillers.collect()
    })
}

#[derive(Debug, PartialEq)]
enum Found {
    /// A literal from start to end.
    Literal(usize, usize),
    /// No literal; go on at this position.
    Skip(usize),
}

/// Remembers what it looked for in vain, so that a text takes time in proportion to its length: whoever sends a URL or a header
/// may write one that has what looks like an e-mail address, or a quote, at every other sign.
struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    style: Style,
    in_query: bool,
    /// No e-mail address begins before this position.
    no_email_before: usize,
    /// Quotes that nothing closes any more.
    unclosed: Vec<u8>,
    value: QueryValue,
}

/// The value in a URL's query that was read last.
#[derive(Clone, Copy, Default)]
struct QueryValue {
    end: usize,
    /// Where the last sign is that parts its words.
    last_gap: Option<usize>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, style: Style) -> Self {
        Scanner {
            text,
            bytes: text.as_bytes(),
            style,
            in_query: false,
            no_email_before: if text.contains('@') { 0 } else { text.len() },
            unclosed: Vec::new(),
            value: QueryValue::default(),
        }
    }

    fn literal_at(&mut self, at: usize) -> Found {
        let byte = self.bytes[at];
        match byte {
            b'\'' => self.quoted(at, b'\''),
            b'"' if self.style == Style::Plain => self.quoted(at, b'"'),
            b'%' if self.style == Style::Url && self.is_percent_encoded(at) => Found::Skip(at + 3),
            b'?' if self.style == Style::Url => {
                self.in_query = true;
                Found::Skip(at + 1)
            }
            b'=' if self.in_query => self.query_value(at + 1),
            _ if is_word(byte) => self.word(at),
            _ => Found::Skip(at + 1),
        }
    }

    fn is_percent_encoded(&self, at: usize) -> bool {
        matches!(self.bytes.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    }

    /// A quoted text: the quote opens after something other than a word, and closes before something other than a word.
    fn quoted(&mut self, at: usize, quote: u8) -> Found {
        if at > 0 && is_word(self.bytes[at - 1]) {
            return Found::Skip(at + 1);
        }
        // Nothing is between them.
        if self.bytes.get(at + 1) == Some(&quote) && !self.bytes.get(at + 2).copied().is_some_and(is_word) {
            return Found::Skip(at + 2);
        }
        if self.unclosed.contains(&quote) {
            return Found::Skip(at + 1);
        }
        let mut close = at + 1;
        loop {
            match self.bytes.get(close) {
                None => {
                    self.unclosed.push(quote);
                    return Found::Skip(at + 1);
                }
                // A doubled quote is SQL's way to write one.
                Some(&byte)
                    if byte == quote && self.bytes.get(close + 1) == Some(&quote) && close > at + 1 =>
                {
                    close += 2
                }
                Some(&byte) if byte == quote && !self.bytes.get(close + 1).copied().is_some_and(is_word) => {
                    break;
                }
                Some(_) => close += 1,
            }
        }
        Found::Literal(at + 1, self.list_end(close, Some(quote)))
    }

    /// A value in a URL's query, up to `&`: one word is a literal as a whole, several words are searched.
    fn query_value(&mut self, start: usize) -> Found {
        // A value may hold further `=`.
        if start > self.value.end {
            let rest = &self.bytes[start..];
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b'&' | b'#' | b' ' | b'"' | b'\''))
                .unwrap_or(rest.len());
            let value = &self.text[start..start + length];
            let last_gap = value.rfind('+').max(value.rfind("%20")).map(|gap| start + gap);
            self.value = QueryValue { end: start + length, last_gap };
        }
        let QueryValue { end, last_gap } = self.value;
        if start == end || last_gap.is_some_and(|gap| gap >= start) {
            return Found::Skip(start);
        }
        Found::Literal(start, end)
    }

    fn word(&mut self, at: usize) -> Found {
        if let Some(end) = self.email_end(at) {
            return Found::Literal(at, end);
        }
        let (mut length, mut any) = (0, 0);
        for class in self.bytes[at..].iter().map(|byte| CLASS[usize::from(*byte)]) {
            if class & WORD == 0 {
                break;
            }
            any |= class;
            length += 1;
        }
        let end = at + length;
        // Most words are letters: nothing of them is counted.
        if any & DIGIT == 0 && length != 8 {
            return Found::Skip(end);
        }
        let count = |class: u8| {
            self.bytes[at..end].iter().filter(|byte| CLASS[usize::from(**byte)] & class != 0).count()
        };
        let (digits, hex) = (count(DIGIT), count(HEX));
        if length == 8
            && hex == 8
            && let Some(end) = self.uuid_end(at)
        {
            return Found::Literal(at, end);
        }
        if digits == 0 || any & FOREIGN != 0 {
            return Found::Skip(end);
        }
        if digits == length {
            if self.style == Style::Stack && length < 5 {
                return Found::Skip(end);
            }
            return Found::Literal(at, self.list_end(self.number_end(end), None));
        }
        let is_hex = hex == length && length >= 7 || self.bytes[at..].starts_with(b"0x");
        let is_identifier = length >= 12 && digits >= 2 && digits * 8 >= length;
        if is_hex || is_identifier {
            return Found::Literal(at, end);
        }
        self.digits_in_word(at, end)
    }

    /// In `u165` the digits vary, in `v1`, `utf8` or `oauth2` they belong to the name: from three digits on they vary,
    /// and so does a number with its unit, as in `50ms`.
    fn digits_in_word(&self, at: usize, end: usize) -> Found {
        let mut start = at;
        while start < end {
            let run = self.bytes[start..end].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let has_unit = run > 0 && start == at && (1..=2).contains(&(end - start - run));
            if run >= 3 || (has_unit && self.style != Style::Stack) {
                return Found::Literal(start, start + run);
            }
            start += run.max(1);
        }
        Found::Skip(end)
    }

    /// `3.14`, `10.0.0.1:8080`, `2024-01-02T10:00:00` are one number.
    fn number_end(&self, mut end: usize) -> usize {
        while let Some([separator, digit]) = self.bytes.get(end..end + 2) {
            if !matches!(separator, b'.' | b':' | b',' | b'-' | b'T') || !digit.is_ascii_digit() {
                break;
            }
            end += 1;
            while end < self.bytes.len() && self.bytes[end].is_ascii_digit() {
                end += 1;
            }
        }
        end
    }

    /// In SQL, `1, 2, 3` and `'a', 'b'` are one literal, so that the length of a list does not make a new template.
    fn list_end(&self, end: usize, quote: Option<u8>) -> usize {
        if self.style != Style::Sql {
            return end;
        }
        let mut end = end;
        loop {
            let mut next = end + usize::from(quote.is_some());
            next += self.spaces(next);
            if self.bytes.get(next) != Some(&b',') {
                return end;
            }
            next += 1;
            next += self.spaces(next);
            let item = next + usize::from(quote.is_some());
            match quote {
                Some(quote) if self.bytes.get(next) == Some(&quote) => {
                    let Some(length) = self.bytes[item..].iter().position(|&byte| byte == quote) else {
                        return end;
                    };
                    end = item + length;
                }
                None => {
                    let digits = self.bytes[item.min(self.bytes.len())..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit())
                        .count();
                    if digits == 0 || self.bytes.get(item + digits).copied().is_some_and(is_word) {
                        return end;
                    }
                    end = self.number_end(item + digits);
                }
                _ => return end,
            }
        }
    }

    fn spaces(&self, at: usize) -> usize {
        self.bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| **byte == b' ').count())
    }

    fn email_end(&mut self, at: usize) -> Option<usize> {
        if at < self.no_email_before {
            return None;
        }
        let local = self.run(at, |byte| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte));
        let end = self.domain_end(local);
        if end.is_none() {
            // What begins between here and there has the same end.
            self.no_email_before = local;
        }
        end
    }

    /// The end of the domain behind the `@` at this position.
    fn domain_end(&self, at: usize) -> Option<usize> {
        if self.bytes.get(at) != Some(&b'@') {
            return None;
        }
        let domain = self.run(at + 1, |byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let name = self.text.get(at + 1..domain)?.trim_end_matches(['.', '-']);
        name.contains('.').then_some(at + 1 + name.len())
    }

    fn uuid_end(&self, at: usize) -> Option<usize> {
        let candidate = self.bytes.get(at..at + 36)?;
        let fits = candidate.iter().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        (fits && !self.bytes.get(at + 36).copied().is_some_and(is_word)).then_some(at + 36)
    }

    fn run(&self, at: usize, accept: impl Fn(u8) -> bool) -> usize {
        at + self.bytes[at..].iter().take_while(|byte| accept(**byte)).count()
    }
}

/// Letters and digits; every byte of a character beyond ASCII counts as a letter, so that no character is cut.
fn is_word(byte: u8) -> bool {
    CLASS[usize::from(byte)] & WORD != 0
}

const WORD: u8 = 1;
const DIGIT: u8 = 2;
const HEX: u8 = 4;
const FOREIGN: u8 = 8;

/// What each byte is, since every byte of every text is looked at.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        if character.is_ascii_alphanumeric() {
            table[byte] |= WORD;
        }
        if character.is_ascii_digit() {
            table[byte] |= DIGIT;
        }
        if character.is_ascii_hexdigit() {
            table[byte] |= HEX;
        }
        if !character.is_ascii() {
            table[byte] |= WORD | FOREIGN;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn template(text: &str, style: Style) -> String {
        let mut pieces = Vec::new();
        mask(text, style, &mut pieces);
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Constant(text) => text,
                Piece::Filler(_) => "…",
            })
            .collect()
    }

    #[test]
    fn literals_are_taken_out_and_words_stay() {
        for (style, text, expected) in [
            (Style::Plain, "order 1234 declined", "order … declined"),
            (Style::Plain, "GET /api/v1/users/42", "GET /api/v1/users/…"),
            (Style::Plain, "user ada.l+x@example.org signed in", "user … signed in"),
            (Style::Plain, "job 0192d3c4-aaaa-7bbb-8ccc-0123456789ab done", "job … done"),
            (Style::Plain, "frontend_579b9bff58_t2dbm_metric", "frontend_…_t2dbm_metric"),
            (Style::Plain, "can't open the user's file", "can't open the user's file"),
            (Style::Plain, "no item 'blue shoe' left", "no item '…' left"),
            (Style::Plain, "key \"secret\" rejected", "key \"…\" rejected"),
            (Style::Plain, "u165", "u…"),
            (Style::Plain, "connect 10.0.0.1:8080 at 2024-01-02T10:00:00", "connect … at …"),
            (
                Style::Sql,
                "select \"name\" from t1 where id in (1, 2, 3)",
                "select \"name\" from t1 where id in (…)",
            ),
            (Style::Sql, "where a in ('x', 'y') and b = 'it''s'", "where a in ('…') and b = '…'"),
            (Style::Sql, "insert into t values ('', 'b')", "insert into t values ('', '…')"),
            (Style::Url, "http://h/items?name=alice&page=2", "http://h/items?name=…&page=…"),
            (Style::Url, "/t?sql=select+1+from+t%20x", "/t?sql=select+…+from+t%20x"),
            (
                Style::Stack,
                "File \"/srv/app.py\", line 123, in run",
                "File \"/srv/app.py\", line 123, in run",
            ),
            (Style::Plain, "тест 42 … 7", "тест … … …"),
        ] {
            assert_eq!(template(text, style), expected, "{style:?} {text}");
        }
    }

    #[test]
    fn a_text_with_too_many_literals_is_one_literal() {
        assert_eq!(template(&"1 a ".repeat(100), Style::Plain), "…");
    }

    proptest! {
        #[test]
        fn what_was_looked_for_before_changes_nothing(text in "[a1'\"@.?=&%2+0 -]{0,60}", style in 0..4usize) {
            let style = [Style::Plain, Style::Sql, Style::Url, Style::Stack][style];
            let mut scanner = Scanner::new(&text, style);
            let mut at = 0;
            while at < text.len() {
                let mut forgetful = Scanner { in_query: scanner.in_query, ..Scanner::new(&text, style) };
                let found = scanner.literal_at(at);
                prop_assert_eq!(&found, &forgetful.literal_at(at), "at {} of {}", at, text);
                let (Found::Literal(_, next) | Found::Skip(next)) = found;
                prop_assert!(next > at);
                at = next;
            }
        }

        #[test]
        fn the_pieces_join_to_the_text(text in "\\PC{0,60}|[a-z0-9'\"@.?=&%,+ -]{0,80}", style in 0..4usize) {
            let style = [Style::Plain, Style::Sql, Style::Url, Style::Stack][style];
            let mut pieces = Vec::new();
            mask(&text, style, &mut pieces);
            let joined: String = pieces.iter().map(|piece| match piece { Piece::Constant(text) | Piece::Filler(text) => *text }).collect();
            prop_assert_eq!(joined, text);
        }
    }
}

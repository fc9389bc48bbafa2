//! A JSON document of any size as a stream of the records in it, without reading it as a whole.
//!
//! It knows where the records of the formats are: in the arrays `data`, `resourceSpans` and `batches` of the outermost
//! object or of an object `result` or `trace` in it, or in the outermost array. A document without them is one record.

use std::io::{self, BufRead, Read};

/// The longest record.
const MAX_RECORD: usize = 1 << 30;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A document of its own, such as a trace of Jaeger's.
    Document,
    ResourceSpans,
}

pub(super) struct Record {
    pub element: Element,
    pub json: Vec<u8>,
    /// Where it begins, the first line being 1.
    pub line: u64,
}

enum Place {
    /// In an array of records.
    Array(Element),
    /// In an object that has such an array.
    Object,
}

pub(super) struct Splitter {
    source: Box<dyn BufRead + Send>,
    places: Vec<Place>,
    line: u64,
}

impl Splitter {
    pub(super) fn new(source: Box<dyn BufRead + Send>, line: u64) -> Self {
        Splitter { source, places: Vec::new(), line }
    }

    /// The line that was read last.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// What was not read, after an error.
    pub(super) fn rest(mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.source.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// The next record, `None` at the end. After an error nothing more can be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let next = self.peek_token()?;
            match (self.places.last(), next) {
                (None, None) => return Ok(None),
                (Some(_), None) => return Err(cut()),
                (None, Some(b'[')) => {
                    self.skip(1);
                    self.places.push(Place::Array(Element::Document));
                }
                (Some(Place::Array(_)), Some(b']')) | (Some(Place::Object), Some(b'}')) => {
                    self.skip(1);
                    self.places.pop();
                }
                (None, Some(b'{')) => {
                    if let Some(record) = self.document()? {
                        return Ok(Some(record));
                    }
                }
                (Some(Place::Object), Some(_)) => {
                    let (mut json, line) = (vec![b'{'], self.line);
                    self.member(&mut json)?;
                    if has_errors(&json) {
                        json.push(b'}');
                        return Ok(Some(Record { element: Element::Document, json, line }));
                    }
                }
                (None, Some(_)) => return Err(invalid("expected an object or an array")),
                (Some(&Place::Array(element)), Some(_)) => {
                    let (mut json, line) = (Vec::new(), self.line);
                    self.copy_value(&mut json)?;
                    return Ok(Some(Record { element, json, line }));
                }
            }
        }
    }

    /// An object: a record, or the way into one with records in it.
    fn document(&mut self) -> io::Result<Option<Record>> {
        let (line, depth) = (self.line, self.places.len());
        let mut json = vec![b'{'];
        self.skip(1);
        self.places.push(Place::Object);
        loop {
            match self.peek_token()? {
                None => return Err(cut()),
                Some(b'}') => {
                    self.skip(1);
                    self.places.truncate(depth);
                    json.push(b'}');
                    return Ok(Some(Record { element: Element::Document, json, line }));
                }
                Some(_) => {
                    if json.len() > 1 {
                        json.push(b',');
                    }
                    self.member(&mut json)?;
                    if self.places.len() > depth + 1 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// A key and its value, copied; or the way into its records.
    fn member(&mut self, json: &mut Vec<u8>) -> io::Result<()> {
        let start = json.len();
        if self.peek_token()? != Some(b'"') {
            return Err(invalid("expected a key"));
        }
        self.copy_value(json)?;
        let element = match &json[start..] {
            b"\"data\"" => Some(Element::Document),
            b"\"resourceSpans\"" | b"\"resource_spans\"" | b"\"batches\"" => Some(Element::ResourceSpans),
            _ => None,
        };
        let envelope = matches!(&json[start..], b"\"result\"" | b"\"trace\"");
        if self.peek_token()? != Some(b':') {
            return Err(invalid("expected a colon"));
        }
        self.skip(1);
        json.push(b':');
        match (self.peek_token()?, element) {
            (Some(b'['), Some(element)) => {
                self.skip(1);
                self.places.push(Place::Array(element));
                Ok(())
            }
            (Some(b'{'), None) if envelope => {
                self.skip(1);
                self.places.push(Place::Object);
                Ok(())
            }
            (Some(_), _) => self.copy_value(json),
            (None, _) => Err(cut()),
        }
    }

    /// The next byte that is no white space, nor a comma, which is as good as one here.
    fn peek_token(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
            let count = buffer.iter().position(|byte| !blank(byte)).unwrap_or(buffer.len());
            self.line += count_lines(&buffer[..count]);
            let found = buffer.get(count).copied();
            self.source.consume(count);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn skip(&mut self, count: usize) {
        self.source.consume(count);
    }

    /// Copies a value, as far as brackets and quotes tell its end.
    fn copy_value(&mut self, json: &mut Vec<u8>) -> io::Result<()> {
        let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
        let mut at_start = true;
        loop {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                // A number has no end of its own.
                return if depth == 0 && !in_string && !at_start { Ok(()) } else { Err(cut()) };
            }
            let mut end = None;
            for (at, &byte) in buffer.iter().enumerate() {
                let closes = match byte {
                    _ if escaped => {
                        escaped = false;
                        false
                    }
                    b'\\' if in_string => {
                        escaped = true;
                        false
                    }
                    b'"' => {
                        in_string = !in_string;
                        !in_string && depth == 0
                    }
                    _ if in_string => false,
                    b'{' | b'[' => {
                        depth += 1;
                        false
                    }
                    b'}' | b']' if depth > 0 => {
                        depth -= 1;
                        depth == 0
                    }
                    b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                        end = Some(at);
                        break;
                    }
                    _ => false,
                };
                if closes {
                    end = Some(at + 1);
                    break;
                }
            }
            let count = end.unwrap_or(buffer.len());
            if at_start && count == 0 {
                return Err(invalid("expected a value"));
            }
            at_start = false;
            json.extend_from_slice(&buffer[..count]);
            self.line += count_lines(&buffer[..count]);
            self.source.consume(count);
            if end.is_some() {
                return Ok(());
            }
            if json.len() > MAX_RECORD {
                return Err(invalid("a record of more than 1 GiB"));
            }
        }
    }
}

/// Whether a member beside the records says that there are errors: a document of its own, which tells them.
fn has_errors(member: &[u8]) -> bool {
    let errors = member.strip_prefix(b"{\"errors\":[").map(<[u8]>::trim_ascii_start);
    errors.is_some_and(|errors| !errors.starts_with(b"]"))
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the JSON ends within a record")
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is not JSON: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    fn records(text: &str, buffer: usize) -> io::Result<Vec<(Element, String, u64)>> {
        let source = BufReader::with_capacity(buffer, Cursor::new(text.to_owned().into_bytes()));
        let mut splitter = Splitter::new(Box::new(source), 1);
        let mut records = Vec::new();
        while let Some(record) = splitter.next()? {
            records.push((record.element, String::from_utf8(record.json).expect("UTF-8"), record.line));
        }
        Ok(records)
    }

    #[test]
    fn records_are_found_in_every_envelope() {
        use Element::{Document, ResourceSpans};
        for (text, expected) in [
            (
                r#"{"data":[{"a":"]"},{"b":1}],"total":2}"#,
                vec![(Document, r#"{"a":"]"}"#), (Document, r#"{"b":1}"#)],
            ),
            (r#"{"total":0, "data":[ {"a":1} ], "errors":null} {"data":[]}"#, vec![(Document, r#"{"a":1}"#)]),
            (r#"{"data":null,"errors":[1]}"#, vec![(Document, r#"{"data":null,"errors":[1]}"#)]),
            (
                r#"{"data":[{}],"total":0,"errors": [ {"msg":"a"}]}"#,
                vec![(Document, "{}"), (Document, r#"{"errors":[ {"msg":"a"}]}"#)],
            ),
            (r#"{"data":[],"errors":[ ]}"#, vec![]),
            (r#"{"traceID":"1","spans":[{}]}"#, vec![(Document, r#"{"traceID":"1","spans":[{}]}"#)]),
            (r#"[{"a":"\\"},{"b":"\""}]"#, vec![(Document, r#"{"a":"\\"}"#), (Document, r#"{"b":"\""}"#)]),
            (r#"{"resourceSpans":[{"a":[{}]}]}"#, vec![(ResourceSpans, r#"{"a":[{}]}"#)]),
            (r#"{"result":{"resourceSpans":[{},7]}}"#, vec![(ResourceSpans, "{}"), (ResourceSpans, "7")]),
            (r#"{"trace":{"batches":[{}]},"x":{"batches":[]}}"#, vec![(ResourceSpans, "{}")]),
            ("{}", vec![(Document, "{}")]),
            (" ", vec![]),
        ] {
            for buffer in [1, 3, 4096] {
                let found = records(text, buffer).unwrap_or_else(|error| panic!("{text}: {error}"));
                let found: Vec<_> =
                    found.iter().map(|(element, json, _)| (*element, json.as_str())).collect();
                assert_eq!(found, expected, "{text} with {buffer}");
            }
        }
    }

    #[test]
    fn places_are_lines_and_what_is_cut_is_told() {
        let found = records("{\"data\": [\n {\n\"a\":1},\n{}]}", 5).expect("JSON");
        assert_eq!(found.iter().map(|record| record.2).collect::<Vec<_>>(), [2, 4]);
        for text in
            ["{\"data\":[{}", "{\"data\":[{\"a", "{", "[", "{\"a\"", "{\"a\":", "{]", "[}", "x", "{\"a\" 1}"]
        {
            assert!(records(text, 4).is_err(), "{text}");
        }
    }
}

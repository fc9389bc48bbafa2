//! Writing one span's document and row side by side.
//!
//! The document's *body* is the span as a JSON text in which `%1$s`, `%2$s`, … stand for what varies: a format string for
//! PostgreSQL's `format()`. The row's *fillers* are the texts to put there, each ended by U+001F, which JSON text never
//! contains. So `format(body, VARIADIC string_to_array(fillers, E'\x1f'))::jsonb` is the span again.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::json;
use super::model::Value;

/// Ends a filler.
pub(crate) const FILLER_END: char = '\u{1f}';

/// Stands for a filler where a template is shown to people.
pub(crate) const OMISSION: char = '…';

/// A text of the document that says something about the operation, its literals left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub slot: Slot,
    pub text: String,
}

/// Where a [`Text`] stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slot {
    Name,
    StatusMessage,
    Attribute(String),
    EventName,
    EventAttribute(String),
}

/// The constants of a span one after the other, which identify its document. They are hashed together: a hash that is fed piece
/// by piece takes longer than copying the pieces.
pub(crate) struct Constants {
    bytes: Vec<u8>,
    seed: u64,
}

/// Room for the constants of a span that is kept for the next one.
const KEPT: usize = 64 * 1024;

impl Constants {
    /// None so far; `seed` is the hash's.
    pub(crate) fn new(seed: u64) -> Self {
        Constants { bytes: Vec::new(), seed }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn key(&self) -> u128 {
        xxh3_128_with_seed(&self.bytes, self.seed)
    }
}

/// Takes a span apart into constants, which identify the document, and fillers, which make the row.
///
/// Constants are hashed always, and written only when the document is new: then `content` is there.
pub(crate) struct Encoder<'a> {
    constants: &'a mut Constants,
    fillers: &'a mut String,
    content: Option<Content>,
    nuls: u32,
}

/// The text of a document in the making.
#[derive(Default)]
pub(crate) struct Content {
    pub body: String,
    pub texts: Vec<Text>,
    /// The span's attributes for filters, unless some of them stand in the row as a whole.
    pub attributes: Option<Map<String, Json>>,
    current: String,
    fillers: usize,
}

/// What an [`Encoder`] leaves behind.
pub(crate) struct Encoded {
    /// Identifies the document within this process.
    pub key: u128,
    /// NULs that were replaced.
    pub nuls: u32,
    /// The document, where it was asked for.
    pub content: Option<Content>,
}

impl<'a> Encoder<'a> {
    /// Begins a span of a service, which is part of what identifies the document.
    pub(crate) fn new(
        constants: &'a mut Constants,
        service: &str,
        fillers: &'a mut String,
        with_content: bool,
    ) -> Self {
        constants.clear();
        let mut encoder =
            Encoder { constants, fillers, content: with_content.then(Content::default), nuls: 0 };
        encoder.hash(service);
        encoder
    }

    pub(crate) fn finish(self) -> Encoded {
        Encoded { key: self.constants.key(), nuls: self.nuls, content: self.content }
    }

    /// JSON's own punctuation, and the names of fields.
    pub(crate) fn syntax(&mut self, text: &str) {
        self.constants.push(text.as_bytes());
        if let Some(content) = &mut self.content {
            content.body.push_str(text);
        }
    }

    /// A constant part of a string.
    pub(crate) fn constant(&mut self, text: &str) {
        self.hash(text);
        if let Some(content) = &mut self.content {
            content.current.push_str(text);
            let start = content.body.len();
            self.nuls += json::escape_into(&mut content.body, text);
            double_percent(&mut content.body, start);
        }
    }

    /// A constant value of any type.
    pub(crate) fn constant_value(&mut self, value: &Value<'_>) {
        match value {
            Value::String(text) => {
                self.syntax("\"");
                self.constant(text);
                self.syntax("\"");
            }
            Value::Bool(true) => self.syntax("true"),
            Value::Bool(false) => self.syntax("false"),
            Value::Int(number) => {
                self.constants.push(b"i");
                self.constants.push(&number.to_le_bytes());
                if let Some(content) = &mut self.content {
                    let text = number.to_string();
                    content.body.push_str(&text);
                    content.current.push_str(&text);
                }
            }
            _ => {
                let mut text = String::new();
                self.nuls += json::value_into(&mut text, value);
                self.constant_json(&text);
                if let Some(content) = &mut self.content {
                    content.current.push_str(&text);
                }
            }
        }
    }

    /// The key of an attribute, which is not part of the text of its value.
    pub(crate) fn constant_key(&mut self, key: &str) {
        self.constant(key);
        self.drop_text();
    }

    /// A constant JSON text.
    pub(crate) fn constant_json(&mut self, text: &str) {
        self.hash(text);
        if let Some(content) = &mut self.content {
            let start = content.body.len();
            content.body.push_str(text);
            double_percent(&mut content.body, start);
        }
    }

    /// A varying part of a string.
    pub(crate) fn filler(&mut self, text: &str) {
        self.nuls += json::escape_into(self.fillers, text);
        self.placeholder();
    }

    /// A varying value of any type.
    pub(crate) fn filler_value(&mut self, value: &Value<'_>) {
        if let Value::String(text) = value {
            // The quotes are the document's: they are the same for every span.
            self.syntax("\"");
            self.filler(text);
            self.syntax("\"");
        } else {
            self.filler_json(|out| json::value_into(out, value));
        }
    }

    /// A varying JSON text; `write` returns how many NULs it replaced.
    pub(crate) fn filler_json(&mut self, write: impl FnOnce(&mut String) -> u32) {
        self.nuls += write(self.fillers);
        self.placeholder();
    }

    fn placeholder(&mut self) {
        self.fillers.push(FILLER_END);
        self.constants.push(b"\x1f");
        if let Some(content) = &mut self.content {
            content.fillers += 1;
            // Writing to a String cannot fail.
            let _ = write!(content.body, "%{}$s", content.fillers);
            content.current.push(OMISSION);
        }
    }

    /// Where the next value begins, for [`note_attribute`](Self::note_attribute).
    pub(crate) fn body_len(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.body.len())
    }

    /// Begins to take note of attributes.
    pub(crate) fn begin_attributes(&mut self) {
        if let Some(content) = &mut self.content {
            content.attributes = Some(Map::new());
        }
    }

    /// Attributes stand in the row as a whole: the document cannot tell which.
    pub(crate) fn forget_attributes(&mut self) {
        if let Some(content) = &mut self.content {
            content.attributes = None;
        }
    }

    /// Takes note of an attribute whose value was just written: its value where it is constant, else where to find it.
    pub(crate) fn note_attribute(&mut self, key: &str, value_start: usize) {
        let Some(content) = &mut self.content else { return };
        let Some(attributes) = &mut content.attributes else { return };
        match content.body.get(value_start..).and_then(described) {
            Some(value) => drop(attributes.insert(key.replace('\0', "\u{2400}"), value)),
            None => content.attributes = None,
        }
    }

    /// Forgets a text that says nothing about the operation.
    pub(crate) fn drop_text(&mut self) {
        if let Some(content) = &mut self.content {
            content.current.clear();
        }
    }

    /// Ends the text of a slot.
    pub(crate) fn end_text(&mut self, slot: impl FnOnce() -> Slot) {
        if let Some(content) = &mut self.content {
            let text = std::mem::take(&mut content.current);
            content.texts.push(Text { slot: slot(), text });
        }
    }

    /// A constant's hash tells its end, so that ("ab", "c") and ("a", "bc") differ.
    fn hash(&mut self, text: &str) {
        self.constants.push(&(text.len() as u32).to_le_bytes());
        self.constants.push(text.as_bytes());
    }
}

/// What a document says of a value, by its part of the body: the value itself, or `{"$string": n}` and `{"$json": n}` for
/// the n-th filler as the text of a string and as JSON, or `{"$template": "…"}` with the format string of a text.
fn described(value: &str) -> Option<Json> {
    let filler = |text: &str| text.strip_prefix('%')?.strip_suffix("$s")?.parse::<u32>().ok();
    let object = |key: &str, value: Json| Json::Object(Map::from_iter([(key.to_owned(), value)]));
    if let Some(number) = filler(value) {
        return Some(object("$json", number.into()));
    }
    if !value.replace("%%", "").contains('%') {
        return serde_json::from_str(&value.replace("%%", "%")).ok();
    }
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    Some(match filler(text) {
        Some(number) => object("$string", number.into()),
        None => object("$template", text.into()),
    })
}

/// `%` is `format()`'s own sign: doubled, it stands for itself.
fn double_percent(text: &mut String, start: usize) {
    if text[start..].contains('%') {
        let doubled = text[start..].replace('%', "%%");
        text.truncate(start);
        text.push_str(&doubled);
    }
}

//! The constant half of a span: what is embedded, indexed by words, and stored once.

use super::encode::{Content, Slot};
use super::model::Span;
use super::words::document_text;

/// What all spans of one kind have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Identifies the content within this process.
    pub key: u128,
    /// Identifies the content everywhere: the first 128 bits of BLAKE3 over service and body.
    pub hash: [u8; 16],
    /// The resource's `service.name`.
    pub service: String,
    /// The name of the instrumentation scope.
    pub scope: String,
    /// The span's name, with `…` for what varies, and for what is behind the first 1,024 bytes.
    pub name: String,
    /// OTLP's number of the kind, 0 for unknown ones.
    pub kind: i16,
    /// OTLP's number of the status code, 0 for unknown ones.
    pub status_code: i16,
    /// The span as JSON, a format string for PostgreSQL's `format()`: `%1$s` stands for the row's first filler.
    pub body: String,
    /// The span's attributes as JSON, for filters: a constant value as it is, `{"$string": n}` and `{"$json": n}` for the
    /// n-th filler as the text of a string and as JSON, `{"$template": "…"}` with the format string of a text. `None` when
    /// some attributes stand in the row as a whole.
    pub attributes: Option<String>,
    /// What the operation is, in words, without literals: this is embedded.
    pub text: String,
}

impl Document {
    pub(crate) fn new(key: u128, span: &Span<'_>, content: Content) -> Self {
        let service = without_nul(span.resource.service_name());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(service.len() as u64).to_le_bytes());
        hasher.update(service.as_bytes());
        hasher.update(content.body.as_bytes());
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        let name = content.texts.iter().find(|text| text.slot == Slot::Name).map_or("", |text| &text.text);
        Document {
            key,
            hash,
            scope: without_nul(&span.scope.name),
            name: shortened(without_nul(name)),
            kind: if (0..=5).contains(&span.kind) { span.kind as i16 } else { 0 },
            status_code: if (0..=2).contains(&span.status.code.0) { span.status.code.0 as i16 } else { 0 },
            text: without_nul(&document_text(&service, &content.texts)),
            service,
            attributes: content
                .attributes
                .map(|attributes| serde_json::Value::Object(attributes).to_string()),
            body: content.body,
        }
    }
}

/// A text as PostgreSQL can hold it: with the sign for U+0000 in its place.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// As many bytes of a name as fit into an entry of a B-tree beside the service. The body has it whole.
const NAME: usize = 1024;

/// What is left out is as what varies: whoever looks for a name looks into the spans then.
fn shortened(mut name: String) -> String {
    if name.len() > NAME {
        name.truncate(name.floor_char_boundary(NAME));
        name.push('…');
    }
    name
}

//! A span and its two halves: the *document* (what is constant) and the *row* (what varies).

mod body;
mod distinct;
mod document;
mod encode;
mod guard;
mod join;
mod json;
mod keys;
mod limits;
mod mask;
mod model;
mod otlp;
mod parameters;
mod redact;
mod row;
mod scrub;
mod sdk;
mod semconv;
mod split;
mod words;

pub(crate) use body::{resource_from_json, resource_json};
#[cfg(feature = "import")]
pub(crate) use distinct::Distinct;
pub use document::Document;
pub(crate) use document::without_nul;
pub use join::{StoredRow, Template};
pub(crate) use json::escape_into;
pub(crate) use mask::literals;
pub use model::{Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};
pub use otlp::{spans_from_otlp, spans_to_otlp};
pub use row::Row;
#[cfg(feature = "import")]
pub(crate) use row::stored_start;
pub use scrub::{Scrubbed, Scrubber};
pub use sdk::{Scopes, resource_from_sdk, span_from_sdk};
pub use semconv::{names_of, renamed};
pub use split::{Halves, Splitter};
pub(crate) use words::vocabulary;

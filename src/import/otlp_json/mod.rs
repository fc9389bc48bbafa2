//! OTLP as JSON: protobuf's JSON mapping, with identifiers in hexadecimal as OTLP has them.
//!
//! Reading is tolerant as the mapping demands, and where known exporters differ: fields in camelCase or snake_case,
//! numbers as numbers or texts, enums as numbers or names, null for what is absent, unknown fields ignored. Writing is
//! exact: 64-bit integers are texts, NaN and the infinities are `"NaN"`, `"Infinity"` and `"-Infinity"`, so a span that
//! is written and read again is the same span.

mod any_value;
pub(super) mod read;
pub(super) mod scalar;
pub(super) mod surrogates;
mod write;

pub use read::read_spans;
pub use write::write_spans;

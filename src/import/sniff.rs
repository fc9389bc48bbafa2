//! Which form of OTLP it is, by its first bytes.

use crate::exporter::spool::format::MAGIC;

/// How records follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON documents, one a line or over several lines.
    Json,
    /// The fields of one `TracesData`: each is a record.
    Message,
    /// `TracesData` messages, each behind its length as a varint.
    VarintDelimited,
    /// `TracesData` messages, each behind its length as four bytes, as the collector's file exporter writes them.
    FixedDelimited,
    /// As the collector's file exporter writes them with compression: each message, JSON or protobuf, by itself.
    FixedZstd,
    /// Batches of the exporter's spool, each a `TracesData` message behind a line of text.
    Spool,
}

/// How many bytes decide.
pub(super) const SNIFFED: usize = 512;

/// The tag of `TracesData.resource_spans`, the only field of that message: 1, length-delimited.
pub(super) const RESOURCE_SPANS: u8 = 0x0a;

pub(super) fn sniff(start: &[u8]) -> Option<Format> {
    if is_json(start) {
        return Some(Format::Json);
    }
    if start.starts_with(MAGIC.as_bytes()) {
        return Some(Format::Spool);
    }
    match *start {
        // A message in a stream would begin with the same byte if it were 10 bytes long, and would hold one of 8 bytes;
        // in a bare message, 8 cannot be a tag in this place.
        [RESOURCE_SPANS, RESOURCE_SPANS, 8, ..] => Some(Format::VarintDelimited),
        [RESOURCE_SPANS, ..] => Some(Format::Message),
        [_, _, _, _, 0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::FixedZstd),
        [0, _, _, _, RESOURCE_SPANS | b'{', ..] => Some(Format::FixedDelimited),
        _ => {
            let varint = start.iter().take(10).position(|byte| byte & 0x80 == 0)?;
            matches!(start.get(varint + 1), Some(&RESOURCE_SPANS) | None).then_some(Format::VarintDelimited)
        }
    }
}

/// The start of an object, or of an array of them. A protobuf may have the same first bytes (a line feed and `{` are a tag and a length), but not
/// what follows in JSON: a key, which has no control characters.
pub(super) fn is_json(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    if start.is_empty() {
        return true;
    }
    let start = match start.strip_prefix(b"[").map(<[u8]>::trim_ascii_start) {
        Some([] | [b']', ..]) => return true,
        Some(inside) => inside,
        None => start,
    };
    let Some(inside) = start.strip_prefix(b"{") else { return false };
    match *inside.trim_ascii_start() {
        [b'"', next, ..] => next >= b' ',
        [b'}', ..] | [] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_recognised_by_their_first_bytes() {
        for (start, expected) in [
            (&b"{\"resourceSpans\":[]}"[..], Some(Format::Json)),
            (b"\xef\xbb\xbf\r\n{\n  \"resourceSpans\": []}", Some(Format::Json)),
            (b"", Some(Format::Json)),
            (b"[ {\"traceID\"", Some(Format::Json)),
            (b"[]", Some(Format::Json)),
            (b"[1]", None),
            (b"\0\0\0\x40\x28\xb5\x2f\xfd\0", Some(Format::FixedZstd)),
            (b"\n{\n\"\n", Some(Format::Message)),
            (b"\x0a\x0c\x0a\x00", Some(Format::Message)),
            (b"\x0a\x0a\x0a\x00", Some(Format::Message)),
            (b"\x0a\x0a\x08\x0a", Some(Format::VarintDelimited)),
            (b"\x96\x01\x0a\x93\x01", Some(Format::VarintDelimited)),
            (b"\x00\x00\x01\x00\x0a\xfe", Some(Format::FixedDelimited)),
            (b"otel-pgvector spool 1 id=", Some(Format::Spool)),
            (b"hello", None),
            (b"PK\x03\x04", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(sniff(start), expected, "{start:?}");
        }
    }
}

//! Records that were not understood, as they are written aside.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::frames::Frame;
use super::refused;

#[derive(Serialize)]
struct Reject<'a> {
    origin: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

/// Writes one line: a record of which all spans were refused, or those that are.
pub(super) fn write(file: &mut dyn Write, frame: &Frame, refused: &[bool], reason: &str) -> io::Result<()> {
    let some = refused.contains(&false).then(|| refused::only(frame, refused)).flatten();
    let bytes = some.map_or_else(|| frame.document(), Cow::Owned);
    let record = std::str::from_utf8(&bytes).ok().filter(|_| frame.kind.is_json());
    let record_base64 = record.is_none().then(|| BASE64_STANDARD.encode(&bytes));
    let mut line = serde_json::to_vec(&Reject { origin: &frame.origin, reason, record, record_base64 })?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.flush()
}

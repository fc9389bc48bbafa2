//! Records that were not understood, as they are written aside.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::frames::Frame;

#[derive(Serialize)]
struct Reject<'a> {
    origin: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

/// Writes one line.
pub(super) fn write(file: &mut dyn Write, frame: &Frame, reason: &str) -> io::Result<()> {
    let record = std::str::from_utf8(&frame.bytes).ok().filter(|_| frame.kind.is_json());
    let record_base64 = record.is_none().then(|| BASE64_STANDARD.encode(&frame.bytes));
    serde_json::to_writer(&mut *file, &Reject { origin: &frame.origin, reason, record, record_base64 })?;
    file.write_all(b"\n")?;
    file.flush()
}

//! What the fuzz targets reach.

use std::io::Cursor;

use super::frames::Frames;
use super::input::Input;
use super::record;
use crate::span::Span;

/// The spans of each record in a file's content, up to what cannot be read.
pub fn records(content: Vec<u8>) -> Vec<Vec<Span<'static>>> {
    let mut records = Vec::new();
    let Ok(mut frames) = Frames::new(Input::reader("fuzz", Cursor::new(content))) else { return records };
    while let Ok(Some(frame)) = frames.next() {
        if let Ok(spans) = record::spans(&frame) {
            records.push(spans.into_iter().flatten().collect());
        }
    }
    records
}

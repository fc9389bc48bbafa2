//! Rows in PostgreSQL's binary COPY format, written into one buffer.
//!
//! Source: PostgreSQL documentation, COPY, "Binary Format".

use bytes::{BufMut, Bytes, BytesMut};

use crate::span::Row;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's time begins.
pub(crate) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

const COLUMNS: i16 = 10;
/// A row's bytes without its fillers: the number of columns, ten lengths, and the values of fixed size.
const ROW_BYTES: usize = 2 + 10 * 4 + 16 + 4 * 8 + 2 * 4 + 2 * 2;
/// Where a row has its number of columns: that there are no more.
const END: i16 = -1;
const END_BYTES: usize = 2;

/// Writes rows with the ids of their documents and resources.
pub(super) struct CopyRows(BytesMut);

impl CopyRows {
    /// Room for so many rows and for their fillers' bytes.
    pub(super) fn with_capacity(rows: usize, fillers: usize) -> Self {
        CopyRows(BytesMut::with_capacity(rows * ROW_BYTES + fillers + END_BYTES))
    }

    pub(super) fn push(&mut self, row: &Row, document_id: i32, resource_id: i32, fillers: &str) {
        let buffer = &mut self.0;
        buffer.put_i16(COLUMNS);
        buffer.put_i32(16);
        buffer.put_slice(&row.trace_id);
        for value in [row.span_id, row.parent_span_id, row.start_us - POSTGRES_EPOCH_US, row.duration_ns] {
            buffer.put_i32(8);
            buffer.put_i64(value);
        }
        for value in [document_id, resource_id] {
            buffer.put_i32(4);
            buffer.put_i32(value);
        }
        for value in [row.start_ns, row.flags] {
            buffer.put_i32(2);
            buffer.put_i16(value);
        }
        // A text of 2 GiB and more was refused before, with its span.
        buffer.put_i32(fillers.len() as i32);
        buffer.put_slice(fillers.as_bytes());
    }

    /// With the end of all rows.
    pub(super) fn finish(mut self) -> Bytes {
        self.0.put_i16(END);
        self.0.freeze()
    }
}

/// What comes before all rows.
pub(super) fn header() -> Bytes {
    Bytes::from_static(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")
}

//! Rows as the exporter stored them, for another client to copy.

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt, future};
use tokio_postgres::{Client, Statement};

/// What the exporter writes of a span.
pub const COLUMNS: &str = "trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, resource_id, \
                           start_ns, flags, fillers";
const COLUMN_COUNT: i16 = 10;

/// Reads rows: each as its fields in PostgreSQL's binary COPY format, without the number of them.
pub async fn read_rows(client: &Client, query: &str) -> Vec<Bytes> {
    let stream = client.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await.expect("COPY");
    let chunks: Vec<Bytes> = stream.try_collect().await.expect("rows");
    let data = Bytes::from(chunks.concat());
    // Signature, flags and the length of an extension that does not exist.
    let mut at = 19;
    let mut rows = Vec::new();
    while number::<2>(&data, at) == i64::from(COLUMN_COUNT) {
        let start = at + 2;
        at = start;
        for _ in 0..COLUMN_COUNT {
            at += 4 + number::<4>(&data, at).max(0) as usize;
        }
        rows.push(data.slice(start..at));
    }
    rows
}

fn number<const N: usize>(data: &Bytes, at: usize) -> i64 {
    let bytes = &data[at..at + N];
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

/// Rows in the format of COPY, ready to be sent.
pub fn encode(rows: &[Bytes]) -> Bytes {
    encode_with(rows, 0, |_| ())
}

/// The same with more columns, which `add` writes.
pub fn encode_with(rows: &[Bytes], columns: i16, mut add: impl FnMut(&mut BytesMut)) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
    buffer.put_bytes(0, 8);
    for row in rows {
        buffer.put_i16(COLUMN_COUNT + columns);
        buffer.put_slice(row);
        add(&mut buffer);
    }
    buffer.put_i16(-1);
    buffer.freeze()
}

/// Copies one batch in a transaction of its own, with as few waits as the protocol allows.
pub async fn copy_in(client: &Client, statement: &Statement, batch: Bytes) {
    let (begun, sink) = future::join(client.batch_execute("BEGIN"), client.copy_in(statement)).await;
    begun.expect("BEGIN");
    let mut sink = pin!(sink.expect("COPY begins"));
    sink.send(batch).await.expect("rows are sent");
    let (copied, committed) = future::join(sink.finish(), client.batch_execute("COMMIT")).await;
    copied.expect("rows are copied");
    committed.expect("COMMIT");
}

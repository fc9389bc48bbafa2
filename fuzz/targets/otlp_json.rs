//! A record of OTLP as JSON: what is read is written, split and joined without loss.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_pgvector::import::otlp_json::{read_spans, write_spans};
use opentelemetry_pgvector::span::Span;
use opentelemetry_pgvector_fuzz::{scrub, split_and_join};

fuzz_target!(|bytes: &[u8]| {
    let Ok(spans) = read_spans(bytes) else { return };
    let mut spans: Vec<Span<'static>> = spans.into_iter().flatten().collect();
    split_and_join(&spans);
    let again: Result<Vec<Span<'static>>, String> =
        read_spans(write_spans(&spans).as_bytes()).expect("what was written is OTLP").into_iter().collect();
    assert_eq!(again.expect("every span is one"), spans);
    scrub(&mut spans);
    split_and_join(&spans);
});

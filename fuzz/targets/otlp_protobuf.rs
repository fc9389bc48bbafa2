//! A file of OTLP in any form, recognised by its content: what is read is split and joined without loss.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_pgvector::fuzzing::records;
use opentelemetry_pgvector_fuzz::{scrub, split_and_join};

fuzz_target!(|bytes: &[u8]| {
    for mut spans in records(bytes.to_vec()) {
        split_and_join(&spans);
        scrub(&mut spans);
        split_and_join(&spans);
    }
});

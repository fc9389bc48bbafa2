//! A file of the spool: torn, damaged or whole, it is read without a panic, and back as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_pgvector::exporter::fuzz_spool_file;

fuzz_target!(|bytes: &[u8]| fuzz_spool_file(bytes));

//! What the benches share.
#![allow(dead_code, reason = "each bench uses a part of this module")]

pub mod big;
pub mod child;
pub mod cold;
pub mod eight;
pub mod figure;
pub mod fleet;
pub mod hostile;
pub mod link;
pub mod marketplace;
pub mod picture;
pub mod plain;
pub mod process;
pub mod random;
pub mod recordings;
pub mod sdk;
pub mod shop;
pub mod sink;
pub mod table;
pub mod traffic;

#[path = "../../tests/support/database.rs"]
pub mod database;
#[path = "../../tests/support/shared.rs"]
pub mod shared;

/// Whether to measure less: `make bench`, `cargo bench -- --quick`, or `OTEL_BENCH_QUICK` is set; `--full` and
/// `OTEL_BENCH_FULL` say otherwise.
pub fn is_quick() -> bool {
    let asked = |flag, variable| has_flag(flag) || std::env::var_os(variable).is_some();
    asked("--quick", "OTEL_BENCH_QUICK") && !asked("--full", "OTEL_BENCH_FULL")
}

/// Whether a flag was given: `cargo bench --bench NAME -- FLAG`.
pub fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

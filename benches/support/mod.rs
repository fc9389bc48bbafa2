//! What the benches share.
#![allow(dead_code, reason = "each bench uses a part of this module")]

pub mod big;
pub mod cold;
pub mod figure;
pub mod fleet;
pub mod hostile;
pub mod process;
pub mod random;
pub mod sdk;
pub mod shop;
pub mod table;
pub mod traffic;

#[path = "../../tests/support/database.rs"]
pub mod database;
#[path = "../../tests/support/shared.rs"]
pub mod shared;

/// Whether to measure less: `cargo bench -- --quick`, or `OTEL_BENCH_QUICK` is set.
pub fn is_quick() -> bool {
    has_flag("--quick") || std::env::var_os("OTEL_BENCH_QUICK").is_some()
}

/// Whether a flag was given: `cargo bench --bench NAME -- FLAG`.
pub fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

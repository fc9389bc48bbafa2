//! Settings (being replaced).

use std::path::PathBuf;

/// Settings.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub enabled: bool,
    pub connection_string: String,
    pub embedding_model: String,
    pub embedding_dimension: u16,
    pub embedding_threads: u16,
    pub onnxruntime_library: Option<PathBuf>,
    pub cache_size: u64,
    pub similarity_threshold: f64,
    pub batch_size: usize,
    pub batch_interval_seconds: u64,
    pub max_retries: u32,
    pub circuit_breaker_threshold: u32,
    pub schema: String,
    pub migrate: bool,
    pub pool_size: usize,
    pub connect_timeout_seconds: u64,
    pub statement_timeout_seconds: u64,
    pub export_timeout_seconds: u64,
    pub flush_timeout_seconds: u64,
    pub embedding_budget_milliseconds: u64,
}

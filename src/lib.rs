#![doc = include_str!("../README.md")]
// On docs.rs, what needs a feature says so.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs, missing_debug_implementations, clippy::disallowed_methods)]

pub mod embedding;
pub mod error;
#[cfg(feature = "import")]
pub mod export;
pub mod exporter;
#[cfg(feature = "import")]
pub mod import;
pub mod search;
#[cfg(feature = "serve")]
pub mod serve;
pub mod settings;
pub mod span;
pub mod store;

pub use error::{Error, ErrorClass, Result};
pub use exporter::{PgvectorSpanProcessor, SpanExporter, SpanExporterBuilder, tracer_provider};
pub use settings::Settings;
pub use store::TraceStore;

// So that the tests within the crate and those beside it can share their arbitrary spans.
#[cfg(test)]
extern crate self as opentelemetry_pgvector;
/// What the fuzz targets reach of the inside.
#[cfg(all(fuzzing, feature = "import"))]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::import::fuzzing::records;
}

/// The code blocks of the other documents are compiled as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../docs/setup.md")]
    mod setup {}
    #[doc = include_str!("../docs/usage.md")]
    mod usage {}
    #[doc = include_str!("../docs/cli.md")]
    mod cli {}
    #[doc = include_str!("../docs/performance.md")]
    mod performance {}
    #[doc = include_str!("../docs/reliability.md")]
    mod reliability {}
    #[doc = include_str!("../docs/roles.md")]
    mod roles {}
    #[doc = include_str!("../docs/spool.md")]
    mod spool {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/architecture.md")]
    mod architecture {}
    #[doc = include_str!("../docs/scaling.md")]
    mod scaling {}
    #[doc = include_str!("../docs/search.md")]
    mod search {}
    #[doc = include_str!("../docs/migration.md")]
    mod migration {}
    #[doc = include_str!("../docs/redaction.md")]
    mod redaction {}
    #[doc = include_str!("../docs/maintenance.md")]
    mod maintenance {}
    #[doc = include_str!("../docs/serve.md")]
    mod serve {}
    #[doc = include_str!("../docs/jaeger.md")]
    mod jaeger {}
    #[doc = include_str!("../docs/ui.md")]
    mod ui {}
    #[doc = include_str!("../docs/conditions.md")]
    mod conditions {}
}

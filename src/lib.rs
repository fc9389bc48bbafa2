#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod embedding;
pub mod error;
pub mod exporter;
#[cfg(feature = "import")]
pub mod import;
pub mod search;
pub mod settings;
pub mod span;
pub mod store;

pub use error::{Error, Result};
pub use exporter::{PgvectorSpanProcessor, SpanExporter, SpanExporterBuilder, tracer_provider};
pub use settings::Settings;
pub use store::TraceStore;

/// The code blocks of the other documents are compiled as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../docs/setup.md")]
    mod setup {}
    #[doc = include_str!("../docs/usage.md")]
    mod usage {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/architecture.md")]
    mod architecture {}
}

//! Recorded traces from files, Jaeger and Tempo: the way of spans into the store that is not an exporter.
//!
//! [`Importer::otlp`] reads OTLP in every form in which it is written to files, recognised by its content: JSON (one
//! document, pretty-printed or not), JSON lines, protobuf (a bare message, or a stream of messages that each have their
//! length before them; files of the exporter's spool), each of them packed with gzip or zstd or not. [`Importer::traces`]
//! reads the same, and Jaeger's and Tempo's JSON, and stores each span of a trace once, however often it comes. Both hold
//! a few batches in memory, whatever the size of the file.
//!
//! An import may be interrupted at any time and repeated: it looks up in the ledger of batches how far it came, and
//! stores nothing twice, with another batch size or with a file that has grown since, too.
//!
//! ```no_run
//! # async fn example(store: opentelemetry_pgvector::TraceStore) -> opentelemetry_pgvector::Result<()> {
//! use opentelemetry_pgvector::import::{Importer, Input};
//!
//! let importer = Importer::new(store).on_rejected(|error| eprintln!("{error}"));
//! let imported = importer.otlp(Input::open("traces.jsonl.gz")?).await?;
//! println!("{} spans stored, {} were there", imported.stored, imported.already_there);
//! # Ok(())
//! # }
//! ```

mod batches;
mod by_trace;
mod document;
mod embed;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(feature = "import-http")]
mod http;
mod importer;
mod in_order;
mod input;
mod jaeger;
mod known;
pub mod otlp_json;
mod reader;
mod reason;
mod record;
mod refused;
mod rejects;
mod sniff;
mod splitter;

pub use embed::embed_waiting;
#[cfg(feature = "import-http")]
pub use http::HttpSource;
pub use importer::{Imported, Importer};
pub use input::Input;

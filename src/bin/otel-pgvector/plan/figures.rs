//! What the capacity calculator knows: measured figures, each with the command that measures it, and rules of thumb.
//!
//! Measured on two cores with PostgreSQL 18.4 and pgvector 0.8.5; of two recordings, the larger figure.

/// Bytes a span in the table of rows, without indexes. `make bench NAME=storage`: `storage/datasette/heap`.
pub const HEAP_BYTES: f64 = 114.0;
/// Bytes a span in all indexes of rows. `make bench NAME=storage`: `storage/datasette` less its heap.
pub const INDEX_BYTES: f64 = 24.0;

/// Bytes of a document with text, body, vector and all indexes. `make bench NAME=storage`:
/// `storage/datasette/span_documents`.
pub const DOCUMENT_BYTES: f64 = 7_493.0;
/// Documents a service. `make bench NAME=storage`, `span_documents/rows`: 727 of one service (Datasette), 239 of 27
/// services (TrainTicket); this is between the two.
pub const DOCUMENTS_PER_SERVICE: u64 = 100;

/// Bytes of an entry of the ledger with its index. `make bench NAME=capacity`: `capacity/ledger`.
pub const LEDGER_BYTES: f64 = 136.0;

/// Bytes of WAL a span and a batch, with page images after a checkpoint. `make bench NAME=capacity`: `capacity/wal/…`.
pub const WAL_BYTES_PER_SPAN: f64 = 290.0;
/// See [`WAL_BYTES_PER_SPAN`].
pub const WAL_BYTES_PER_BATCH: f64 = 1_050.0;

/// Seconds of the server's processors a span and a batch. `make bench NAME=capacity`: `capacity/server_cpu/…`.
pub const CPU_SECONDS_PER_SPAN: f64 = 6.4e-6;
/// See [`CPU_SECONDS_PER_SPAN`].
pub const CPU_SECONDS_PER_BATCH: f64 = 435e-6;

/// Connections of a process that exports: one stores batches, one embeds behind them now and then; `pool_size` allows more.
pub const CONNECTIONS_PER_PROCESS: u64 = 2;

// What follows was not measured: it is what an operator wants to have left.

/// The part of the processors that writing may take on average: the rest is for peaks, searches, vacuum and checkpoints.
pub const WRITE_SHARE: f64 = 0.25;
/// The part of a disk that may be full.
pub const DISK_SHARE: f64 = 0.8;
/// The largest server that is recommended: processors, bytes of disk, bytes of memory.
pub const LARGEST_CORES: f64 = 64.0;
/// See [`LARGEST_CORES`].
pub const LARGEST_DISK: f64 = 16e12;
/// See [`LARGEST_CORES`].
pub const LARGEST_MEMORY: f64 = 256e9;
/// From so many processors on, a replica for searches is recommended.
pub const REPLICA_CORES: f64 = 16.0;
/// More connections than these want a pooler.
pub const MOST_CONNECTIONS: u64 = 200;
/// Memory beside what is kept hot: the server's own, connections, sorting.
pub const BASE_MEMORY: f64 = 2e9;

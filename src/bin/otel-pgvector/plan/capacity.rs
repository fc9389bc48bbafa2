//! What a load takes: disk, WAL, processors, memory, partitions, connections.

use opentelemetry_pgvector::Settings;
use serde::Serialize;

use super::figures as measured;

const SECONDS_A_DAY: f64 = 86_400.0;

/// What is to be stored.
pub struct Load {
    pub spans_per_second: f64,
    pub retention_days: u32,
    /// Processes that export, each of a service of its own.
    pub services: u64,
    pub documents: u64,
    /// Heap and indexes of one span.
    pub heap_bytes: f64,
    pub index_bytes: f64,
    /// A document with its vector and indexes.
    pub document_bytes: f64,
}

/// What it takes. Bytes are averages; a peak takes as many more processors as it has more spans.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub spans_per_second: f64,
    pub retention_days: u32,
    pub services: u64,
    pub spans_per_day: u64,
    pub spans_kept: u64,
    pub bytes_per_span: f64,
    pub documents: u64,
    pub heap_bytes: u64,
    pub index_bytes: u64,
    pub document_bytes: u64,
    pub ledger_bytes: u64,
    /// The sum of the four, without what has to be free.
    pub disk_bytes: u64,
    pub disk_bytes_per_day: u64,
    /// With room, so that the disk does not fill.
    pub disk_recommended_bytes: u64,
    pub wal_bytes_per_day: u64,
    /// Processors that writing keeps busy on average.
    pub write_cores: f64,
    pub cores_recommended: u64,
    pub memory_recommended_bytes: u64,
    /// Of a day each: those that are kept, and the next one.
    pub partitions: u32,
    pub connections: u64,
    pub pooler: bool,
    pub batch_size: u64,
    pub spans_per_batch: f64,
    pub batches_per_second: f64,
    pub ledger_days: u64,
    pub advice: Advice,
    /// Servers beside the coordinator; 0 without Citus.
    pub workers: u64,
}

/// What to store it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    OneServer,
    OneServerWithReplica,
    Citus,
}

impl Plan {
    /// `settings` says how long the ledger remembers, and how long a batch waits to fill.
    pub fn of(load: &Load, settings: &Settings) -> Plan {
        let days = f64::from(load.retention_days);
        let per_day = load.spans_per_second * SECONDS_A_DAY;
        let kept = per_day * days;

        let per_process = load.spans_per_second / load.services as f64;
        let batch_size = batch_size(per_process);
        let spans_per_batch =
            (per_process * settings.batch_interval_seconds as f64).clamp(1.0, batch_size as f64);
        let batches_per_second = load.spans_per_second / spans_per_batch;
        let batches_per_day = batches_per_second * SECONDS_A_DAY;

        let documents = load.documents as f64 * load.document_bytes;
        let ledger = batches_per_day * settings.ledger_days as f64 * measured::LEDGER_BYTES;
        let rows_per_day = per_day * (load.heap_bytes + load.index_bytes);
        let disk = rows_per_day * days + documents + ledger;
        let disk_recommended = disk / measured::DISK_SHARE;
        let wal = per_day * measured::WAL_BYTES_PER_SPAN + batches_per_day * measured::WAL_BYTES_PER_BATCH;

        let write_cores = load.spans_per_second * measured::CPU_SECONDS_PER_SPAN
            + batches_per_second * measured::CPU_SECONDS_PER_BATCH;
        let cores = (write_cores / measured::WRITE_SHARE).ceil().max(2.0);
        // Written to, or walked through by every search: the indexes of today's rows, and the documents.
        let hot = per_day * load.index_bytes + documents;
        let memory = hot + measured::BASE_MEMORY;

        let servers = [
            cores / measured::LARGEST_CORES,
            disk_recommended / measured::LARGEST_DISK,
            memory / measured::LARGEST_MEMORY,
        ]
        .into_iter()
        .fold(0.0, f64::max);
        let (advice, workers) = match servers {
            _ if servers > 1.0 => (Advice::Citus, servers.ceil() as u64),
            _ if cores >= measured::REPLICA_CORES => (Advice::OneServerWithReplica, 0),
            _ => (Advice::OneServer, 0),
        };
        let connections = load.services.saturating_mul(measured::CONNECTIONS_PER_PROCESS);
        Plan {
            spans_per_second: load.spans_per_second,
            retention_days: load.retention_days,
            services: load.services,
            spans_per_day: per_day as u64,
            spans_kept: kept as u64,
            bytes_per_span: load.heap_bytes + load.index_bytes,
            documents: load.documents,
            heap_bytes: (kept * load.heap_bytes) as u64,
            index_bytes: (kept * load.index_bytes) as u64,
            document_bytes: documents as u64,
            ledger_bytes: ledger as u64,
            disk_bytes: disk as u64,
            disk_bytes_per_day: rows_per_day as u64,
            disk_recommended_bytes: disk_recommended as u64,
            wal_bytes_per_day: wal as u64,
            write_cores,
            cores_recommended: cores as u64,
            memory_recommended_bytes: memory as u64,
            partitions: load.retention_days.saturating_add(2),
            connections,
            pooler: connections > measured::MOST_CONNECTIONS,
            batch_size,
            spans_per_batch,
            batches_per_second,
            ledger_days: settings.ledger_days.into(),
            advice,
            workers,
        }
    }
}

/// A batch of about a second, within what the setting allows: fewer batches cost the server less, and no span waits long.
fn batch_size(spans_per_second: f64) -> u64 {
    let wanted = spans_per_second.ceil() as u64;
    [100, 200, 500].into_iter().find(|size| wanted <= *size).unwrap_or(1000)
}

//! `/api/health`: how the store is, for probes and for programs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Failure, time};
use crate::exporter::ExporterStatus;
use crate::serve::answer::json_response;
use crate::serve::health::{Look, Watch};
use crate::store;

/// How the store is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// Whether this server can do its work: database, schema and extension are there, and where it receives, spans can be stored.
    healthy: bool,
    /// Why not; null where it is healthy.
    error: Option<String>,
    /// When it was looked at, at most 5 s ago.
    #[schema(format = DateTime)]
    looked_at: String,
    /// The server's version.
    server_version: Option<String>,
    /// The version of pgvector.
    pgvector_version: Option<String>,
    /// The version of the schema, 0 where it is missing.
    schema_version: i32,
    /// The model that made the embeddings.
    model: Option<String>,
    /// How many traces are stored; beyond a million spans an estimate.
    trace_count: u64,
    /// How many spans are stored; beyond a million an estimate.
    span_count: u64,
    /// How many documents are stored.
    document_count: u64,
    /// How many of them wait for their embedding.
    documents_waiting: u64,
    /// When the first of them was stored.
    #[schema(format = DateTime)]
    waiting_since: Option<String>,
    /// When the oldest span started.
    #[schema(format = DateTime)]
    oldest_span: Option<String>,
    /// When the newest span started.
    #[schema(format = DateTime)]
    newest_span: Option<String>,
    /// For how many days beginning with today there are partitions.
    days_ahead: Option<u64>,
    /// When maintenance last began.
    #[schema(format = DateTime)]
    maintained: Option<String>,
    /// Bytes on disk of the schema's tables, without indexes.
    table_bytes: Option<u64>,
    /// Bytes on disk of its indexes.
    index_bytes: Option<u64>,
    /// What this server received; null where it does not receive.
    exporter: Option<Exporter>,
}

/// What was received, in spans.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Exporter {
    /// Spans that came.
    received: u64,
    /// Spans that are in the database or in the spool.
    acknowledged: u64,
    /// Spans that wait for the database in memory.
    waiting: u64,
    /// Spans that wait in the spool.
    spooled: u64,
    /// Spans that PostgreSQL refused for what is in them.
    rejected: u64,
    /// Spans that are lost.
    dropped: u64,
    /// Spans whose sender was asked to send them again.
    refused: u64,
    /// Whether batches are let through to the database: closed is good, open or half_open is not.
    breaker: &'static str,
    /// Why the last batch could not be stored, until one is.
    last_error: Option<String>,
}

/// How the store is. It takes no turn among other requests, and may be asked for every second.
#[utoipa::path(get, path = "/api/health", tag = "health",
    responses((status = 200, description = "This server can do its work", body = Health),
              (status = 401, description = "The header Authorization is missing", body = Failure),
              (status = 503, description = "It cannot", body = Health)))]
pub(super) async fn health(State(watch): State<Watch>) -> Response {
    let health = Health::from(watch.look().await);
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &health)
}

impl From<Look> for Health {
    fn from(Look { at, store, receiving, exporter }: Look) -> Self {
        let store::Health { healthy, error, server_version, pgvector_version, .. } = store;
        Health {
            healthy: healthy && receiving.is_none(),
            error: error.or(receiving),
            looked_at: time(at),
            server_version,
            pgvector_version,
            schema_version: store.schema_version,
            model: store.model,
            trace_count: store.total_traces,
            span_count: store.total_spans,
            document_count: store.documents,
            documents_waiting: store.documents_waiting,
            waiting_since: store.waiting_since,
            oldest_span: store.oldest_span,
            newest_span: store.newest_span,
            days_ahead: store.days_ahead,
            maintained: store.maintained,
            table_bytes: store.table_bytes,
            index_bytes: store.index_bytes,
            exporter: exporter.as_ref().map(Exporter::from),
        }
    }
}

impl From<&ExporterStatus> for Exporter {
    fn from(status: &ExporterStatus) -> Self {
        Exporter {
            received: status.received,
            acknowledged: status.acknowledged(),
            waiting: status.waiting,
            spooled: status.spool.spans,
            rejected: status.rejected,
            dropped: status.dropped,
            refused: status.refused,
            breaker: match status.breaker {
                crate::exporter::BreakerState::Closed => "closed",
                crate::exporter::BreakerState::Open => "open",
                crate::exporter::BreakerState::HalfOpen => "half_open",
            },
            last_error: status.last_error.clone(),
        }
    }
}

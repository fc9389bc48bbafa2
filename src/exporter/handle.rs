//! A view of an exporter from outside, after the tracer provider has taken it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;

use super::Shared;
use super::breaker::BreakerState;
use super::spool::SpoolUsage;
use crate::error::{Error, Result};
use crate::store::{Activity, Health};

/// Tells how an exporter is, while a processor owns it; from [`SpanExporter::handle`](super::SpanExporter::handle).
///
/// It does not keep the exporter alive.
#[derive(Clone)]
pub struct ExporterHandle {
    shared: Weak<Shared>,
    last: Arc<LastStatus>,
}

/// What is left of an exporter that is gone.
#[derive(Default)]
pub(super) struct LastStatus(Mutex<Option<ExporterStatus>>);

impl LastStatus {
    pub(super) fn set(&self, status: ExporterStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn get(&self) -> Option<ExporterStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What an exporter has done with the spans that it was handed, and what state it is in.
///
/// `received` = `stored` + `spooled` + `waiting` + `rejected` + `dropped` + those of the exports that are under way. A span
/// is *acknowledged* when it is stored or spooled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExporterStatus {
    /// Spans that were handed to `export`.
    pub received: u64,
    /// Spans that this exporter committed, from an export or from memory.
    pub stored: u64,
    /// Spans that were written to the spool instead.
    pub spooled: u64,
    /// Spans that were committed from the spool, which may be another process's.
    pub replayed: u64,
    /// Spans that PostgreSQL refused for what is in them, and that are set aside in the spool, or lost without one.
    pub rejected: u64,
    /// Spans that are lost: neither stored nor spooled, and no longer waiting.
    pub dropped: u64,
    /// Spans that wait in memory.
    pub waiting: u64,
    /// Bytes that wait in memory, at most `queue_mebibytes`.
    pub queue_bytes: u64,
    /// What is in the spool; all zero when there is none.
    pub spool: SpoolUsage,
    /// Whether batches are let through to the database.
    pub breaker: BreakerState,
    /// Failed attempts in a row.
    pub failures: u32,
    /// How often the circuit breaker has opened.
    pub breaker_opened: u64,
    /// What the store has done in this process.
    pub store: Activity,
    /// Why the last batch could not be stored, until one is.
    pub last_error: Option<String>,
}

/// The state of the store and of the exporter before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExporterHealth {
    /// What a look at the database shows.
    #[serde(flatten)]
    pub store: Health,
    /// What the exporter knows of itself.
    pub exporter: ExporterStatus,
}

impl ExporterStatus {
    /// Spans that are neither stored, spooled nor lost: under way, or waiting in memory.
    pub fn in_flight(&self) -> u64 {
        let done = self.stored + self.spooled + self.rejected + self.dropped;
        self.received.saturating_sub(done)
    }
}

impl ExporterHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        ExporterHandle { shared: Arc::downgrade(shared), last: Arc::clone(&shared.last) }
    }

    /// What the exporter has done up to now; after it is gone, what it had done in the end.
    pub fn status(&self) -> ExporterStatus {
        match self.shared.upgrade() {
            Some(shared) => shared.status(),
            None => self.last.get().unwrap_or_default(),
        }
    }

    /// Looks at the database through the exporter's own connections, in whatever runtime or none.
    ///
    /// # Errors
    /// [`Error::Shutdown`] when the exporter is shut down or gone.
    pub async fn health_check(&self) -> Result<ExporterHealth> {
        let store = {
            let shared = self.shared.upgrade().ok_or(Error::Shutdown)?;
            let Some(delivery) = &shared.delivery else {
                return Ok(ExporterHealth::default());
            };
            let store = delivery.store().clone();
            shared.runtime.spawn(async move { store.health_check().await }).map_err(|_| Error::Shutdown)?
        };
        let store = tokio::task::unconstrained(store).await.map_err(|_| Error::Shutdown)?;
        Ok(ExporterHealth { store, exporter: self.status() })
    }
}

impl std::fmt::Debug for ExporterHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ExporterHandle").field("status", &self.status()).finish()
    }
}

//! A view of an exporter from outside, after the tracer provider has taken it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;

use super::Shared;
use super::breaker::BreakerState;
use super::spool::SpoolUsage;
use crate::error::{Error, Result};
use crate::store::{Activity, Health, TraceStore};

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
/// `received` = `stored` + `spooled` + `waiting` + `rejected` + `dropped` + `refused` + those of the exports that are under
/// way: each span is in one of them. What is `spooled` is stored later, by whichever process replays it, and then counted there as
/// `replayed`, or it is counted here as `revoked`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExporterStatus {
    /// Spans that were handed to `export`.
    pub received: u64,
    /// Spans that this exporter committed, from an export or from memory.
    pub stored: u64,
    /// Spans that this exporter wrote to the spool instead, whatever became of them there.
    pub spooled: u64,
    /// Spans that this exporter committed from the spool, or found committed; another process may have spooled them.
    pub replayed: u64,
    /// Spans of an export, or from memory, that PostgreSQL refused for what is in them. They are set aside in the spool,
    /// or lost without one.
    pub rejected: u64,
    /// Spans of an export, or from memory, that are lost. Where the answer to the last COMMIT was lost with them, they
    /// may be in the database; never twice.
    pub dropped: u64,
    /// Spans that a server was sent while it could neither store nor spool them, and that it asked for again.
    pub refused: u64,
    /// Spans of this process that were `spooled` and will not be stored from there: `when_full: drop_oldest` removed
    /// them, PostgreSQL refused them when this exporter replayed them, or it found their file damaged. What other
    /// processes that share the folder do to them is not known here.
    pub revoked: u64,
    /// Spans that wait in memory, or are being written to the spool.
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
    /// Spans that are in the database, or will be once everything is replayed.
    pub fn acknowledged(&self) -> u64 {
        (self.stored + self.spooled).saturating_sub(self.revoked)
    }

    /// Spans that are neither stored, spooled nor lost: under way, or waiting in memory.
    pub fn in_flight(&self) -> u64 {
        let done = self.stored + self.spooled + self.rejected + self.dropped + self.refused;
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
        let Some(store) = self.store()? else { return Ok(ExporterHealth::default()) };
        let store = self.run(async move { store.health_check().await }).await?;
        Ok(ExporterHealth { store, exporter: self.status() })
    }

    /// Looks whether spans can be stored, through the exporter's own connections.
    ///
    /// # Errors
    /// What keeps them from being stored; [`Error::Shutdown`].
    #[cfg(feature = "serve")]
    pub(crate) async fn check_writing(&self) -> Result<()> {
        let Some(store) = self.store()? else { return Ok(()) };
        self.run(async move { store.check_writing().await }).await?
    }

    /// Why a batch is refused that its sender keeps, while nothing is tried.
    #[cfg(feature = "serve")]
    pub(crate) fn refusing(&self) -> Option<String> {
        let shared = self.shared.upgrade()?;
        let delivery = shared.delivery.as_ref().filter(|delivery| delivery.is_refusing())?;
        let reason = delivery.outage.reason().unwrap_or_default();
        Some(format!(
            "what is received is refused for up to half a minute, since batches have failed and no spool takes them \
             (spool_dir): {reason}"
        ))
    }

    /// Lets the next batch through: the database, which was away, is seen to be back.
    #[cfg(feature = "serve")]
    pub(crate) fn try_at_once(&self) {
        if let Some(shared) = self.shared.upgrade()
            && let Some(delivery) = &shared.delivery
        {
            delivery.try_at_once();
        }
    }

    /// `None` where it stores nothing.
    fn store(&self) -> Result<Option<TraceStore>> {
        let shared = self.shared.upgrade().ok_or(Error::Shutdown)?;
        Ok(shared.delivery.as_ref().map(|delivery| delivery.store().clone()))
    }

    /// Runs in the exporter's runtime, where its connections are.
    async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let task = {
            let shared = self.shared.upgrade().ok_or(Error::Shutdown)?;
            shared.runtime.spawn(task).map_err(|_| Error::Shutdown)?
        };
        tokio::task::unconstrained(task).await.map_err(|_| Error::Shutdown)
    }
}

impl std::fmt::Debug for ExporterHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ExporterHandle").field("status", &self.status()).finish()
    }
}

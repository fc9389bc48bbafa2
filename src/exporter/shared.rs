//! What the exporter shares with its processor and its handles: flush, shutdown, status.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::metrics::Meter;
use opentelemetry::otel_debug;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use super::delivery::Delivery;
use super::handle::{ExporterStatus, LastStatus};
use super::metrics::Metrics;
use super::runtime::OwnedRuntime;
use crate::error::Error;

/// How long a shutdown waits for the model to end what it is computing, which takes a tenth of it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest time that a shutdown is given: no moment lies further ahead than the clock can say.
pub(super) const LONGEST_SHUTDOWN: Duration = Duration::from_secs(24 * 3600);

/// What the exporter shares with its processor.
pub(super) struct Shared {
    /// `None` when the setting `enabled` is off.
    pub(super) delivery: Option<Arc<Delivery>>,
    pub(super) runtime: OwnedRuntime,
    pub(super) is_shut_down: AtomicBool,
    /// The meter that the builder was given; otherwise the global provider's is taken at the first export.
    pub(super) meter: Option<Meter>,
    pub(super) metrics: OnceLock<Metrics>,
    /// For handles that outlive the exporter.
    pub(super) last: Arc<LastStatus>,
    /// When a shutdown that has been announced has to be over.
    pub(super) end: OnceLock<Instant>,
    /// What the shutdown lost, and why.
    pub(super) loss: OnceLock<String>,
    pub(super) flush_timeout: Duration,
}

impl Shared {
    /// Waits, on whatever thread, until what this process has in memory and in the spool is stored, and then for the
    /// embeddings.
    pub(super) fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        let delivery = Arc::clone(delivery);
        let flush = async move {
            let left = delivery.drained().await;
            delivery.store().flush_if_used().await.map(|()| left)
        };
        match self.wait_for(timeout, flush)? {
            Some(Ok(0)) => Ok(()),
            Some(Ok(left)) => Err(OTelSdkError::InternalFailure(format!(
                "{left} spans wait: their batches fail while others are stored (the event SpanExporter.BatchPassedOver \
                 says why)"
            ))),
            Some(Err(error)) => Err(failed(&error)),
            // A shutdown ends what waits, long before its time is over.
            None if self.is_shut_down.load(Ordering::Acquire) => Err(OTelSdkError::AlreadyShutdown),
            None => Err(OTelSdkError::Timeout(timeout)),
        }
    }

    /// Limits the exports that are under way, and those that come, to a time.
    pub(super) fn end_exports(&self, by: Instant) {
        if let Some(delivery) = &self.delivery {
            delivery.end_by(by);
        }
    }

    /// Limits the shutdown that follows to a time, whatever the processor grants it.
    pub(super) fn shut_down_by(&self, end: Instant) {
        // The first announcement counts.
        let _ = self.end.set(end);
    }

    pub(super) fn shut_down(&self, timeout: Duration) -> OTelSdkResult {
        if self.is_shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let timeout = timeout.min(LONGEST_SHUTDOWN);
        let timeout = self.end.get().map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
        let end = Instant::now() + timeout;
        if let Some(delivery) = &self.delivery
            && let Some(loss) = self.settle(delivery, timeout)?
        {
            // Only the first shutdown comes here.
            let _ = self.loss.set(loss);
        }
        self.close(end.saturating_duration_since(Instant::now()).min(CLOSE_TIMEOUT));
        self.runtime.shut_down();
        self.outcome()
    }

    /// Whether the shutdown lost spans.
    pub(super) fn outcome(&self) -> OTelSdkResult {
        match self.loss.get() {
            None => Ok(()),
            Some(loss) => Err(OTelSdkError::InternalFailure(loss.clone())),
        }
    }

    /// Stores what waits, or else spools it, within a time; returns what is lost, if anything is, and why.
    fn settle(&self, delivery: &Arc<Delivery>, timeout: Duration) -> Result<Option<String>, OTelSdkError> {
        // What is left for the spool and the model.
        let reserve = (timeout / 4).min(CLOSE_TIMEOUT);
        let reserve = (reserve + delivery.held.evacuation_time()).min(timeout / 2);
        let end = Instant::now() + (timeout - reserve);
        delivery.end_by(end);
        let evacuated = Instant::now() + timeout;
        // Whoever comes next embeds what is left, and the SDK's own processor has spent some of this time on the exports
        // before: its shutdown would fail though nothing is lost.
        let embedded = if self.end.get().is_some() { end } else { end.min(Instant::now() + timeout / 2) };
        let settling = Arc::clone(delivery);
        let settle = async move {
            let stored = async {
                if !settling.breaker.is_closed() {
                    settling.held.evacuate(evacuated.into()).await;
                }
                settling.returned().await;
                settling.drained_as_far_as_it_goes().await;
                let embedding = tokio::time::timeout_at(embedded.into(), settling.store().flush_if_used());
                embedding.await.unwrap_or(Ok(()))
            };
            if let Ok(Err(error)) = tokio::time::timeout_at(end.into(), stored).await {
                // The spans are stored: whoever comes next embeds what is left.
                otel_debug!(name: "SpanExporter.ShutdownBeforeEmbedding", reason = error.to_string());
            }
            // Exports under way see the end too, and put their batches where they can.
            let _ = tokio::time::timeout(reserve / 4, settling.returned()).await;
            let is_time_enough = settling.held.evacuate(evacuated.into()).await;
            settling.held.look(evacuated.into()).await;
            is_time_enough
        };
        // Whether it came to its end or not, what is in memory now is lost.
        let is_time_enough = self.wait_for(timeout, settle)?.unwrap_or(false);
        let lost = delivery.abandon();
        let why = match (delivery.held.is_durable(), is_time_enough) {
            (false, _) => "and there is no spool for them (spool_dir)".to_owned(),
            (true, true) => "and the spool did not take them (spool_mebibytes)".to_owned(),
            (true, false) => {
                format!("and the {} s of the shutdown were too short to spool them", timeout.as_secs_f64())
            }
        };
        Ok((lost > 0).then(|| {
            format!("{lost} spans are lost: the database did not take them before the exporter was shut down, {why}")
        }))
    }

    /// What the exporter has done up to now.
    pub(super) fn status(&self) -> ExporterStatus {
        let Some(delivery) = &self.delivery else { return ExporterStatus::default() };
        let counts = &delivery.counts;
        let (breaker, failures, breaker_opened) = delivery.breaker.status();
        let (waiting, queue_bytes) = delivery.held.queue_usage();
        ExporterStatus {
            stored: counts.stored.get(),
            spooled: counts.spooled.get(),
            replayed: counts.replayed.get(),
            rejected: counts.rejected.get(),
            dropped: counts.dropped.get(),
            refused: counts.refused.get(),
            revoked: counts.revoked.get() + delivery.held.lost_in_spool(),
            waiting,
            queue_bytes,
            spool: delivery.held.spool_usage(),
            breaker,
            failures,
            breaker_opened,
            store: delivery.store().activity(),
            last_error: delivery.outage.reason(),
            // Read last, so that no span is seen at its end before it was received.
            received: counts.received.get(),
        }
    }

    /// Ends the embedding, so that the model does not run while the process exits.
    fn close(&self, timeout: Duration) {
        if let Some(delivery) = &self.delivery {
            let store = delivery.store().clone();
            // A time-out leaves the model running, as dropping the exporter without a shutdown does.
            let _ = self.wait_for(timeout, async move { store.close().await });
        }
    }

    /// Runs a task on the exporter's runtime and waits for it on whatever thread; `None` after the time.
    fn wait_for<T: Send + 'static>(
        &self,
        timeout: Duration,
        task: impl Future<Output = T> + Send + 'static,
    ) -> std::result::Result<Option<T>, OTelSdkError> {
        let (done, wait) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            // Nobody listens any more once the time is over.
            let _ = done.send(task.await);
        })?;
        Ok(wait.recv_timeout(timeout).ok())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.store().stop_backfill();
            delivery.abandon();
        }
        self.last.set(self.status());
    }
}

/// An error as the SDK has it.
pub(super) fn failed(error: &Error) -> OTelSdkError {
    match error {
        Error::Shutdown => OTelSdkError::AlreadyShutdown,
        Error::Timeout { seconds, .. } => OTelSdkError::Timeout(Duration::from_secs_f64(*seconds)),
        other => OTelSdkError::InternalFailure(other.to_string()),
    }
}

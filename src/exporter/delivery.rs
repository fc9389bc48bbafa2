//! Delivering a batch: retried while it may succeed, refused at once while the circuit is open.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::otel_debug;
use tokio::time::Instant;

use super::Export;
use super::breaker::Breaker;
use crate::error::{Error, Result};
use crate::store::{Batch, Stored, TraceStore};

/// Pauses between attempts: from 100 ms, doubling with jitter, up to 5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The way of batches into the store.
pub(super) struct Delivery {
    store: TraceStore,
    breaker: Breaker,
    max_retries: u32,
    timeout: Duration,
    embedding_budget: Duration,
}

impl Delivery {
    pub(super) fn new(store: TraceStore) -> Self {
        let settings = store.settings();
        Delivery {
            breaker: Breaker::new(settings.circuit_breaker_threshold),
            max_retries: settings.max_retries,
            timeout: Duration::from_secs(settings.export_timeout_seconds),
            embedding_budget: Duration::from_millis(settings.embedding_budget_milliseconds),
            store,
        }
    }

    pub(super) fn store(&self) -> &TraceStore {
        &self.store
    }

    /// Stores a batch within `export_timeout_seconds`.
    pub(super) async fn deliver(&self, batch: Batch, export: &Export) -> Result<Stored> {
        self.breaker.admit()?;
        let deadline = Instant::now() + self.timeout;
        let result = match tokio::time::timeout_at(deadline, self.attempts(batch, export, deadline)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { doing: "an export", seconds: self.timeout.as_secs_f64() }),
        };
        self.breaker.record(result.as_ref().err());
        if let Ok(stored) = &result
            && stored.new_documents > 0
        {
            // The spans are stored. If their embeddings take longer than this, they follow behind.
            let _ = tokio::time::timeout(self.embedding_budget, self.store.flush()).await;
        }
        result
    }

    /// Attempts until one succeeds, or fails for good. Waiting for a server that cannot be reached is limited by the
    /// deadline alone: a service may start before its database.
    async fn attempts(&self, mut batch: Batch, export: &Export, deadline: Instant) -> Result<Stored> {
        let mut pauses = pauses();
        let mut retries = 0;
        loop {
            let error = match self.store.send(&batch).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            let unreachable = matches!(error, Error::Connect { .. });
            retries += u32::from(!unreachable);
            let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
            if !error.is_transient() || retries > self.max_retries || Instant::now() + pause >= deadline {
                return Err(error);
            }
            otel_debug!(name: "SpanExporter.Retry", pause_ms = pause.as_millis() as u64, reason = error.to_string());
            tokio::time::sleep(pause).await;
            // The documents that were known may be gone: the server may be another one by now.
            batch = export.split(&self.store)?;
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_multiplier(2.0)
        .with_randomization_factor(0.3)
        .with_max_interval(LONGEST_PAUSE)
        .with_max_elapsed_time(None)
        .build()
}

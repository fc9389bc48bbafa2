//! Delivering a batch: retried while it may succeed, taken apart where a span of it is refused, and held where the
//! database does not take it in time.

use std::ops::Range;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::{otel_debug, otel_error, otel_warn};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::breaker::Breaker;
use super::counts::Counts;
use super::held::{Held, Kept};
use super::outage::Outage;
use super::parcel::Parcel;
use super::source::Source;
use crate::error::{Error, ErrorClass, Result};
use crate::store::{Stored, TraceStore};

/// Pauses between attempts: from 100 ms, doubling with jitter, up to 5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The way of batches into the store.
pub(super) struct Delivery {
    store: TraceStore,
    pub(super) breaker: Breaker,
    pub(super) held: Held,
    pub(super) counts: Counts,
    pub(super) outage: Outage,
    /// Ends the courier's wait for the circuit breaker.
    pub(super) probe: Notify,
    /// Exports that have not returned.
    under_way: watch::Sender<usize>,
    /// When the exporter shuts down: until when it may deliver.
    end: watch::Sender<Option<Instant>>,
    max_retries: u32,
    /// How long a batch may take with its retries.
    pub(super) timeout: Duration,
    /// How long an export waits for it.
    hand_over: Duration,
    embedding_budget: Duration,
}

/// Where an exported batch is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Stored,
    Spooled,
}

/// What became of a batch that the database took, but for the spans it refused.
#[derive(Default)]
pub(super) struct Landed {
    pub(super) stored: u64,
    new_documents: usize,
    /// Refused spans, each a batch of its own.
    rejected: Vec<(Parcel, Error)>,
}

impl Landed {
    fn add(&mut self, stored: Stored) {
        self.stored += stored.spans as u64;
        self.new_documents += stored.new_documents;
    }
}

impl Delivery {
    pub(super) fn new(store: TraceStore) -> Result<Self> {
        let settings = store.settings();
        let timeout = Duration::from_secs(settings.export_timeout_seconds);
        Ok(Delivery {
            breaker: Breaker::new(settings.circuit_breaker_threshold),
            held: Held::new(settings)?,
            counts: Counts::default(),
            outage: Outage::default(),
            probe: Notify::new(),
            under_way: watch::Sender::new(0),
            end: watch::Sender::new(None),
            max_retries: settings.max_retries,
            timeout,
            hand_over: timeout.min(Duration::from_secs(settings.hand_over_seconds)),
            embedding_budget: Duration::from_millis(settings.embedding_budget_milliseconds),
            store,
        })
    }

    pub(super) fn store(&self) -> &TraceStore {
        &self.store
    }

    /// Stores an exported batch, or spools it; an error says whether it waits in memory or is lost.
    pub(super) async fn deliver(&self, source: &Source) -> Result<Delivered> {
        // What waits already has the next try, so that no export is delayed by it.
        let admitted = match self.breaker.is_closed() || self.held.is_empty() {
            true => self.breaker.admit(),
            false => Err(Error::CircuitOpen { seconds: 0.0 }),
        };
        let attempt = match admitted {
            Ok(()) => self.land_within(self.hand_over, source).await,
            Err(open) => Err(open),
        };
        match attempt {
            Ok(landed) => {
                self.counts.stored.add(landed.stored);
                let new_documents = landed.new_documents > 0;
                self.finish(source, landed).await?;
                if new_documents {
                    // The spans are stored. If their embeddings take longer than this, they follow behind.
                    let _ = tokio::time::timeout(self.embedding_budget, self.store.flush()).await;
                }
                Ok(Delivered::Stored)
            }
            Err(error) => self.hold(source, error).await,
        }
    }

    /// Tries a batch for a time. A database that does not answer within it is left alone for a while.
    pub(super) async fn land_within(&self, limit: Duration, source: &Source) -> Result<Landed> {
        let begin = Instant::now();
        tokio::select! {
            landed = self.land(source) => return landed,
            () = tokio::time::sleep(limit) => {}
            () = self.ended() => {}
        }
        let error = Error::Timeout { doing: "storing a batch", seconds: begin.elapsed().as_secs_f64() };
        self.breaker.stalled(&error);
        // Connections of the pool may be as silent as this one.
        self.store.forget();
        Err(error)
    }

    /// Stores a batch. Where the database refuses its data, its halves are tried, and so on down to the span.
    async fn land(&self, source: &Source) -> Result<Landed> {
        let mut landed = Landed::default();
        if self.outlived_the_ledger(source).await? {
            landed.stored = source.len() as u64;
            return Ok(landed);
        }
        let refused = match self.attempts(source, source.id(), 0..source.len()).await {
            Ok(stored) => {
                landed.add(stored);
                return Ok(landed);
            }
            Err(error) if error.class() == ErrorClass::Data => error,
            Err(error) => return Err(error),
        };
        // The order of the packed spans is that of every later attempt, so a part is the same spans each time.
        let packed = Source::Parcel(source.parcel(&self.store, source.id(), 0..source.len())?);
        let mut parts = vec![(source.id(), 0..source.len(), refused)];
        while let Some((id, part, error)) = parts.pop() {
            if part.len() <= 1 {
                landed.rejected.push((packed.parcel(&self.store, id, part)?, error));
                continue;
            }
            let middle = part.start + part.len() / 2;
            for half in [part.start..middle, middle..part.end] {
                let id = part_id(source.id(), half.start, half.end);
                match self.attempts(&packed, id, half.clone()).await {
                    Ok(stored) => landed.add(stored),
                    Err(error) if error.class() == ErrorClass::Data => parts.push((id, half, error)),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(landed)
    }

    /// Whether a batch has waited for longer than the ledger remembers, and is stored all the same: its first span tells.
    async fn outlived_the_ledger(&self, source: &Source) -> Result<bool> {
        let remembered = DAY * u32::from(self.store.settings().ledger_days.saturating_sub(1));
        if source.age().is_none_or(|age| age < remembered) {
            return Ok(false);
        }
        let Some((trace_id, span_id)) = source.first_span()? else { return Ok(false) };
        let stored = self.store.has_span(trace_id, span_id).await;
        if let Err(error) = &stored {
            self.breaker.record(Some(error));
        }
        stored
    }

    /// Attempts until one succeeds, or fails for good.
    async fn attempts(&self, source: &Source, id: Uuid, part: Range<usize>) -> Result<Stored> {
        let mut pauses = pauses();
        let mut retries = 0;
        loop {
            // Split anew: the documents that were known may be gone, as the server may be another one by now.
            let batch = source.split(&self.store, id, part.clone())?;
            let result = self.store.send(&batch).await;
            self.breaker.record(result.as_ref().err());
            let error = match result {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !error.is_transient() || retries >= self.max_retries || !self.breaker.is_closed() {
                return Err(error);
            }
            retries += 1;
            let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
            otel_debug!(name: "SpanExporter.Retry", pause_ms = pause.as_millis() as u64, reason = error.to_string());
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes note of a batch that landed, and sets the spans aside that were refused.
    ///
    /// # Errors
    /// [`Error::Rejected`] when such spans are lost.
    pub(super) async fn finish(&self, source: &Source, landed: Landed) -> Result<()> {
        self.outage.ended(|| self.summary());
        let Some((_, first)) = landed.rejected.first() else { return Ok(()) };
        let (spans, reason) = (landed.rejected.len(), first.to_string());
        self.counts.rejected.add(spans as u64);
        let mut lost = 0;
        for (parcel, error) in landed.rejected {
            let aside = self.held.reject(parcel, error.to_string()).await;
            lost += u64::from(!matches!(aside, Ok(true)));
        }
        otel_warn!(
            name: "SpanExporter.SpansRejected",
            spans = spans as u64,
            lost = lost,
            reason = reason.as_str()
        );
        if lost == 0 { Ok(()) } else { Err(Error::Rejected { spans, of: source.len(), reason }) }
    }

    /// Keeps a batch that could not be stored.
    async fn hold(&self, source: &Source, error: Error) -> Result<Delivered> {
        let parcel = source.parcel(&self.store, source.id(), 0..source.len())?;
        let spans = source.len();
        let keeping = self.held.keep(parcel, self.timeout).await;
        self.outage.failed(&error, || self.summary());
        let reason = keeping.failure.unwrap_or_else(|| error.to_string());
        self.dropped(keeping.dropped, &reason);
        match keeping.kept {
            Some(Kept::Spooled) => {
                self.counts.spooled.add(spans as u64);
                Ok(Delivered::Spooled)
            }
            Some(Kept::Queued) => Err(Error::Held { spans, reason: error.to_string() }),
            None => Err(Error::Dropped { spans, reason }),
        }
    }

    /// Counts spans that are lost, and says so.
    pub(super) fn dropped(&self, spans: u64, reason: &str) {
        if spans > 0 {
            self.counts.dropped.add(spans);
            self.outage.dropped(spans, reason);
        }
    }

    /// What waits and what is lost, for the log.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            waiting: self.held.queue_usage().0,
            spooled: self.held.spool_usage().spans,
            dropped: self.counts.dropped.get(),
        }
    }

    /// Waits until no export is under way.
    pub(super) async fn returned(&self) {
        // The sender lives as long as this delivery.
        let _ = self.under_way.subscribe().wait_for(|exports| *exports == 0).await;
    }

    /// Limits everything that is under way to a time.
    pub(super) fn end_by(&self, deadline: std::time::Instant) {
        self.end.send_replace(Some(deadline.into()));
        self.probe.notify_one();
    }

    async fn ended(&self) {
        let mut end = self.end.subscribe();
        // The sender lives as long as this delivery.
        if let Ok(deadline) = end.wait_for(Option::is_some).await.map(|deadline| *deadline)
            && let Some(deadline) = deadline
        {
            tokio::time::sleep_until(deadline).await;
        } else {
            std::future::pending().await
        }
    }

    /// Waits until nothing is held any more; tries at once, whatever the circuit breaker says.
    pub(super) async fn drained(&self) {
        self.breaker.end_cool_down();
        self.probe.notify_one();
        self.held.emptied().await;
    }

    /// Gives up what waits in memory; returns how many spans that is.
    pub(super) fn abandon(&self) -> u64 {
        let lost = self.held.abandon();
        self.lost_at_the_end(lost);
        lost
    }

    fn lost_at_the_end(&self, spans: u64) {
        if spans > 0 {
            self.counts.dropped.add(spans);
            otel_error!(name: "SpanExporter.SpansDroppedAtShutdown", spans = spans);
        }
    }

    /// Moves what waits in memory to the spool; what has no room there is lost, and its number is returned.
    pub(super) async fn evacuate(&self) -> u64 {
        let evacuated = self.held.evacuate(self.timeout).await;
        self.counts.spooled.add(evacuated.spooled);
        self.lost_at_the_end(evacuated.dropped);
        evacuated.dropped
    }
}

/// Counts an export for as long as it has not returned.
pub(super) struct UnderWay<'a>(&'a Delivery);

impl<'a> UnderWay<'a> {
    pub(super) fn new(delivery: &'a Delivery) -> Self {
        delivery.under_way.send_modify(|exports| *exports += 1);
        UnderWay(delivery)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|exports| *exports -= 1);
    }
}

/// What waits and what is lost, in spans.
pub(super) struct Summary {
    pub waiting: u64,
    pub spooled: u64,
    pub dropped: u64,
}

/// The id of a part of a batch: always the same one for the same part, so that it is stored once as well.
fn part_id(batch: Uuid, start: usize, end: usize) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"opentelemetry-pgvector part of a batch").update(batch.as_bytes());
    hasher.update(&(start as u64).to_le_bytes()).update(&(end as u64).to_le_bytes());
    let mut bytes = *batch.as_bytes();
    // The version and the time stay, by which the ledger is pruned.
    let mut hash = [0; 8];
    hasher.finalize_xof().fill(&mut hash);
    bytes[8..].copy_from_slice(&hash);
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_an_id_of_its_own_with_the_time_of_its_batch() {
        let batch = Uuid::now_v7();
        let part = part_id(batch, 0, 5);
        assert_eq!(part, part_id(batch, 0, 5));
        assert_ne!(part, part_id(batch, 5, 10));
        assert_eq!((part.get_version_num(), part.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(part.as_bytes()[..8], batch.as_bytes()[..8]);
    }
}

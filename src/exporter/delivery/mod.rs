//! Delivering a batch: stored, with refused spans set aside, or held where the database does not take it in time.

mod land;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::otel_error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(super) use land::{Attempt, Landed, Progress};

use super::breaker::{Breaker, BreakerState};
use super::counts::{Counts, Uncounted};
use super::held::{Held, Kept, Next};
use super::outage::Outage;
use super::parcel::Parcel;
use super::source::Source;
use crate::error::{Error, ErrorClass, Result};
use crate::store::TraceStore;

/// What is left of `export_timeout_seconds` for the spool when the database has not answered.
const SPOOL_SHARE: u32 = 4;

/// What is left of it for the answer to a sender that waits.
const ANSWER_SHARE: u32 = 10;

/// The way of batches into the store.
pub(super) struct Delivery {
    store: TraceStore,
    pub(super) breaker: Breaker,
    pub(super) held: Arc<Held>,
    pub(super) counts: Arc<Counts>,
    pub(super) outage: Arc<Outage>,
    /// Ends the courier's wait for the circuit breaker, and the rests of batches.
    pub(super) probe: Notify,
    /// Exports that have not returned.
    under_way: watch::Sender<usize>,
    /// When the exporter shuts down: until when it may deliver.
    end: watch::Sender<Option<Instant>>,
    max_retries: u32,
    /// How long a batch may take with its retries, and an export with all that becomes of its batch.
    pub(super) timeout: Duration,
    /// How long an export waits for the database.
    hand_over: Duration,
    embedding_budget: Duration,
}

/// Where an exported batch is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Stored,
    Spooled,
}

impl Delivery {
    pub(super) fn new(store: TraceStore) -> Result<Self> {
        let settings = store.settings();
        let timeout = Duration::from_secs(settings.export_timeout_seconds);
        let for_the_spool = settings.spool_dir.as_ref().map_or(Duration::ZERO, |_| timeout / SPOOL_SHARE);
        let (counts, outage) = (Arc::default(), Arc::default());
        Ok(Delivery {
            breaker: Breaker::new(settings.circuit_breaker_threshold),
            held: Arc::new(Held::new(settings, &counts, &outage)?),
            counts,
            outage,
            probe: Notify::new(),
            under_way: watch::Sender::new(0),
            end: watch::Sender::new(None),
            max_retries: settings.max_retries,
            timeout,
            hand_over: Duration::from_secs(settings.hand_over_seconds).min(timeout - for_the_spool),
            embedding_budget: Duration::from_millis(settings.embedding_budget_milliseconds),
            store,
        })
    }

    pub(super) fn store(&self) -> &TraceStore {
        &self.store
    }

    /// Stores an exported batch, or spools it; an error says whether it waits in memory or is lost. All of it together
    /// takes at most `export_timeout_seconds`.
    pub(super) async fn deliver(&self, source: &Source, mut spans: Uncounted) -> Result<Delivered> {
        let deadline = Instant::now() + self.timeout;
        // What waits already has the next try, so that no export is delayed by it.
        let admitted = match self.breaker.is_closed() || self.held.has_only_suspects(self.breaker.landed()) {
            true => self.breaker.admit(),
            false => Err(Error::CircuitOpen { seconds: 0.0 }),
        };
        let attempt = match admitted {
            Ok(()) => {
                self.land_within(self.patience(source), source, Attempt::Usual, &mut Progress::default())
                    .await
            }
            Err(open) => Err(open),
        };
        match attempt {
            Ok(landed) => {
                spans.count(|counts| &counts.stored, landed.stored);
                spans.count(|counts| &counts.rejected, landed.refused.len() as u64);
                self.outage.ended(|| self.summary());
                let new_documents = landed.new_documents > 0;
                self.reject(source.len(), landed.refused, deadline).await?;
                if new_documents {
                    // The spans are stored. If their embeddings take longer than this, they follow behind.
                    let limit = deadline.min(Instant::now() + self.embedding_budget);
                    let _ = tokio::time::timeout_at(limit, self.store.flush()).await;
                }
                Ok(Delivered::Stored)
            }
            Err(error) if error.class() == ErrorClass::Data => {
                let parcel = source.parcel(&self.store, source.id(), 0..source.len())?;
                spans.count(|counts| &counts.rejected, source.len() as u64);
                self.reject(source.len(), vec![(parcel, error)], deadline).await?;
                Ok(Delivered::Spooled)
            }
            Err(error) => {
                self.outage.failed(&error, || self.summary());
                // Its sender sends it again under the same id, so it waits here on disk or not at all.
                if source.is_kept_by_its_sender() && !self.held.is_durable() {
                    spans.count(|counts| &counts.refused, source.len() as u64);
                    return Err(error);
                }
                let parcel = source.parcel(&self.store, source.id(), 0..source.len())?;
                if source.is_kept_by_its_sender() {
                    return match self.held.spool(parcel, spans, deadline).await {
                        true => Ok(Delivered::Spooled),
                        false => Err(error),
                    };
                }
                let reason = error.to_string();
                match self.held.keep(parcel, spans, reason.clone(), deadline).await {
                    Kept::Spooled => Ok(Delivered::Spooled),
                    Kept::Queued => Err(Error::Held { spans: source.len(), reason }),
                    Kept::Lost(reason) => Err(Error::Dropped { spans: source.len(), reason }),
                }
            }
        }
    }

    /// How long an export waits for the database. A sender that keeps its batch waits with it, and nothing is handed over
    /// where there is no spool.
    fn patience(&self, source: &Source) -> Duration {
        match source.is_kept_by_its_sender() && !self.held.is_durable() {
            true => self.timeout - self.timeout / ANSWER_SHARE,
            false => self.hand_over,
        }
    }

    /// Takes note of a batch of the courier that landed, and sets the spans aside that were refused.
    pub(super) async fn settle(&self, next: Next, landed: Landed, progress: &Progress) {
        self.outage.ended(|| self.summary());
        let spans = next.parcel().spans as usize;
        let refused = progress.set_aside + landed.refused.len() as u64;
        // The log names what is lost; nobody else waits for it.
        let _ = self.reject(spans, landed.refused, Instant::now() + self.timeout).await;
        self.held.landed(next, landed.stored, refused).await;
    }

    /// Sets the spans aside that an attempt of the courier found refused before it was broken off.
    pub(super) async fn settle_refused(&self, next: &Next, progress: &mut Progress) {
        let refused = std::mem::take(&mut progress.landed.refused);
        progress.set_aside += refused.len() as u64;
        // As above.
        let _ = self.reject(next.parcel().spans as usize, refused, Instant::now() + self.timeout).await;
    }

    /// Sets a batch of the courier aside at which every attempt fails.
    pub(super) async fn set_aside(&self, next: Next, error: &Error) {
        let parcel = next.parcel().clone();
        let spans = parcel.spans;
        let refused = vec![(parcel, Error::Corrupt(error.to_string()))];
        // As above.
        let _ = self.reject(spans as usize, refused, Instant::now() + self.timeout).await;
        self.held.landed(next, 0, spans.into()).await;
    }

    /// Sets refused spans of a batch aside.
    ///
    /// # Errors
    /// [`Error::Rejected`] when some of them are lost.
    async fn reject(&self, of: usize, refused: Vec<(Parcel, Error)>, deadline: Instant) -> Result<()> {
        let Some((_, first)) = refused.first() else { return Ok(()) };
        let reason = first.to_string();
        let spans = refused.iter().map(|(parcel, _)| u64::from(parcel.spans)).sum();
        let refused = refused.into_iter().map(|(parcel, error)| (parcel, error.to_string())).collect();
        let lost = self.held.reject(refused, deadline).await;
        self.outage.rejected(spans, lost, &reason);
        if lost == 0 { Ok(()) } else { Err(Error::Rejected { spans: spans as usize, of, reason }) }
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

    /// Waits until what this process has exported is stored, but for batches that fail by themselves, once tried anew; how
    /// many spans these have. Tries at once, whatever the circuit breaker says.
    pub(super) async fn drained(&self) -> u64 {
        let since = std::time::Instant::now();
        self.try_at_once();
        self.held.settled(&self.breaker, since).await
    }

    /// As [`drained`](Self::drained), but what is in the spool is durable: it is not waited for while the database is away.
    pub(super) async fn drained_as_far_as_it_goes(&self) {
        let is_away = || self.breaker.status().0 == BreakerState::Open && self.held.is_memory_empty();
        tokio::select! {
            biased;
            _ = self.drained() => {}
            () = self.held.wait_until(is_away) => {}
        }
    }

    /// Whether a batch that its sender keeps is refused at once: nothing is tried, and nothing can be spooled.
    #[cfg(feature = "serve")]
    pub(super) fn is_refusing(&self) -> bool {
        !self.held.is_durable() && self.breaker.status().0 == BreakerState::Open
    }

    /// Tries what waits, and what comes next, whatever the circuit breaker says.
    pub(super) fn try_at_once(&self) {
        self.held.resting().end();
        self.breaker.end_cool_down();
        self.probe.notify_one();
    }

    /// Gives up what waits in memory; returns how many spans that costs.
    pub(super) fn abandon(&self) -> u64 {
        let lost = self.held.abandon();
        self.outage.tell_the_rest();
        if lost > 0 {
            otel_error!(name: "SpanExporter.SpansDroppedAtShutdown", spans = lost);
        }
        lost
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

#[cfg(all(test, feature = "serve"))]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_its_sender_keeps_does_not_wait_in_memory_beside_a_spool_that_does_not_take_it() {
        use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};

        let folder = tempfile::tempdir().expect("a folder");
        let settings = crate::settings::Settings {
            connection_string: "host=127.0.0.1 port=1 user=nobody dbname=nowhere".into(),
            max_retries: 1,
            spool_dir: Some(folder.path().to_owned()),
            spool_mebibytes: 1,
            ..Default::default()
        };
        let delivery = Delivery::new(TraceStore::new(settings).expect("valid")).expect("a delivery");
        let received = |spans: usize| {
            let scope = ScopeSpans { spans: vec![Span::default(); spans], ..ScopeSpans::default() };
            let resource_spans = vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }];
            Source::Received { id: Uuid::from_u128(7), traces: TracesData { resource_spans }, spans }
        };
        // Larger than the spool.
        let large = received(60_000);
        for _ in 0..3 {
            let spans = Uncounted::new(&delivery.counts, 60_000);
            assert!(delivery.deliver(&large, spans).await.is_err());
        }
        let counts = &delivery.counts;
        assert_eq!((counts.refused.get(), counts.dropped.get()), (180_000, 0));
        assert_eq!(delivery.held.queue_usage(), (0, 0));
        let spans = Uncounted::new(counts, 1);
        assert_eq!(delivery.deliver(&received(1), spans).await.expect("it has room"), Delivered::Spooled);
        assert_eq!(counts.spooled.get(), 1);
    }
}

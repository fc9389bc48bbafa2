//! Delivering a batch: retried while it may succeed, taken apart where a span of it is refused, and held where the
//! database does not take it in time.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use futures_util::FutureExt;
use opentelemetry::{otel_debug, otel_error};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::breaker::{Breaker, BreakerState};
use super::counts::{Counts, Uncounted};
use super::held::{Held, Kept, Next};
use super::outage::Outage;
use super::parcel::Parcel;
use super::source::Source;
use crate::error::{Error, ErrorClass, Result};
use crate::store::{Stored, TraceStore};

/// Pauses between attempts: from 100 ms, doubling with jitter, up to 5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// Whose attempt it is to store a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Usual,
    /// The batch fails while others land: its failures say little of the database.
    OfSuspect,
}

/// What became of a batch that the database took, but for the spans it refused.
#[derive(Default)]
pub(super) struct Landed {
    stored: u64,
    new_documents: usize,
    /// Refused spans, each a batch of its own.
    refused: Vec<(Parcel, Error)>,
}

/// How far a batch is: what attempts that were broken off have found out.
#[derive(Default)]
pub(super) struct Progress {
    landed: Landed,
    /// Refused spans that are set aside already.
    set_aside: u64,
    /// The parts that are left, the next one last; none before the first attempt.
    left: Vec<(Uuid, Range<usize>)>,
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

    /// Tries a batch for a time. A database that answers nothing and nobody within it is left alone for a while.
    ///
    /// # Errors
    /// Of class [`ErrorClass::Data`] where no attempt at this batch can ever succeed.
    pub(super) async fn land_within(
        &self,
        limit: Duration,
        source: &Source,
        attempt: Attempt,
        progress: &mut Progress,
    ) -> Result<Landed> {
        let (begin, answered) = (Instant::now(), self.breaker.answered());
        tokio::select! {
            landed = caught(source.id(), self.land(source, attempt, progress)) => {
                if let Err(error) = &landed && error.class() == ErrorClass::Data {
                    self.breaker.not_tried();
                }
                return landed;
            }
            () = tokio::time::sleep(limit) => {}
            () = self.ended() => {}
        }
        let error = Error::Timeout { doing: "storing a batch", seconds: begin.elapsed().as_secs_f64() };
        if attempt == Attempt::OfSuspect || self.breaker.answered() != answered {
            self.breaker.passed_over(&error);
        } else {
            self.breaker.stalled(&error);
            // Connections of the pool may be as silent as this one.
            self.store.forget();
        }
        Err(error)
    }

    /// Stores a batch. Where the database refuses its data, its halves are tried, and so on down to the span.
    async fn land(&self, source: &Source, attempt: Attempt, progress: &mut Progress) -> Result<Landed> {
        let missing = self.missing_after_the_ledger(source, attempt).await?;
        // The next attempt may find others missing.
        let mut of_missing = Progress::default();
        let (source, progress) = match &missing {
            Some(missing) => {
                *progress = Progress::default();
                of_missing.landed.stored = (source.len() - missing.len()) as u64;
                (missing, &mut of_missing)
            }
            None => (source, progress),
        };
        let Progress { landed, left, .. } = progress;
        if left.is_empty() {
            left.push((source.id(), 0..source.len()));
        }
        let mut packed = None;
        while let Some((id, part)) = left.last().cloned() {
            let is_whole = part.len() == source.len();
            let from = if is_whole { source } else { self.packed(source, &mut packed)? };
            match self.attempts(from, id, part.clone(), attempt).await {
                Ok(stored) if !stored.is_apart || part.len() <= 1 => {
                    landed.add(stored);
                    left.pop();
                    continue;
                }
                // An earlier attempt has begun with its halves.
                Ok(_) => {}
                Err(error) if error.class() != ErrorClass::Data => return Err(error),
                // What cannot be read cannot be taken apart either.
                Err(error @ Error::Corrupt(_)) => return Err(error),
                Err(error) if part.len() <= 1 => {
                    let parcel = self.packed(source, &mut packed)?.parcel(&self.store, id, part)?;
                    landed.refused.push((parcel, error));
                    left.pop();
                    continue;
                }
                // A part that may be stored as a whole later, as its refusal is mended, must not be: its halves are.
                Err(_) if !self.take_apart(id, attempt).await? => {
                    landed.stored += part.len() as u64;
                    left.pop();
                    continue;
                }
                Err(_) => {}
            }
            let middle = part.start + part.len() / 2;
            left.pop();
            for half in [middle..part.end, part.start..middle] {
                left.push((part_id(source.id(), half.start, half.end), half));
            }
        }
        Ok(std::mem::take(landed))
    }

    /// The batch as it waits: the order of the packed spans is that of every later attempt, so a part is the same spans
    /// each time.
    fn packed<'a>(&self, source: &Source, packed: &'a mut Option<Source>) -> Result<&'a Source> {
        match packed {
            Some(packed) => Ok(packed),
            None => {
                let parcel = source.parcel(&self.store, source.id(), 0..source.len())?;
                Ok(packed.insert(Source::Parcel(parcel)))
            }
        }
    }

    /// False when the part was stored as a whole after all.
    async fn take_apart(&self, id: Uuid, attempt: Attempt) -> Result<bool> {
        let apart = self.store.take_apart(id).await;
        if let Err(error) = &apart {
            self.record(Some(error), attempt);
        }
        apart
    }

    /// Where a batch has waited for longer than the ledger remembers: the spans of it that are not stored.
    async fn missing_after_the_ledger(&self, source: &Source, attempt: Attempt) -> Result<Option<Source>> {
        let remembered = DAY * u32::from(self.store.settings().ledger_days.saturating_sub(1));
        if source.age().is_none_or(|age| age < remembered) {
            return Ok(None);
        }
        let spans = source.span_ids()?;
        let stored = self.store.stored_of(&spans).await;
        if let Err(error) = &stored {
            self.record(Some(error), attempt);
        }
        let stored = stored?;
        let missing: Vec<usize> =
            (0..).zip(&spans).filter(|(_, ids)| !stored.contains(ids)).map(|(at, _)| at).collect();
        if missing.len() == spans.len() {
            return Ok(None);
        }
        // Another id than its own, under which the whole may be in the ledger still, and than those of its parts.
        let id = part_id(source.id(), usize::MAX, missing.len());
        source.only(id, &missing).map(Some)
    }

    fn record(&self, error: Option<&Error>, attempt: Attempt) {
        match (error, attempt) {
            (Some(error), Attempt::OfSuspect) if error.class() != ErrorClass::Data => {
                self.breaker.passed_over(error);
            }
            _ => self.breaker.record(error),
        }
    }

    /// Attempts until one succeeds, or fails for good.
    async fn attempts(
        &self,
        source: &Source,
        id: Uuid,
        part: Range<usize>,
        attempt: Attempt,
    ) -> Result<Stored> {
        let mut pauses = pauses();
        let mut retries = 0;
        loop {
            // Split anew: the documents that were known may be gone, as the server may be another one by now.
            let mut is_split = true;
            let split = || source.split(&self.store, part.clone()).inspect_err(|_| is_split = false);
            let entry = [(id, part.len() as i32)];
            let result = match attempt {
                Attempt::Usual => self.store.send(&entry, split).await,
                Attempt::OfSuspect => self.store.send_suspect(&entry, split).await,
            };
            // What cannot be split says nothing of the database.
            if !is_split {
                return result;
            }
            self.record(result.as_ref().err(), attempt);
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

    fn try_at_once(&self) {
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

/// Runs what delivers a batch: a panic, which is a defect in this crate, costs the batch and not those behind it.
pub(super) async fn caught<T>(batch: Uuid, delivering: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(delivering).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(Error::Corrupt(format!(
            "batch {batch}: a defect in opentelemetry-pgvector, please report it: {text}"
        )))
    })
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

    #[cfg(feature = "serve")]
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

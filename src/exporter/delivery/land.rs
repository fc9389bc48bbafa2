//! Landing a batch in the store: retried while it may succeed, and taken apart where a span of it is refused.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use futures_util::FutureExt;
use opentelemetry::otel_debug;
use tokio::time::Instant;
use uuid::Uuid;

use super::Delivery;
use crate::error::{Error, ErrorClass, Result};
use crate::exporter::parcel::Parcel;
use crate::exporter::source::Source;
use crate::store::Stored;

/// Pauses between attempts: from 100 ms, doubling with jitter, up to 5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whose attempt it is to store a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exporter) enum Attempt {
    Usual,
    /// The batch fails while others land: its failures say little of the database.
    OfSuspect,
}

/// What became of a batch that the database took, but for the spans it refused.
#[derive(Default)]
pub(in crate::exporter) struct Landed {
    pub(super) stored: u64,
    pub(super) new_documents: usize,
    /// Refused spans, each a batch of its own.
    pub(super) refused: Vec<(Parcel, Error)>,
}

/// How far a batch is: what attempts that were broken off have found out.
#[derive(Default)]
pub(in crate::exporter) struct Progress {
    pub(super) landed: Landed,
    /// Refused spans that are set aside already.
    pub(super) set_aside: u64,
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
    /// Tries a batch for a time. A database that answers nothing and nobody within it is left alone for a while.
    ///
    /// # Errors
    /// Of class [`ErrorClass::Data`] where no attempt at this batch can ever succeed.
    pub(in crate::exporter) async fn land_within(
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
async fn caught<T>(batch: Uuid, delivering: impl Future<Output = Result<T>>) -> Result<T> {
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

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_batch() {
        let sum: Result<u32> = caught(Uuid::nil(), async { panic!("no sum") }).await;
        let error = sum.expect_err("a panic");
        assert_eq!(error.class(), ErrorClass::Data);
        assert!(error.to_string().contains("no sum"), "{error}");
    }
}

//! Batches that wait: on disk where there is a spool, in memory otherwise.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::otel_warn;
use tokio::sync::watch;

use super::parcel::Parcel;
use super::queue::Queue;
use super::spool::{Claimed, Put, Spool, SpoolUsage};
use crate::error::{Error, Result};
use crate::settings::Settings;

/// How often the spool is looked at for batches that other processes have left.
const LOOK: Duration = Duration::from_secs(5);

/// The spool and the memory queue.
pub(super) struct Held {
    queue: Mutex<Queue>,
    spool: Option<Arc<Spool>>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

/// Where a batch waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Spooled,
    Queued,
}

/// What became of a batch that was to be kept, and of others for its sake.
pub(super) struct Keeping {
    /// `None`: it is lost.
    pub kept: Option<Kept>,
    /// How many spans are lost, this batch's or older ones'.
    pub dropped: u64,
    /// Why the spool did not take it.
    pub failure: Option<String>,
}

/// A batch that is being delivered.
pub(super) enum Next {
    Memory(Parcel),
    Disk(Claimed),
}

/// What became of the memory queue at the end, in spans.
#[derive(Default)]
pub(super) struct Evacuated {
    pub spooled: u64,
    pub dropped: u64,
}

impl Next {
    pub(super) fn parcel(&self) -> &Parcel {
        match self {
            Next::Memory(parcel) => parcel,
            Next::Disk(claimed) => claimed.parcel(),
        }
    }

    pub(super) fn is_spooled(&self) -> bool {
        matches!(self, Next::Disk(_))
    }
}

impl Held {
    /// # Errors
    /// Where the spool's folder cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        const MEBIBYTE: u64 = 1 << 20;
        let when_full = settings.when_full;
        let spool = match &settings.spool_dir {
            Some(folder) => {
                Some(Arc::new(Spool::open(folder, settings.spool_mebibytes * MEBIBYTE, when_full)?))
            }
            None => None,
        };
        Ok(Held {
            queue: Mutex::new(Queue::new(settings.queue_mebibytes * MEBIBYTE, when_full)),
            spool,
            changes: watch::Sender::new(0),
        })
    }

    /// Keeps a batch, durably if it can.
    pub(super) async fn keep(&self, parcel: Parcel, limit: Duration) -> Keeping {
        let mut keeping = Keeping { kept: None, dropped: 0, failure: None };
        match self.put(parcel.clone(), limit).await {
            Some(Ok(Put::Stored { dropped })) => {
                (keeping.kept, keeping.dropped) = (Some(Kept::Spooled), dropped.spans);
            }
            other => {
                match other {
                    Some(Ok(Put::Full { reason, dropped })) => {
                        keeping.dropped = dropped.spans;
                        keeping.failure = Some(reason);
                    }
                    Some(Err(error)) => keeping.failure = Some(error.to_string()),
                    _ => {}
                }
                let dropped = self.queue().push(parcel.clone());
                let lost = dropped.iter().any(|dropped| dropped.id == parcel.id);
                keeping.kept = (!lost).then_some(Kept::Queued);
                keeping.dropped += dropped.iter().map(|dropped| u64::from(dropped.spans)).sum::<u64>();
            }
        }
        self.changed();
        keeping
    }

    /// Writes a batch to the spool; `None` without one.
    async fn put(&self, parcel: Parcel, limit: Duration) -> Option<Result<Put>> {
        let spool = Arc::clone(self.spool.as_ref()?);
        let writing = blocking("writing to the spool", move || spool.put(&parcel));
        Some(match tokio::time::timeout(limit, writing).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { doing: "writing to the spool", seconds: limit.as_secs_f64() }),
        })
    }

    /// Sets a refused span aside; false without a spool.
    pub(super) async fn reject(&self, parcel: Parcel, reason: String) -> Result<bool> {
        let Some(spool) = self.spool.clone() else { return Ok(false) };
        blocking("writing to the spool", move || spool.reject(&parcel, &reason)).await?;
        Ok(true)
    }

    /// The next batch to deliver, once there is one: from memory first, as it lasts less long there.
    pub(super) async fn next(&self) -> Next {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(parcel) = self.queue().take_in_hand() {
                return Next::Memory(parcel);
            }
            if let Some(spool) = self.spool.clone() {
                match blocking("reading the spool", move || spool.claim()).await {
                    Ok(Some(claimed)) => return Next::Disk(claimed),
                    Ok(None) => {}
                    Err(error) => {
                        otel_warn!(name: "SpanExporter.SpoolFailed", reason = error.to_string());
                    }
                }
                // Either is a reason to look again.
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            } else {
                let _ = changes.changed().await;
            }
        }
    }

    /// The batch is stored.
    pub(super) async fn delivered(&self, next: Next) {
        match next {
            Next::Memory(parcel) => self.queue().delivered(parcel.id),
            Next::Disk(claimed) => {
                if let Err(error) = blocking("removing a file of the spool", move || claimed.done()).await {
                    // It will be found in the ledger when it is replayed again.
                    otel_warn!(name: "SpanExporter.SpoolFailed", reason = error.to_string());
                }
            }
        }
        self.changed();
    }

    /// The batch could not be stored.
    pub(super) fn put_back(&self, next: Next) {
        if let Next::Memory(parcel) = next {
            self.queue().put_back(parcel.id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue().is_empty() && self.spool_usage().batches == 0
    }

    /// Waits until nothing waits.
    pub(super) async fn emptied(&self) {
        let mut changes = self.changes.subscribe();
        while !self.is_empty() {
            // Another process may be the one that replays: then nothing is heard here.
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    }

    /// Moves what waits in memory to the spool.
    pub(super) async fn evacuate(&self, limit: Duration) -> Evacuated {
        let mut evacuated = Evacuated::default();
        let waiting = self.queue().drain();
        for parcel in waiting {
            let spans = u64::from(parcel.spans);
            match self.put(parcel, limit).await {
                Some(Ok(Put::Stored { dropped })) => {
                    evacuated.spooled += spans;
                    evacuated.dropped += dropped.spans;
                }
                Some(Ok(Put::Full { dropped, .. })) => evacuated.dropped += spans + dropped.spans,
                _ => evacuated.dropped += spans,
            }
        }
        self.changed();
        evacuated
    }

    /// Gives up what waits in memory; returns how many spans that is.
    pub(super) fn abandon(&self) -> u64 {
        let mut queue = self.queue();
        let spans = queue.spans();
        queue.drain();
        spans
    }

    /// Spans and bytes in memory.
    pub(super) fn queue_usage(&self) -> (u64, u64) {
        let queue = self.queue();
        (queue.spans(), queue.bytes())
    }

    pub(super) fn spool_usage(&self) -> SpoolUsage {
        self.spool.as_ref().map(|spool| spool.usage()).unwrap_or_default()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a call that waits for a disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| Err(Error::Io { doing: doing.into(), source: error.into() }))
}

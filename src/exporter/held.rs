//! Batches that wait: on disk where there is a spool, in memory otherwise.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::counts::{Counts, Uncounted};
use super::outage::Outage;
use super::parcel::Parcel;
use super::queue::Queue;
use super::resting::{Resting, Wanted};
use super::spool::{Claimed, Put, Spool, SpoolUsage};
use super::writer::{Turn, Writer};
use crate::error::{Error, Result};
use crate::settings::Settings;

/// How often the spool is looked at for batches that other processes have left.
const LOOK: Duration = Duration::from_secs(5);

/// What writing a batch to the spool takes on a slow disk.
const WRITE: Duration = Duration::from_millis(25);

/// The spool and the memory queue. It counts what comes to its end here.
pub(super) struct Held {
    queue: Mutex<Queue>,
    spool: Option<Spool>,
    writer: Writer,
    resting: Mutex<Resting>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
    counts: Arc<Counts>,
    outage: Arc<Outage>,
}

/// Where a batch waits.
#[derive(Debug)]
pub(super) enum Kept {
    Spooled,
    /// In memory, or on its way into the spool for longer than anybody waits.
    Queued,
    /// It is lost, and why.
    Lost(String),
}

/// A batch that is being delivered.
pub(super) enum Next {
    Memory(Parcel),
    Disk(Claimed),
}

impl Next {
    pub(super) fn parcel(&self) -> &Parcel {
        match self {
            Next::Memory(parcel) => parcel,
            Next::Disk(claimed) => claimed.parcel(),
        }
    }

    /// The spans of it that this process answers for.
    pub(super) fn own_spans(&self) -> u64 {
        match self {
            Next::Disk(claimed) if !claimed.is_own() => 0,
            _ => self.parcel().spans.into(),
        }
    }
}

impl Held {
    /// # Errors
    /// Where the spool's folder cannot be used.
    pub(super) fn new(settings: &Settings, counts: &Arc<Counts>, outage: &Arc<Outage>) -> Result<Self> {
        const MEBIBYTE: u64 = 1 << 20;
        let when_full = settings.when_full;
        let open = |folder| Spool::open(folder, settings.spool_mebibytes * MEBIBYTE, when_full);
        Ok(Held {
            queue: Mutex::new(Queue::new(settings.queue_mebibytes * MEBIBYTE, when_full)),
            spool: settings.spool_dir.as_deref().map(open).transpose()?,
            writer: Writer::default(),
            resting: Mutex::default(),
            changes: watch::Sender::new(0),
            counts: Arc::clone(counts),
            outage: Arc::clone(outage),
        })
    }

    /// Keeps a batch, durably if it can by the deadline; `reason` says why it could not be stored.
    pub(super) async fn keep(
        self: &Arc<Self>,
        parcel: Parcel,
        spans: Uncounted,
        reason: String,
        deadline: Instant,
    ) -> Kept {
        let Some(spool) = &self.spool else {
            spans.hand_over();
            return self.enqueue(parcel, reason);
        };
        let turn = match self.writer.turn(deadline).await {
            Ok(turn) => turn,
            Err(error) => {
                spans.hand_over();
                self.outage.spool_failed(&error.to_string());
                return self.enqueue(parcel, error.to_string());
            }
        };
        spans.hand_over();
        self.queue().write(parcel.clone());
        let (held, spool) = (Arc::clone(self), spool.clone());
        let writing = turn.write(deadline, move || {
            let put = held.put(&spool, &parcel);
            // Who has landed or given up the batch meanwhile has counted it, too.
            let Some(parcel) = held.queue().written() else { return Kept::Queued };
            match put {
                Ok(()) => {
                    held.counts.spooled.add(parcel.spans.into());
                    held.changed();
                    Kept::Spooled
                }
                Err(reason) => held.enqueue(parcel, reason),
            }
        });
        writing.await.unwrap_or_else(|error| {
            // The write goes on, and decides.
            self.outage.spool_failed(&error.to_string());
            Kept::Queued
        })
    }

    /// Keeps a batch in the spool or not at all, as its sender has it, too; whether it is there by the deadline.
    pub(super) async fn spool(
        self: &Arc<Self>,
        parcel: Parcel,
        mut spans: Uncounted,
        deadline: Instant,
    ) -> bool {
        let number = u64::from(parcel.spans);
        let spool_and_turn = match (&self.spool, self.writer.turn(deadline).await) {
            (Some(spool), Ok(turn)) => Some((spool.clone(), turn)),
            (Some(_), Err(error)) => {
                self.outage.spool_failed(&error.to_string());
                None
            }
            (None, _) => None,
        };
        let Some((spool, turn)) = spool_and_turn else {
            spans.count(|counts| &counts.refused, number);
            return false;
        };
        let held = Arc::clone(self);
        let writing = turn.write(deadline, move || {
            let is_spooled = held.put(&spool, &parcel).is_ok();
            spans.count(|counts| if is_spooled { &counts.spooled } else { &counts.refused }, number);
            held.changed();
            is_spooled
        });
        writing.await.unwrap_or_else(|error| {
            // The write goes on, and counts.
            self.outage.spool_failed(&error.to_string());
            false
        })
    }

    /// Writes a batch to the spool, or says why it is not there.
    fn put(&self, spool: &Spool, parcel: &Parcel) -> std::result::Result<(), String> {
        let (put, removed) = match spool.put(parcel) {
            Ok(Put::Stored { dropped }) => (Ok(()), dropped),
            Ok(Put::Full { reason, dropped }) => (Err(reason), dropped),
            Err(error) => (Err(error.to_string()), Default::default()),
        };
        self.outage.dropped(removed.spans, "they were the oldest in the spool, which is full (when_full)");
        if let Err(reason) = &put {
            self.outage.spool_failed(reason);
        }
        put
    }

    /// Keeps a batch in memory.
    pub(super) fn enqueue(&self, parcel: Parcel, reason: String) -> Kept {
        let id = parcel.id;
        let dropped = self.queue().push(parcel);
        let spans = dropped.iter().map(|dropped| u64::from(dropped.spans)).sum();
        self.counts.dropped.add(spans);
        self.outage.dropped(spans, &reason);
        self.changed();
        match dropped.iter().any(|dropped| dropped.id == id) {
            true => Kept::Lost(reason),
            false => Kept::Queued,
        }
    }

    /// Sets spans aside that are refused, in the spool; returns how many of them are lost.
    pub(super) async fn reject(&self, refused: Vec<(Parcel, String)>, deadline: Instant) -> u64 {
        let mut lost = 0;
        for (parcel, reason) in refused {
            let spans = u64::from(parcel.spans);
            if let Err(error) = self.reject_one(parcel, reason, deadline).await {
                lost += spans;
                if let Some(error) = error {
                    self.outage.spool_failed(&error.to_string());
                }
            }
        }
        lost
    }

    /// The error is none without a spool.
    async fn reject_one(
        &self,
        parcel: Parcel,
        reason: String,
        deadline: Instant,
    ) -> std::result::Result<(), Option<Error>> {
        let spool = self.spool.clone().ok_or(None)?;
        let turn = self.writer.turn(deadline).await?;
        turn.write(deadline, move || spool.reject(&parcel, &reason)).await??;
        Ok(())
    }

    /// The next batch to deliver, once there is one: from memory first, as it lasts less long there.
    pub(super) async fn next(&self, breaker: &Breaker) -> Next {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(next) = self.next_now(breaker).await {
                return next;
            }
            // Each is a reason to look again.
            let look = self.spool.as_ref().map(|_| Instant::now() + LOOK);
            let rested = self.resting().next_end().map(Instant::from_std);
            match look.into_iter().chain(rested).min() {
                Some(until) => drop(tokio::time::timeout_at(until, changes.changed()).await),
                None => drop(changes.changed().await),
            }
        }
    }

    async fn next_now(&self, breaker: &Breaker) -> Option<Next> {
        // A database that fails is probed with others: a suspect would say little of it.
        let is_suspects_turn = breaker.is_closed() && self.resting().is_suspects_turn();
        if is_suspects_turn && let Some(next) = self.next_suspect(breaker).await {
            return Some(next);
        }
        for _ in 0..2 {
            let (wanted, is_any_resting) = {
                let resting = self.resting();
                (resting.untried(breaker.landed()), !resting.is_empty())
            };
            match self.next_of(wanted).await {
                Ok(Some(next)) => return Some(next),
                Ok(None) => {}
                Err(error) => self.outage.spool_failed(&error.to_string()),
            }
            if !is_any_resting {
                return None;
            }
            self.resting().next_round();
        }
        self.next_suspect(breaker).await
    }

    async fn next_suspect(&self, breaker: &Breaker) -> Option<Next> {
        loop {
            let suspect = self.resting().suspect(breaker.landed());
            let id = suspect?;
            match self.next_of(Wanted::Only(id)).await {
                Ok(Some(next)) => return Some(next),
                // Another process has it, or an operator.
                Ok(None) => self.resting().ended(id),
                Err(error) => {
                    self.outage.spool_failed(&error.to_string());
                    return None;
                }
            }
        }
    }

    async fn next_of(&self, wanted: Wanted) -> Result<Option<Next>> {
        if let Some(parcel) = self.queue().take_in_hand(&wanted) {
            return Ok(Some(Next::Memory(parcel)));
        }
        let Some(spool) = self.spool.clone() else { return Ok(None) };
        let claim = move || spool.claim(wanted.end(), |id| wanted.is(id));
        Ok(blocking("reading the spool", claim).await?.map(Next::Disk))
    }

    /// A batch has landed: `stored` of its spans are stored, the others refused. Each is counted once, whatever else
    /// became of the batch meanwhile.
    pub(super) async fn landed(&self, next: Next, stored: u64, refused: u64) {
        match next {
            Next::Memory(parcel) => {
                if self.queue().delivered(parcel.id) {
                    self.counts.stored.add(stored);
                    self.counts.rejected.add(refused);
                }
            }
            Next::Disk(claimed) => {
                self.counts.replayed.add(stored);
                if claimed.is_own() {
                    self.counts.revoked.add(refused);
                }
                if let Err(error) = blocking("removing a file of the spool", move || claimed.done()).await {
                    // It will be found in the ledger when it is replayed again.
                    self.outage.spool_failed(&error.to_string());
                }
            }
        }
        self.changed();
    }

    /// The batch could not be stored.
    pub(super) fn put_back(&self, next: Next) {
        if let Next::Memory(_) = next {
            self.queue().put_back();
        }
    }

    /// Whether batches wait durably.
    pub(super) fn is_durable(&self) -> bool {
        self.spool.is_some()
    }

    /// Whether nothing waits but batches that fail by themselves.
    pub(super) fn has_only_suspects(&self, landed: u64) -> bool {
        let batches = self.queue().len() as u64 + self.spool_usage().batches;
        batches <= self.resting().suspects(landed, std::time::Instant::now()).0
    }

    /// Waits until nothing of this process waits, but for batches that have failed by themselves since; how many spans
    /// these have.
    pub(super) async fn settled(&self, breaker: &Breaker, since: std::time::Instant) -> u64 {
        let left = || {
            let usage = self.spool_usage();
            let spooled = if usage.batches == 0 { 0 } else { usage.own_spans };
            let waiting = self.queue().spans() + spooled;
            (waiting, self.resting().suspects(breaker.landed(), since).1)
        };
        self.wait_until(|| left().0 <= left().1).await;
        left().0
    }

    /// Whether nothing waits in memory.
    pub(super) fn is_memory_empty(&self) -> bool {
        self.queue().is_empty()
    }

    /// Waits until something holds of what waits.
    pub(super) async fn wait_until(&self, is_reached: impl Fn() -> bool) {
        let mut changes = self.changes.subscribe();
        while !is_reached() {
            // Another process may be the one that replays: then nothing is heard here.
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    }

    /// Moves what waits in memory to the spool, batch by batch: each is in memory until it is on disk, and stays there
    /// where the spool does not take it, or where there is none. False when the time was too short for all of them.
    pub(super) async fn evacuate(self: &Arc<Self>, deadline: Instant) -> bool {
        let Some(spool) = &self.spool else { return true };
        let batches = self.queue().len();
        for _ in 0..batches {
            if Instant::now() >= deadline {
                return false;
            }
            let Ok(turn) = self.writer.turn(deadline).await else { return false };
            let oldest = self.queue().write_oldest();
            let Some(parcel) = oldest else { break };
            self.evacuate_one(spool.clone(), parcel, turn, deadline).await;
        }
        true
    }

    async fn evacuate_one(self: &Arc<Self>, spool: Spool, parcel: Parcel, turn: Turn, deadline: Instant) {
        let held = Arc::clone(self);
        let writing = turn.write(deadline, move || {
            let put = held.put(&spool, &parcel);
            let mut queue = held.queue();
            let Some(parcel) = queue.written() else { return };
            match put {
                Ok(()) => held.counts.spooled.add(parcel.spans.into()),
                Err(_) => queue.put_behind(parcel),
            }
            drop(queue);
            held.changed();
        });
        if let Err(error) = writing.await {
            self.outage.spool_failed(&error.to_string());
        }
    }

    /// What [`evacuate`](Self::evacuate) takes on a slow disk.
    pub(super) fn evacuation_time(&self) -> Duration {
        let batches = if self.spool.is_some() { self.queue().len() } else { 0 };
        WRITE.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX))
    }

    /// Reads the spool's folder: what other processes did with this one's batches counts, too.
    pub(super) async fn look(&self, deadline: Instant) {
        if let Some(spool) = self.spool.clone()
            && let Ok(turn) = self.writer.turn(deadline).await
            && let Ok(Err(error)) = turn.write(deadline, move || spool.look()).await
        {
            self.outage.spool_failed(&error.to_string());
        }
    }

    /// Gives up what waits in memory; returns how many spans that costs.
    pub(super) fn abandon(&self) -> u64 {
        let left = self.queue().drain().iter().map(|parcel| u64::from(parcel.spans)).sum();
        self.counts.dropped.add(left);
        left
    }

    /// Spans and bytes in memory.
    pub(super) fn queue_usage(&self) -> (u64, u64) {
        let queue = self.queue();
        (queue.spans(), queue.bytes())
    }

    pub(super) fn spool_usage(&self) -> SpoolUsage {
        self.spool.as_ref().map(|spool| spool.usage()).unwrap_or_default()
    }

    /// Spans of this process that were in the spool and are lost there.
    pub(super) fn lost_in_spool(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::own_lost)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    pub(super) fn resting(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
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

//! Batches that wait in memory, up to a bound of bytes.

use std::collections::VecDeque;

use uuid::Uuid;

use super::parcel::Parcel;
use super::resting::{End, Wanted};
use crate::settings::WhenFull;

/// What a batch in the queue costs beside its own bytes.
const OVERHEAD: u64 = 128;

/// The oldest batch is at the front. The caller counts what falls out.
pub(super) struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: u64,
    spans: u64,
    max_bytes: u64,
    when_full: WhenFull,
    /// The batch that is being delivered: it stays where it is, and is not dropped meanwhile.
    in_hand: Option<Uuid>,
    /// The batch that is being written to the spool: it waits beside the others, and beside their bound.
    writing: Option<Parcel>,
}

impl Queue {
    pub(super) fn new(max_bytes: u64, when_full: WhenFull) -> Self {
        Queue {
            parcels: VecDeque::new(),
            bytes: 0,
            spans: 0,
            max_bytes,
            when_full,
            in_hand: None,
            writing: None,
        }
    }

    /// Adds a batch; returns what did not fit: this batch, or the oldest ones.
    pub(super) fn push(&mut self, parcel: Parcel) -> Vec<Parcel> {
        let mut dropped = Vec::new();
        let needed = cost(&parcel);
        if self.when_full == WhenFull::DropOldest && needed <= self.max_bytes {
            while self.bytes + needed > self.max_bytes
                && let Some(oldest) = self.remove_oldest()
            {
                dropped.push(oldest);
            }
        }
        if self.bytes + needed > self.max_bytes {
            dropped.push(parcel);
        } else {
            self.bytes += needed;
            self.spans += u64::from(parcel.spans);
            self.parcels.push_back(parcel);
        }
        dropped
    }

    fn remove_oldest(&mut self) -> Option<Parcel> {
        let at = self.parcels.iter().position(|parcel| Some(parcel.id) != self.in_hand)?;
        self.remove_at(at)
    }

    fn remove_at(&mut self, at: usize) -> Option<Parcel> {
        let parcel = self.parcels.remove(at)?;
        self.bytes -= cost(&parcel);
        self.spans -= u64::from(parcel.spans);
        if self.in_hand == Some(parcel.id) {
            self.in_hand = None;
        }
        Some(parcel)
    }

    /// The first batch that is wanted, to be delivered: it stays in the queue until [`delivered`](Self::delivered).
    pub(super) fn take_in_hand(&mut self, wanted: &Wanted) -> Option<Parcel> {
        let mut parcels = self.parcels.iter();
        let is_wanted = |parcel: &&Parcel| wanted.is(parcel.id);
        let first = match wanted.end() {
            End::Oldest => parcels.find(is_wanted),
            End::Newest => parcels.rfind(is_wanted),
        }?;
        self.in_hand = Some(first.id);
        Some(first.clone())
    }

    /// The batch in hand has an end, or is given up. False when it was no longer here.
    pub(super) fn delivered(&mut self, id: Uuid) -> bool {
        if self.writing.as_ref().is_some_and(|parcel| parcel.id == id) {
            return self.writing.take().is_some();
        }
        let at = self.parcels.iter().position(|parcel| parcel.id == id);
        at.and_then(|at| self.remove_at(at)).is_some()
    }

    /// The batch in hand could not be stored.
    pub(super) fn put_back(&mut self) {
        self.in_hand = None;
    }

    /// Takes a batch that is about to be written to the spool.
    pub(super) fn write(&mut self, parcel: Parcel) {
        self.recover();
        self.writing = Some(parcel);
    }

    /// A write that ended without a word, as when it panicked, has left its batch.
    fn recover(&mut self) {
        if let Some(left) = self.writing.take() {
            self.bytes += cost(&left);
            self.spans += u64::from(left.spans);
            self.parcels.push_front(left);
        }
    }

    /// The oldest batch, which is about to be written to the spool.
    pub(super) fn write_oldest(&mut self) -> Option<Parcel> {
        self.recover();
        let in_hand = self.in_hand;
        let oldest = self.remove_at(0)?;
        self.in_hand = in_hand;
        self.writing = Some(oldest.clone());
        Some(oldest)
    }

    /// Takes a batch back that could not be written: it had its place here before, so it is dropped for no other.
    pub(super) fn put_behind(&mut self, parcel: Parcel) {
        self.bytes += cost(&parcel);
        self.spans += u64::from(parcel.spans);
        self.parcels.push_back(parcel);
    }

    /// The batch that was being written, unless it has had its end meanwhile.
    pub(super) fn written(&mut self) -> Option<Parcel> {
        self.writing.take()
    }

    /// Everything, the oldest first.
    pub(super) fn drain(&mut self) -> Vec<Parcel> {
        (self.bytes, self.spans, self.in_hand) = (0, 0, None);
        self.writing.take().into_iter().chain(self.parcels.drain(..)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many batches wait.
    pub(super) fn len(&self) -> usize {
        self.parcels.len() + usize::from(self.writing.is_some())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn spans(&self) -> u64 {
        self.spans + self.writing.as_ref().map_or(0, |parcel| u64::from(parcel.spans))
    }
}

fn cost(parcel: &Parcel) -> u64 {
    parcel.bytes() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::*;

    fn but(skipped: impl IntoIterator<Item = Uuid>) -> Wanted {
        Wanted::AllBut(HashSet::from_iter(skipped), End::Oldest)
    }

    fn parcel(number: u128, bytes: usize) -> Parcel {
        Parcel { id: Uuid::from_u128(number), spans: 10, otlp: Bytes::from(vec![0; bytes]) }
    }

    fn ids(parcels: &[Parcel]) -> Vec<u128> {
        parcels.iter().map(|parcel| parcel.id.as_u128()).collect()
    }

    #[test]
    fn the_newest_batch_is_dropped_when_it_does_not_fit() {
        let mut queue = Queue::new(3000, WhenFull::DropNewest);
        assert!(queue.push(parcel(1, 1000)).is_empty());
        assert!(queue.push(parcel(2, 1000)).is_empty());
        assert_eq!(ids(&queue.push(parcel(3, 1000))), [3]);
        assert_eq!((queue.bytes(), queue.spans()), (2256, 20));
        assert_eq!(ids(&queue.drain()), [1, 2]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn the_oldest_batches_are_dropped_for_a_new_one_but_not_the_one_in_hand() {
        let mut queue = Queue::new(3500, WhenFull::DropOldest);
        for number in 1..=3 {
            assert!(queue.push(parcel(number, 1000)).is_empty());
        }
        queue.take_in_hand(&but([])).expect("the oldest");
        assert_eq!(ids(&queue.push(parcel(4, 1000))), [2]);
        assert_eq!(ids(&queue.push(parcel(5, 4000))), [5], "it is larger than the queue");
        queue.delivered(Uuid::from_u128(1));
        assert_eq!(ids(&queue.drain()), [3, 4]);
    }

    #[test]
    fn batches_that_are_skipped_let_the_others_go_first_and_keep_their_place() {
        let mut queue = Queue::new(9000, WhenFull::DropNewest);
        for number in 1..=3 {
            queue.push(parcel(number, 1000));
        }
        let first = queue.take_in_hand(&but([])).expect("the oldest");
        queue.put_back();
        let second = queue.take_in_hand(&but([first.id]));
        assert_eq!(second.map(|parcel| parcel.id.as_u128()), Some(2));
        let newest = queue.take_in_hand(&Wanted::AllBut(HashSet::new(), End::Newest));
        assert_eq!(newest.map(|parcel| parcel.id.as_u128()), Some(3));
        queue.put_back();
        assert_eq!(ids(&queue.drain()), [1, 2, 3]);
    }

    #[test]
    fn a_batch_that_is_being_written_waits_until_it_has_one_end() {
        let mut queue = Queue::new(2000, WhenFull::DropNewest);
        queue.push(parcel(1, 1000));
        queue.write(parcel(2, 1000));
        assert_eq!((queue.spans(), queue.bytes()), (20, 1128), "beside the bound");
        assert!(queue.delivered(Uuid::from_u128(2)), "it landed meanwhile");
        assert!(queue.written().is_none());
        queue.take_in_hand(&but([])).expect("the oldest");
        assert_eq!(queue.write_oldest().map(|parcel| parcel.id.as_u128()), Some(1));
        let unwritten = queue.written().expect("it has no end yet");
        assert!(queue.is_empty() && !queue.delivered(Uuid::from_u128(1)));
        queue.put_behind(unwritten);
        assert_eq!((queue.len(), queue.spans(), queue.bytes()), (1, 10, 1128));
        assert!(queue.delivered(Uuid::from_u128(1)) && queue.is_empty());
    }
}

//! What became of the spans, in numbers that add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one exporter, in spans; [`ExporterStatus`](super::ExporterStatus) says what each of them means.
#[derive(Default)]
pub(super) struct Counts {
    pub received: Counter,
    pub stored: Counter,
    pub spooled: Counter,
    pub replayed: Counter,
    pub rejected: Counter,
    pub dropped: Counter,
    pub revoked: Counter,
    pub refused: Counter,
}

/// A number that only grows.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, spans: u64) {
        self.0.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The spans of an export, until each of them is counted once. What is left when this is dropped is lost, whatever
/// ended the export.
pub(super) struct Uncounted {
    counts: Arc<Counts>,
    spans: u64,
}

impl Uncounted {
    pub(super) fn new(counts: &Arc<Counts>, spans: u64) -> Self {
        counts.received.add(spans);
        Uncounted { counts: Arc::clone(counts), spans }
    }

    pub(super) fn count(&mut self, counter: impl FnOnce(&Counts) -> &Counter, spans: u64) {
        let spans = spans.min(self.spans);
        counter(&self.counts).add(spans);
        self.spans -= spans;
    }

    /// From now on, who holds the batch counts its spans.
    pub(super) fn hand_over(mut self) {
        self.spans = 0;
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        self.counts.dropped.add(self.spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_counts_is_lost() {
        let counts = Arc::new(Counts::default());
        let mut spans = Uncounted::new(&counts, 10);
        spans.count(|counts| &counts.stored, 7);
        drop(spans);
        Uncounted::new(&counts, 5).hand_over();
        let seen = [&counts.received, &counts.stored, &counts.dropped].map(Counter::get);
        assert_eq!(seen, [15, 7, 3]);
    }
}

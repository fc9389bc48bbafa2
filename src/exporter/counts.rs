//! What became of the spans, in numbers that add up.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one exporter, in spans.
#[derive(Default)]
pub(super) struct Counts {
    pub received: Counter,
    pub stored: Counter,
    pub spooled: Counter,
    pub replayed: Counter,
    pub rejected: Counter,
    pub dropped: Counter,
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

//! What a store has done in this process, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::TraceStore;

/// Counters of one store.
#[derive(Default)]
pub(super) struct Counters {
    pub documents_known: AtomicU64,
    pub documents_new: AtomicU64,
    pub embeddings_waiting: AtomicU64,
}

/// What a store has done in this process, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Activity {
    /// Documents of batches that this process knew to be stored.
    pub documents_known: u64,
    /// Documents of batches that it had to look up or store.
    pub documents_new: u64,
    /// Embeddings that were computed.
    pub embeddings_computed: u64,
    /// Embeddings that were found in the cache.
    pub embeddings_cached: u64,
    /// Documents that waited for their embedding when it last looked.
    pub embeddings_waiting: u64,
}

impl TraceStore {
    /// What the store has done in this process. It needs no database.
    pub fn activity(&self) -> Activity {
        let counters = &self.inner.counters;
        let [documents_known, documents_new, embeddings_waiting] =
            [&counters.documents_known, &counters.documents_new, &counters.embeddings_waiting]
                .map(|counter| counter.load(Ordering::Relaxed));
        Activity {
            documents_known,
            documents_new,
            embeddings_computed: self.inner.embedder.cache_misses(),
            embeddings_cached: self.inner.embedder.cache_hits(),
            embeddings_waiting,
        }
    }
}

//! The names of what is stored, remembered for a while: typing does not ask the database.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::error::Result;
use crate::search::Names;
use crate::store::TraceStore;

const REMEMBERED: Duration = Duration::from_secs(30);

/// A store's names.
#[derive(Clone)]
pub(super) struct KnownNames {
    store: TraceStore,
    names: Cache<(), Arc<Names>>,
}

impl KnownNames {
    pub(super) fn new(store: TraceStore) -> Self {
        KnownNames { store, names: Cache::builder().max_capacity(1).time_to_live(REMEMBERED).build() }
    }

    /// # Errors
    /// Those of [`TraceStore::names`].
    pub(super) async fn get(&self) -> Result<Arc<Names>> {
        if let Some(names) = self.names.get(&()) {
            return Ok(names);
        }
        let names = Arc::new(self.store.names().await?);
        self.names.insert((), Arc::clone(&names));
        Ok(names)
    }
}

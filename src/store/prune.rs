//! Pruning the ledger: a batch is recognised for `ledger_days`, which is longer than anybody sends it again.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::{otel_debug, otel_warn};
use tokio::task::AbortHandle;

use super::{Inner, TraceStore};
use crate::error::{Error, Result};

/// Entries that are deleted in one transaction.
const CHUNK: i32 = 10_000;
/// Pauses between prunings, each half as long up to half as long again: the first, after the first batch, and the others.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(3600);

/// The one task of a store that prunes.
#[derive(Default)]
pub(super) struct Pruning(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Runs(AbortHandle),
    Closed,
}

impl Pruning {
    pub(super) fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Runs(task) = std::mem::replace(&mut *state, State::Closed) {
            task.abort();
        }
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        self.close();
    }
}

impl TraceStore {
    /// Deletes the ledger's entries of batches that were stored more than `ledger_days` ago, by the server's clock, and
    /// returns how many. A store that writes does this about every hour by itself.
    ///
    /// Only ids of version 7 whose time is as old are deleted, as the exporter makes them: an import recognises its
    /// batches for good. While another process prunes, this does nothing. No writer waits for it.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn prune_ledger(&self) -> Result<u64> {
        let mut pruned = 0;
        loop {
            let chunk = self.timed("pruning the ledger", self.prune_chunk()).await?;
            pruned += chunk;
            if chunk < CHUNK as u64 {
                break;
            }
        }
        if pruned > 0 {
            otel_debug!(name: "TraceStore.LedgerPruned", entries = pruned);
        }
        Ok(pruned)
    }

    async fn prune_chunk(&self) -> Result<u64> {
        let doing = || Error::database("pruning the ledger");
        let (connection, _) = self.connection().await?;
        let sql = &self.inner.sql;
        let lock = format!("opentelemetry-pgvector ledger {}", self.inner.settings.schema);
        let days = self.inner.settings.ledger_days as i32;
        let prune = connection.prepare_cached(&sql.prune_ledger).await.map_err(doing())?;
        let row = connection.query_one(&prune, &[&lock, &days, &CHUNK]).await.map_err(doing())?;
        connection.give_back();
        // Null: another process prunes.
        Ok(row.get::<_, Option<i64>>(0).unwrap_or(0).max(0) as u64)
    }

    /// Starts to prune unless that runs, or the store was closed.
    pub(super) fn start_pruning(&self) {
        let mut state = self.inner.pruning.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match &*state {
            State::Idle => true,
            // The runtime that it ran on may be gone.
            State::Runs(task) => task.is_finished(),
            State::Closed => false,
        };
        if start {
            *state = State::Runs(tokio::spawn(run(Arc::downgrade(&self.inner))).abort_handle());
        }
    }
}

/// Prunes until the store is gone, which ends the task. While it pauses it does not keep the store alive.
async fn run(store: Weak<Inner>) {
    let mut pauses = pauses();
    loop {
        tokio::time::sleep(pauses.next_backoff().unwrap_or(PAUSE)).await;
        let Some(inner) = store.upgrade() else { return };
        if let Err(error) = (TraceStore { inner }).prune_ledger().await {
            otel_warn!(name: "TraceStore.PruningFailed", reason = error.to_string());
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_multiplier(PAUSE.as_secs_f64() / FIRST_PAUSE.as_secs_f64())
        .with_randomization_factor(0.5)
        .with_max_interval(PAUSE)
        .with_max_elapsed_time(None)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prunes_soon_and_then_about_hourly() {
        let mut pauses = pauses();
        let mut pause = || pauses.next_backoff().expect("never ends").as_secs();
        assert!(pause() < 5);
        for _ in 0..100 {
            assert!((1800..=5400).contains(&pause()));
        }
    }

    fn store() -> TraceStore {
        let connection_string = "host=127.0.0.1 port=1 user=app dbname=app".into();
        TraceStore::new(crate::Settings { connection_string, ..Default::default() }).expect("valid settings")
    }

    fn task(store: &TraceStore) -> Option<AbortHandle> {
        match &*store.inner.pruning.0.lock().expect("no panic") {
            State::Runs(task) => Some(task.clone()),
            State::Idle | State::Closed => None,
        }
    }

    async fn ends(task: AbortHandle) {
        let ended = async {
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the task ends");
    }

    #[tokio::test]
    async fn one_task_prunes_until_the_store_is_closed() {
        let store = store();
        store.start_pruning();
        let first = task(&store).expect("a task");
        store.start_pruning();
        assert_eq!(task(&store).map(|task| task.id()), Some(first.id()), "one is enough");
        store.close().await;
        ends(first).await;
        store.start_pruning();
        assert!(task(&store).is_none(), "a store that was closed prunes no more");
    }

    #[tokio::test]
    async fn the_task_ends_with_the_store() {
        let store = store();
        store.start_pruning();
        let task = task(&store).expect("a task");
        drop(store);
        ends(task).await;
    }

    #[test]
    fn a_task_whose_runtime_is_gone_is_started_again() {
        let store = store();
        for _ in 0..2 {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { store.start_pruning() });
            assert!(!task(&store).expect("a task").is_finished());
            drop(runtime);
            assert!(task(&store).expect("a task").is_finished());
        }
    }
}

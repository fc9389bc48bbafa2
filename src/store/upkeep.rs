//! What a store that writes does beside, about hourly: it prunes the ledger, makes partitions ahead, and counts the calls
//! between services or maintains the store where it is the one to do so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::otel_warn;
use tokio::task::AbortHandle;

use super::{Inner, TraceStore};
use crate::settings::Maintenance;

/// Pauses between rounds, each half as long up to half as long again: the first, after the first batch, and the others.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(3600);

/// The one task of a store that does it.
#[derive(Default)]
pub(super) struct Upkeep {
    state: Mutex<State>,
    counts_calls: AtomicBool,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Runs(AbortHandle),
    Closed,
}

impl Upkeep {
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Runs(task) = std::mem::replace(&mut *state, State::Closed) {
            task.abort();
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.close();
    }
}

impl TraceStore {
    /// Lets it count the calls between services, too. Where spans come as they happen, that is up to now; an import counts
    /// nothing, since the hours would be over before their spans have come.
    pub(crate) fn count_calls(&self) {
        self.inner.upkeep.counts_calls.store(true, Ordering::Relaxed);
    }

    /// Starts it unless it runs, or the store was closed.
    pub(super) fn start_upkeep(&self) {
        let mut state = self.inner.upkeep.state.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Goes on until the store is gone, which ends the task. While it pauses it does not keep the store alive.
async fn run(store: Weak<Inner>) {
    let mut pauses = pauses();
    loop {
        tokio::time::sleep(pauses.next_backoff().unwrap_or(PAUSE)).await;
        let Some(inner) = store.upgrade() else { return };
        TraceStore { inner }.keep_up().await;
    }
}

impl TraceStore {
    /// One round. What fails is tried again in the next one.
    async fn keep_up(&self) {
        if let Err(error) = self.prune_ledger().await {
            otel_warn!(name: "TraceStore.PruningFailed", reason = error.to_string());
        }
        if let Err(error) = self.make_days_ahead().await {
            otel_warn!(name: "TraceStore.PartitionsNotMadeAhead", reason = error.to_string());
        }
        if self.inner.upkeep.counts_calls.load(Ordering::Relaxed)
            && let Err(error) = self.count_dependencies_if_due().await
        {
            otel_warn!(name: "TraceStore.CallsNotCounted", reason = error.to_string());
        }
        if self.inner.settings.maintenance == Maintenance::Auto
            && let Err(error) = self.maintain_if_due().await
        {
            otel_warn!(name: "TraceStore.MaintenanceFailed", reason = error.to_string());
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
        match &*store.inner.upkeep.state.lock().expect("no panic") {
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
        store.start_upkeep();
        let first = task(&store).expect("a task");
        store.start_upkeep();
        assert_eq!(task(&store).map(|task| task.id()), Some(first.id()), "one is enough");
        store.close().await;
        ends(first).await;
        store.start_upkeep();
        assert!(task(&store).is_none(), "a store that was closed prunes no more");
    }

    #[tokio::test]
    async fn the_task_ends_with_the_store() {
        let store = store();
        store.start_upkeep();
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
            runtime.block_on(async { store.start_upkeep() });
            assert!(!task(&store).expect("a task").is_finished());
            drop(runtime);
            assert!(task(&store).expect("a task").is_finished());
        }
    }
}

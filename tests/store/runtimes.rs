//! A store that is used from several runtimes, as by functions that are not async and make one for a call.

use std::time::Duration;

use crate::support::arbitrary;
use crate::support::command::database;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Longer than anything here takes, and shorter than the time-outs of a statement and a flush.
const LONGEST: Duration = Duration::from_secs(25);

/// What it has to do is done only while somebody blocks on it.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn what_waits_is_embedded_though_the_runtime_that_stored_it_is_gone() {
    let database = database();
    let store = database.store();
    let first = runtime();
    first.block_on(store.batch_store(&arbitrary::sample(2))).expect("stored");
    drop(first);
    runtime().block_on(async {
        timeout(LONGEST, store.flush()).await.expect("in time").expect("embedded");
        timeout(LONGEST, store.close()).await.expect("in time");
    });
}

#[test]
fn a_store_is_closed_though_the_runtime_that_embeds_is_gone() {
    let database = database();
    let store = database.store();
    let first = runtime();
    first.block_on(store.batch_store(&arbitrary::sample(2))).expect("stored");
    drop(first);
    runtime().block_on(async { timeout(LONGEST, store.close()).await.expect("in time") });
}

#[test]
fn a_connection_whose_runtime_stands_still_holds_nobody_up() {
    let database = database();
    let store = database.store();
    let idle = runtime();
    idle.block_on(store.migrate()).expect("migrated");
    let read = async { timeout(LONGEST, store.services()).await.expect("in time").expect("read") };
    runtime().block_on(read);
    drop(idle);
}

//! Waiting until everything that was imported is found by meaning, however long it takes.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::store::{Columns, TraceStore};

/// How often the waiting documents are counted.
const PAUSE: Duration = Duration::from_millis(500);

/// Embeds all documents that wait, as [`TraceStore::flush`] does, but without its time limit as long as there is
/// progress. `report` is told, now and then, how many documents wait.
///
/// # Errors
/// As [`TraceStore::flush`]; [`Error::Timeout`] only when no document was embedded in the whole of
/// `flush_timeout_seconds`.
pub async fn embed_waiting(store: &TraceStore, report: impl Fn(u64)) -> Result<()> {
    let mut before = waiting(store).await?;
    report(before);
    while before > 0 {
        let embed = flush_and_report(store, &report).await;
        let now = waiting(store).await?;
        report(now);
        match embed {
            Err(Error::Timeout { .. }) if now < before => before = now,
            result => return result,
        }
    }
    Ok(())
}

async fn flush_and_report(store: &TraceStore, report: &impl Fn(u64)) -> Result<()> {
    let count = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            // Counting is for the eye: where it fails, flush will say why.
            if let Ok(waiting) = waiting(store).await {
                report(waiting);
            }
        }
    };
    tokio::select! {
        result = store.flush() => result,
        () = count => Ok(()),
    }
}

async fn waiting(store: &TraceStore) -> Result<u64> {
    let count = async {
        let doing = || Error::database("counting documents that wait");
        let (connection, _) = store.connection().await?;
        let sql =
            format!("SELECT count(*) FROM {}.span_documents WHERE embedding IS NULL", store.sql().schema);
        let row = connection.query_one(&sql, &[]).await.map_err(doing())?;
        connection.give_back();
        row.count(0)
    };
    store.timed("counting documents that wait", count).await
}

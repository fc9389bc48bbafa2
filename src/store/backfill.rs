//! Embedding the documents that wait for it, behind the spans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use opentelemetry::{otel_debug, otel_warn};
use tokio::sync::{Notify, watch};

use super::columns::Columns;
use super::vector::Vector;
use super::{Inner, TraceStore};
use crate::error::{Error, Result};

/// Documents embedded at a time: about a second of one core.
const CHUNK: i64 = 64;
/// How long to wait after a failure: a model may be installed, a database come back.
const RETRY: Duration = Duration::from_secs(30);
/// How long to wait for documents that other processes are embedding, at first and at most: a fleet that starts at once has
/// many that wait.
const BUSY: Duration = Duration::from_millis(50);
const BUSIEST: Duration = Duration::from_secs(2);
/// How long closing a store waits at most, which is longer than loading a model takes: the runtime that embeds may stand still.
const CLOSING: Duration = Duration::from_secs(30);

/// The one task of a store that embeds.
#[derive(Default)]
pub(super) struct Backfill {
    runs: AtomicBool,
    stopped: AtomicBool,
    /// Ends the pause after a failure.
    wake: Notify,
    progress: watch::Sender<Progress>,
}

impl Backfill {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// That it runs, until this is dropped: with the task, or with a runtime that ends before it.
struct Running(Option<Arc<Backfill>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(backfill) = &self.0 {
            backfill.runs.store(false, Ordering::Release);
        }
    }
}

/// What those who flush hear of it.
#[derive(Clone, Default)]
struct Progress {
    steps: u64,
    /// Why the last step could not embed.
    failure: Option<Arc<Error>>,
}

/// What one step found.
enum Step {
    /// So many documents were embedded.
    Embedded(usize),
    /// The documents that wait are in the hands of another process.
    Busy,
    /// No document waits.
    Done,
}

impl TraceStore {
    /// Waits until every span whose storing has returned is found by meaning: until all documents of now are embedded.
    ///
    /// # Errors
    /// [`Error::Model`] when the model or ONNX Runtime is missing (spans are stored all the same, and are embedded
    /// later); [`Error::Schema`] when the database does not let them be embedded, with the reason; [`Error::Timeout`] after
    /// `flush_timeout_seconds`; [`Error::Connect`], [`Error::Database`].
    pub async fn flush(&self) -> Result<()> {
        let seconds = self.inner.settings.flush_timeout_seconds;
        match tokio::time::timeout(Duration::from_secs(seconds), self.all_embedded()).await {
            Ok(result) => result.map_err(|error| self.explained(error)),
            Err(_) => Err(Error::Timeout { doing: "embedding documents", seconds: seconds as f64 }),
        }
    }

    async fn all_embedded(&self) -> Result<()> {
        let backfill = &self.inner.backfill;
        let mut progress = backfill.progress.subscribe();
        let (waiting, newest) = self.waiting(i32::MAX).await?;
        let mut waits = waiting > 0;
        let (mut pause, mut has_failed) = (BUSY, false);
        while waits {
            self.start_backfill();
            backfill.wake.notify_one();
            // Another process may be the one that embeds: then nothing is heard here.
            let heard = tokio::time::timeout(BUSY, progress.changed()).await.is_ok();
            let failure = if heard { progress.borrow_and_update().failure.clone() } else { None };
            match failure.as_deref() {
                None => {}
                Some(Error::Model(reason)) => return Err(Error::Model(reason.clone())),
                // It may pass, or be what is looked at anew.
                Some(error) if error.is_transient() || !has_failed => {
                    has_failed = true;
                    tokio::time::sleep(pause).await;
                    pause = BUSIEST.min(2 * pause);
                }
                Some(error) => return Err(Error::Schema(format!("documents cannot be embedded: {error}"))),
            }
            waits = self.any_waits(newest).await?;
        }
        self.embed_words().await
    }

    /// As [`flush`](Self::flush), but a store that was never connected has nothing to wait for.
    pub(crate) async fn flush_if_used(&self) -> Result<()> {
        let used = self.known_schema().is_some();
        if used { self.flush().await } else { Ok(()) }
    }

    /// Ends what runs behind the spans, embedding and upkeep, within about 100 ms, or once a model that is being loaded is loaded.
    /// Documents that still wait are embedded by the next process. Call it before the process exits: the model must not be running
    /// then. Where embedding was begun in a runtime that nobody drives any more, it gives up after 30 s.
    pub async fn close(&self) {
        self.inner.upkeep.close();
        self.stop_backfill();
        let begin = Instant::now();
        while self.inner.backfill.runs.load(Ordering::Acquire) && begin.elapsed() < CLOSING {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks the backfill to end.
    pub(crate) fn stop_backfill(&self) {
        self.inner.backfill.stopped.store(true, Ordering::Release);
        self.inner.backfill.wake.notify_one();
    }

    /// Starts the backfill unless it runs. It ends by itself when nothing waits or the store is gone.
    pub(super) fn start_backfill(&self) {
        let backfill = &self.inner.backfill;
        if backfill.stopped.load(Ordering::Acquire) || backfill.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(run(Arc::downgrade(&self.inner), Running(Some(Arc::clone(backfill)))));
    }

    /// How many documents up to an id wait, and the highest id among them.
    pub(super) async fn waiting(&self, newest: i32) -> Result<(i64, i32)> {
        let (connection, _) = self.connection().await?;
        let doing = || Error::database("counting documents that wait");
        let rows =
            connection.query_prepared(&self.inner.sql.count_waiting, &[&newest]).await.map_err(doing())?;
        connection.give_back();
        let (waiting, highest): (i64, i32) = match rows.first() {
            Some(row) => (row.column(0)?, row.column(1)?),
            None => (0, 0),
        };
        self.inner.counters.embeddings_waiting.store(waiting.unsigned_abs(), Ordering::Relaxed);
        Ok((waiting, highest))
    }

    /// Whether a document up to an id waits. Unlike counting them, this takes no longer when many do.
    async fn any_waits(&self, newest: i32) -> Result<bool> {
        let (connection, _) = self.connection().await?;
        let doing = || Error::database("looking for documents that wait");
        let rows =
            connection.query_prepared(&self.inner.sql.any_waiting, &[&newest]).await.map_err(doing())?;
        connection.give_back();
        Ok(!rows.is_empty())
    }

    /// Embeds some of the documents up to an id. Their rows are locked meanwhile, so that no two processes embed the same.
    async fn embed_chunk(&self, newest: i32) -> Result<Step> {
        let doing = || Error::database("storing embeddings");
        let (connection, schema) = self.connection().await?;
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        let select = format!("{} {}", self.inner.sql.waiting_documents, schema.lock_documents());
        let rows = match self.has_turn_to_embed(&connection, &schema).await? {
            true => connection.query_prepared(&select, &[&newest, &CHUNK]).await.map_err(doing())?,
            false => Vec::new(),
        };
        if rows.is_empty() {
            connection.batch_execute("ROLLBACK").await.map_err(doing())?;
            connection.give_back();
            return Ok(if self.any_waits(newest).await? { Step::Busy } else { Step::Done });
        }
        let ids = rows.iter().map(|row| row.column(0)).collect::<Result<Vec<i32>>>()?;
        let texts = rows.iter().map(|row| row.column(1)).collect::<Result<Vec<String>>>()?;
        let embedded = async {
            // The model is known only once it is loaded; with another one, nothing is worth embedding.
            let own = self.own_model().await?;
            self.check_model(&self.embeddings(&connection).await?, &own)?;
            let vectors = self.embed(texts).await?;
            self.record_model(&connection, &own).await?;
            Ok(vectors)
        };
        let vectors = match embedded.await {
            Ok(vectors) => vectors,
            Err(error) => {
                connection.batch_execute("ROLLBACK").await.map_err(doing())?;
                connection.give_back();
                return Err(error);
            }
        };
        let (ids, vectors): (Vec<i32>, Vec<Vector>) =
            ids.into_iter().zip(vectors).filter_map(|(id, vector)| vector.map(|vector| (id, vector))).unzip();
        let update = &schema.store_embeddings;
        connection.execute_prepared(update, &[&ids, &vectors]).await.map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(Step::Embedded(ids.len()))
    }

    /// Embeds texts on a thread of its own; those that are left when the store is closed have no vector.
    pub(super) async fn embed(&self, texts: Vec<String>) -> Result<Vec<Option<Vector>>> {
        let inner = Arc::clone(&self.inner);
        let embed = move || {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            inner.embedder.embed_while(&texts, || !inner.backfill.stopped.load(Ordering::Acquire))
        };
        let vectors = tokio::task::spawn_blocking(embed)
            .await
            .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))??;
        Ok(vectors.into_iter().map(|vector| vector.map(|vector| Vector::new(&vector))).collect())
    }
}

/// Embeds until nothing waits. While it pauses it does not keep the store alive.
async fn run(store: Weak<Inner>, mut running: Running) {
    let Some(backfill) = running.0.clone() else { return };
    let mut busy = BUSY;
    while !backfill.stopped.load(Ordering::Acquire)
        && let Some(inner) = store.upgrade()
    {
        let Some(pause) = (TraceStore { inner }).step(busy).await else {
            // Another one may run already.
            running.0 = None;
            return;
        };
        busy = if pause == busy { BUSIEST.min(2 * busy) } else { BUSY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = backfill.wake.notified() => {}
        }
    }
}

impl TraceStore {
    /// One step of the backfill, and how long to pause after it, `busy` where others have what waits; `None` when it has ended.
    async fn step(&self, busy: Duration) -> Option<Duration> {
        let backfill = &self.inner.backfill;
        let step = self.embed_chunk(i32::MAX).await;
        if let Err(error) = &step {
            // Before it is told: who hears of it may try again at once.
            self.learn_from(error);
        }
        let step = step.map_err(|error| Arc::new(self.explained(error)));
        backfill.progress.send_modify(|progress| {
            progress.steps += 1;
            progress.failure = step.as_ref().err().cloned();
        });
        match step {
            Ok(Step::Embedded(count)) => {
                otel_debug!(name: "TraceStore.Embedded", documents = count as u64);
                Some(Duration::ZERO)
            }
            Ok(Step::Busy) => Some(busy),
            Ok(Step::Done) => {
                if let Err(error) = self.embed_words().await {
                    // A search embeds what it misses; the next documents bring another attempt.
                    otel_warn!(name: "TraceStore.EmbeddingWordsFailed", reason = error.to_string());
                }
                backfill.runs.store(false, Ordering::Release);
                // A document stored between the last look and this line started no backfill of its own.
                match self.waiting(i32::MAX).await {
                    Ok((0, _)) => None,
                    _ if backfill.runs.swap(true, Ordering::AcqRel) => None,
                    Ok(_) => Some(BUSY),
                    Err(_) => Some(RETRY),
                }
            }
            Err(error) => {
                otel_warn!(name: "TraceStore.EmbeddingFailed", reason = error.to_string());
                Some(RETRY)
            }
        }
    }
}

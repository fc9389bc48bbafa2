//! Embedding the documents that wait for it, behind the spans.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::{otel_debug, otel_warn};
use pgvector::Vector;

use super::{Inner, TraceStore};
use crate::error::{Error, Result};

/// Documents embedded at a time: about a second of one core.
const CHUNK: i64 = 64;
/// How long to wait after a failure: a model may be installed, a database come back.
const RETRY: Duration = Duration::from_secs(30);
/// How long to wait for documents that another process is embedding.
const BUSY: Duration = Duration::from_millis(50);

/// What one step of the backfill found.
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
    /// later); [`Error::Timeout`] after `flush_timeout_seconds`; [`Error::Connect`], [`Error::Database`].
    pub async fn flush(&self) -> Result<()> {
        let seconds = self.inner.settings.flush_timeout_seconds;
        let newest = self.timed("looking for documents", self.waiting(i32::MAX)).await?.1;
        let embed = async {
            loop {
                match self.embed_chunk(newest).await? {
                    Step::Embedded(_) => {}
                    Step::Busy => tokio::time::sleep(BUSY).await,
                    Step::Done => return Ok(()),
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(seconds), embed).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { doing: "embedding documents", seconds: seconds as f64 }),
        }
    }

    /// As [`flush`](Self::flush), but a store that was never connected has nothing to wait for.
    pub(crate) async fn flush_if_used(&self) -> Result<()> {
        if self.inner.schema.initialized() { self.flush().await } else { Ok(()) }
    }

    /// Starts the backfill unless it runs. It ends by itself when nothing waits or the store is gone.
    pub(super) fn start_backfill(&self) {
        if self.inner.backfill_runs.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(run(Arc::downgrade(&self.inner)));
    }

    /// How many documents up to an id wait, and the highest id among them.
    pub(super) async fn waiting(&self, newest: i32) -> Result<(i64, i32)> {
        let (connection, _) = self.connection().await?;
        let doing = || Error::database("counting documents that wait");
        let statement = connection.prepare_cached(&self.inner.sql.count_waiting).await.map_err(doing())?;
        let row = connection.query_one(&statement, &[&newest]).await.map_err(doing())?;
        connection.give_back();
        Ok((row.get(0), row.get(1)))
    }

    /// Embeds some of the documents up to an id. Their rows are locked meanwhile, so that no two processes embed the same.
    async fn embed_chunk(&self, newest: i32) -> Result<Step> {
        let doing = || Error::database("storing embeddings");
        let (connection, schema) = self.connection().await?;
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        let select = connection.prepare_cached(&self.inner.sql.waiting_documents).await.map_err(doing())?;
        let rows = connection.query(&select, &[&newest, &CHUNK]).await.map_err(doing())?;
        if rows.is_empty() {
            connection.batch_execute("ROLLBACK").await.map_err(doing())?;
            connection.give_back();
            let waiting = self.waiting(newest).await?.0;
            return Ok(if waiting > 0 { Step::Busy } else { Step::Done });
        }
        let (ids, texts): (Vec<i32>, Vec<String>) =
            rows.iter().map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1))).unzip();
        let embedder = self.inner.embedder.clone();
        let embed = move || embedder.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let vectors = match tokio::task::spawn_blocking(embed).await {
            Ok(Ok(vectors)) => vectors,
            Ok(Err(error)) => {
                connection.batch_execute("ROLLBACK").await.map_err(doing())?;
                connection.give_back();
                return Err(error);
            }
            Err(error) => return Err(Error::Model(format!("the embedding was interrupted: {error}"))),
        };
        self.record_model(&connection).await?;
        let vectors: Vec<Vector> = vectors.iter().map(|vector| Vector::from(vector.to_vec())).collect();
        let update = connection.prepare_cached(&schema.store_embeddings).await.map_err(doing())?;
        connection.execute(&update, &[&ids, &vectors]).await.map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(Step::Embedded(ids.len()))
    }

    /// The first embedding decides the model; another one would make vectors that cannot be compared.
    async fn record_model(&self, connection: &super::connection::Connection) -> Result<()> {
        let schema = &self.inner.sql.schema;
        let doing = || Error::database("recording the model");
        let name = self.inner.embedder.model_name();
        let dimension = i32::from(self.inner.settings.embedding_dimension);
        let insert = format!(
            "INSERT INTO {schema}.embedding_model (name, dimension) VALUES ($1, $2) ON CONFLICT (only_row) DO NOTHING"
        );
        connection.execute(&insert, &[&name, &dimension]).await.map_err(doing())?;
        let recorded: String = connection
            .query_one(&format!("SELECT name FROM {schema}.embedding_model"), &[])
            .await
            .map_err(doing())?
            .get(0);
        if recorded == name { Ok(()) } else { Err(other_model(&recorded, name)) }
    }
}

/// The schema's embeddings were made by another model than the settings name.
pub(crate) fn other_model(recorded: &str, name: &str) -> Error {
    Error::Model(format!(
        "the embeddings in this schema were made by \"{recorded}\", the setting embedding_model is \"{name}\". Set \
         embedding_model: {recorded}, or use another schema"
    ))
}

async fn run(store: Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        let store_now = TraceStore { inner };
        let pause = match store_now.embed_chunk(i32::MAX).await {
            Ok(Step::Embedded(count)) => {
                otel_debug!(name: "TraceStore.Embedded", documents = count as u64);
                continue;
            }
            Ok(Step::Busy) => BUSY,
            Ok(Step::Done) => {
                store_now.inner.backfill_runs.store(false, Ordering::Release);
                // A document stored between the last look and this line started no backfill of its own.
                match store_now.waiting(i32::MAX).await {
                    Ok((0, _)) => return,
                    _ if store_now.inner.backfill_runs.swap(true, Ordering::AcqRel) => return,
                    _ => BUSY,
                }
            }
            Err(error) => {
                otel_warn!(name: "TraceStore.EmbeddingFailed", reason = error.to_string());
                RETRY
            }
        };
        drop(store_now);
        tokio::time::sleep(pause).await;
    }
}

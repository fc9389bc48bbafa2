//! The write path: one transaction a batch, in two flights when its documents are known.
//!
//! The first flight holds nothing of the spans: it is on its way while they are split.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use futures_util::future;
use hashbrown::HashMap;
use opentelemetry::otel_debug;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::batch_id::new_batch_id;
use super::begun::{Ahead, References};
use super::copy::CopyRows;
use super::partition::DAY_US;
use super::resolve::describe;
use super::{Known, TraceStore};
use crate::error::{Error, ErrorClass, Result};
use crate::span::{Halves, Span};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// How many spans are stored.
    pub spans: usize,
    /// False when the batch was in the database already, stored by an earlier attempt.
    pub new: bool,
    /// How many documents were not known to this process before.
    pub new_documents: usize,
    /// Whether nothing is stored under this id, as the batch was [taken apart](TraceStore::take_apart).
    pub(crate) is_apart: bool,
}

/// A batch that is split and ready to be sent.
pub(crate) struct Batch {
    halves: Halves,
    /// Ids of the documents that were known when the batch was split.
    known: HashMap<u128, Known>,
}

impl Batch {
    /// The days on which its spans started, since 1970.
    pub(super) fn days(&self) -> Vec<i32> {
        let mut days = Vec::new();
        for row in &self.halves.rows {
            let day = row.start_us.div_euclid(DAY_US) as i32;
            if days.last() != Some(&day) {
                days.push(day);
            }
        }
        days.sort_unstable();
        days.dedup();
        days
    }
}

/// What the rows of a batch refer to.
struct Resolved {
    /// Documents that were not known when the batch was split.
    fresh: HashMap<u128, Known>,
    /// The batch's resources, in their order.
    resources: Vec<Known>,
}

/// The longest fillers of one span. A field of PostgreSQL holds at most 1 GiB.
const MAX_FILLERS: usize = 1 << 29;

impl TraceStore {
    /// Stores the spans of one trace; returns when they are committed.
    ///
    /// # Errors
    /// As [`batch_store`](Self::batch_store), and [`Error::Input`] when the spans are of several traces.
    pub async fn store_trace(&self, spans: &[Span<'_>]) -> Result<Stored> {
        if spans.windows(2).any(|pair| pair[0].trace_id != pair[1].trace_id) {
            return Err(Error::Input {
                origin: "store_trace".into(),
                reason: "the spans are of several traces; use batch_store".into(),
            });
        }
        self.batch_store(spans).await
    }

    /// Stores spans of any traces in one transaction; returns when they are committed.
    ///
    /// What the settings redact or limit is not stored; `spans` stay as they are.
    /// Documents that are new are embedded behind it; [`flush`](Self::flush) waits for them.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`] or [`Error::Schema`]: nothing is stored then, or,
    /// when the answer to COMMIT was lost, everything may be.
    pub async fn batch_store(&self, spans: &[Span<'_>]) -> Result<Stored> {
        self.batch_store_with_id(new_batch_id(), spans).await
    }

    /// As [`batch_store`](Self::batch_store), with an id of the caller's choice: a batch whose id is in the ledger is
    /// not stored again. So the same batch may be sent until an answer comes; ids of version 7 leave the ledger
    /// after `ledger_days`, others stay.
    ///
    /// # Errors
    /// As [`batch_store`](Self::batch_store).
    pub async fn batch_store_with_id(&self, id: Uuid, spans: &[Span<'_>]) -> Result<Stored> {
        let entry = [(id, spans.len() as i32)];
        let split = || self.scrub_and_split(spans);
        let stored = match self.send(&entry, split).await {
            // Nothing is known any more: now every document is looked up.
            Err(Error::Replaced) => self.send(&entry, split).await?,
            result => result?,
        };
        match stored.is_apart {
            false => Ok(stored),
            true => Err(Error::Input {
                origin: format!("batch {id}"),
                reason: "an exporter has begun to store it in parts, since the database refused it; it ends that when \
                         it finds the batch in its spool"
                    .into(),
            }),
        }
    }

    /// Stores several batches in one transaction, each with its entry in the ledger: all of them, or, where one of them
    /// is in the ledger, none.
    ///
    /// # Errors
    /// As [`batch_store`](Self::batch_store).
    #[cfg(feature = "import")]
    pub(crate) async fn store_together(&self, entries: &[(Uuid, i32)], spans: &[Span<'_>]) -> Result<Stored> {
        let split = || self.scrub_and_split(spans);
        match self.send(entries, split).await {
            // Nothing is known any more: now every document is looked up.
            Err(Error::Replaced) => self.send(entries, split).await,
            result => result,
        }
    }

    /// Splits spans that are [scrubbed](Self::scrub); needs no database.
    pub(crate) fn split(&self, spans: &[Span<'_>]) -> Result<Batch> {
        let known = RefCell::new(HashMap::new());
        let is_known = |key: u128| {
            let mut known = known.borrow_mut();
            if known.contains_key(&key) {
                return true;
            }
            self.inner.documents.get(&key).is_some_and(|found| known.insert(key, found).is_none())
        };
        // A panic of another thread in here leaves the splitter in order: it holds counts only.
        let mut splitter = self.inner.splitter.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let halves = splitter.split(spans, is_known);
        drop(splitter);
        if let Some(at) = halves.rows.iter().position(|row| row.fillers.len() > MAX_FILLERS) {
            return Err(Error::Input {
                origin: format!("span {at} of the batch"),
                reason: format!("it is larger than {MAX_FILLERS} bytes"),
            });
        }
        if halves.nuls > 0 {
            self.inner.nuls_replaced.fetch_add(halves.nuls, Ordering::Relaxed);
            otel_debug!(name: "SpanExporter.NulReplaced", count = halves.nuls);
        }
        Ok(Batch { halves, known: known.into_inner() })
    }

    /// Stores a batch that `split` makes, under these entries of the ledger with their numbers of spans: one, or several
    /// that travel together. On success it is committed, now or by an earlier attempt.
    pub(crate) async fn send(
        &self,
        entries: &[(Uuid, i32)],
        split: impl FnOnce() -> Result<Batch>,
    ) -> Result<Stored> {
        let result = self.send_any(entries, split).await;
        if result.as_ref().is_err_and(|error| error.class() != ErrorClass::Data) {
            self.forget();
        }
        result
    }

    /// As [`send`](Self::send), for a batch that fails while others are stored: what waits for somebody to mend it says
    /// nothing of the connections.
    pub(crate) async fn send_suspect(
        &self,
        entries: &[(Uuid, i32)],
        split: impl FnOnce() -> Result<Batch>,
    ) -> Result<Stored> {
        let result = self.send_any(entries, split).await;
        if result.as_ref().is_err_and(Error::is_transient) {
            self.forget();
        }
        result
    }

    async fn send_any(
        &self,
        entries: &[(Uuid, i32)],
        split: impl FnOnce() -> Result<Batch>,
    ) -> Result<Stored> {
        if entries.iter().all(|(_, spans)| *spans == 0) {
            return Ok(Stored { spans: 0, new: true, new_documents: 0, is_apart: false });
        }
        let sending = async {
            let splitting = async {
                // The connection's task has the thread for as long as it takes to send off the first flight.
                tokio::task::yield_now().await;
                split()
            };
            let (ahead, batch) = future::join(self.begin_ahead(entries), splitting).await;
            self.send_to_partitions(entries, &batch?, ahead?).await
        };
        self.timed("storing a batch", sending).await.inspect(|_| self.start_upkeep())
    }

    /// Begins a batch's transaction where its documents are likely to be known, as those of the last one were.
    async fn begin_ahead(&self, entries: &[(Uuid, i32)]) -> Result<Ahead> {
        if !self.inner.all_known.load(Ordering::Relaxed) {
            return Ok(Ahead::Nothing);
        }
        let (connection, _) = self.connection().await?;
        let begun = self.begin(connection, entries).await?;
        Ok(begun.map_or(Ahead::Stored, |begun| Ahead::Begun(Box::new(begun))))
    }

    /// Sends what was split, into the transaction that was begun meanwhile where it can be.
    pub(super) async fn send_once(
        &self,
        entries: &[(Uuid, i32)],
        batch: &Batch,
        ahead: Ahead,
    ) -> Result<Stored> {
        let halves = &batch.halves;
        let described = describe(halves);
        let all_known = match halves.documents.is_empty() {
            true => self.known_resources(&described),
            false => None,
        };
        let (begun, resolved) = match (ahead, all_known) {
            (Ahead::Stored, _) => return self.stored_before(entries, batch).await,
            (Ahead::Begun(begun), Some(resources)) => {
                (Some(*begun), Resolved { fresh: HashMap::new(), resources })
            }
            (ahead, _) => {
                let connection = match ahead {
                    Ahead::Begun(begun) => begun.give_up().await?,
                    _ => self.connection().await?.0,
                };
                // In transactions of their own: a document without spans does no harm, and no other writer waits for
                // this batch's COPY.
                let fresh = self.resolve_documents(&connection, &halves.documents).await?;
                let resources = self.resolve_resources(&connection, &described).await?;
                (self.begin(connection, entries).await?, Resolved { fresh, resources })
            }
        };
        let Some(begun) = begun else { return self.stored_before(entries, batch).await };
        let Resolved { fresh, resources } = resolved;
        let rows = encode(batch, &fresh, &resources)?;
        let documents = References::to(batch.known.values().chain(fresh.values()));
        begun.commit(&self.inner.sql.check_references, rows, &documents, &References::to(&resources)).await?;
        let counters = &self.inner.counters;
        counters.documents_known.fetch_add(batch.known.len() as u64, Ordering::Relaxed);
        counters.documents_new.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        self.inner.all_known.store(fresh.is_empty(), Ordering::Relaxed);
        if !fresh.is_empty() {
            self.inner.words_wait.store(true, Ordering::Release);
            self.start_backfill();
        }
        Ok(Stored { spans: halves.rows.len(), new: true, new_documents: fresh.len(), is_apart: false })
    }

    /// What became of a batch whose entry was in the ledger.
    async fn stored_before(&self, entries: &[(Uuid, i32)], batch: &Batch) -> Result<Stored> {
        let is_apart = match entries {
            [(id, _)] => self.is_apart(*id).await?,
            _ => false,
        };
        let spans = if is_apart { 0 } else { batch.halves.rows.len() };
        Ok(Stored { spans, new: false, new_documents: 0, is_apart })
    }

    /// Enters a batch that the database refuses into the ledger as one that is stored in parts: from then on no
    /// attempt can store it as a whole, however late. False when it is stored as a whole already.
    pub(crate) async fn take_apart(&self, id: Uuid) -> Result<bool> {
        self.timed("taking a batch apart", async {
            let (connection, _) = self.connection().await?;
            match connection.execute_prepared(&self.inner.sql.take_apart, &[&id]).await {
                Ok(_) => {
                    connection.give_back();
                    Ok(true)
                }
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    drop(connection);
                    self.is_apart(id).await
                }
                Err(error) => Err(Error::database("taking a batch apart")(error)),
            }
        })
        .await
    }

    async fn is_apart(&self, id: Uuid) -> Result<bool> {
        let (connection, _) = self.connection().await?;
        let failed = || Error::database("looking into the ledger");
        let rows = connection.query_prepared(&self.inner.sql.is_apart, &[&id]).await.map_err(failed())?;
        connection.give_back();
        Ok(!rows.is_empty())
    }
}

/// The rows of a batch.
fn encode(batch: &Batch, fresh: &HashMap<u128, Known>, resources: &[Known]) -> Result<CopyRows> {
    let halves = &batch.halves;
    let document = |key| batch.known.get(key).or_else(|| fresh.get(key)).map(|document| document.id);
    let mut rows = CopyRows::with_capacity(halves.rows.len(), halves.fillers.len());
    for row in &halves.rows {
        let ids = document(&row.document).zip(resources.get(row.resource).map(|resource| resource.id));
        let (document_id, resource_id) =
            ids.ok_or_else(|| Error::Corrupt("a row lost its document on the way".into()))?;
        rows.push(row, document_id, resource_id, &halves.fillers[row.fillers.clone()]);
    }
    Ok(rows)
}

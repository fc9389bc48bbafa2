//! The write path: one transaction a batch, in two flights when its documents are known.
//!
//! The first flight holds nothing of the spans: it is on its way while they are split.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{SinkExt, future};
use hashbrown::HashMap;
use opentelemetry::otel_debug;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, Row};
use uuid::Uuid;

use super::batch_id::new_batch_id;
use super::connection::Connection;
use super::copy::CopyRows;
use super::partition::DAY_US;
use super::sql::BEGIN_BATCH;
use super::{Known, TraceStore};
use crate::error::{Error, Result};
use crate::span::{Document, Halves, Resource, Span, resource_json};

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
            if days.last() != Some(&day) && !days.contains(&day) {
                days.push(day);
            }
        }
        days
    }
}

/// How far a batch is in the database before anything of its spans is sent.
pub(super) enum Ahead {
    /// Its documents are looked up first.
    Nothing,
    /// Its transaction has begun.
    Begun(Box<Begun>),
    /// It is in the ledger, by an earlier attempt.
    Stored,
}

/// A transaction whose batch is in the ledger, and which takes rows.
pub(super) struct Begun {
    connection: Connection,
    rows: Pin<Box<CopyInSink<Bytes>>>,
}

impl Begun {
    /// Ends the transaction without a row: what the batch has that is new comes first.
    pub(super) async fn give_up(mut self) -> Result<Connection> {
        let failed = || Error::database("storing spans");
        // A COPY that is broken off would be an error in the server's log.
        self.rows.send(CopyRows::with_capacity(0, 0).finish()).await.map_err(failed())?;
        let (copied, ended) =
            future::join(self.rows.as_mut().finish(), self.connection.batch_execute("ROLLBACK")).await;
        copied.map_err(failed())?;
        ended.map_err(failed())?;
        Ok(self.connection)
    }
}

/// What a batch's rows refer to, which has to be there when they are stored: in the order of the ids, each once.
struct References {
    ids: Vec<i32>,
    hashes: Vec<Uuid>,
}

impl References {
    fn to<'a>(known: impl IntoIterator<Item = &'a Known>) -> Self {
        let mut known: Vec<&Known> = known.into_iter().collect();
        known.sort_unstable_by_key(|known| known.id);
        known.dedup_by_key(|known| known.id);
        let (ids, hashes) = known.into_iter().map(|known| (known.id, known.hash)).unzip();
        References { ids, hashes }
    }
}

/// What the rows of a batch refer to.
struct Resolved {
    /// Documents that were not known when the batch was split.
    fresh: HashMap<u128, Known>,
    /// The batch's resources, in their order.
    resources: Vec<Known>,
}

/// A resource of a batch as it is stored.
struct Described<'a> {
    hash: [u8; 16],
    resource: &'a Resource,
    body: String,
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
        let result = self.timed("storing a batch", sending).await;
        match &result {
            Ok(_) => self.start_upkeep(),
            // This is about the batch.
            Err(Error::Input { .. } | Error::Corrupt(_)) => {}
            Err(_) => self.forget(),
        }
        result
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

    /// Begins a batch's transaction in one flight: BEGIN, its entries in the ledger, and the start of COPY. `None` where
    /// the batch is in the ledger already.
    async fn begin(&self, connection: Connection, entries: &[(Uuid, i32)]) -> Result<Option<Begun>> {
        let failed = || Error::database("storing spans");
        let sql = &self.inner.sql;
        let statements = [&*sql.enter_batch, &sql.copy_rows, &sql.check_references];
        connection.prepare_ahead(&statements).await.map_err(failed())?;
        let (ids, spans): (Vec<Uuid>, Vec<i32>) = entries.iter().copied().unzip();
        let (begun, entered, rows) = future::join3(
            connection.batch_execute(BEGIN_BATCH),
            connection.execute_prepared(&sql.enter_batch, &[&ids, &spans]),
            connection.copy_in(&sql.copy_rows),
        )
        .await;
        begun.map_err(failed())?;
        match entered {
            // It is not in the transaction that has begun.
            Ok(0) => Err(Error::Replaced),
            Ok(_) => Ok(Some(Begun { connection, rows: Box::pin(rows.map_err(failed())?) })),
            // An earlier attempt was committed, and its answer was lost. A COPY that was refused leaves the driver out of
            // step with the server: the connection is closed.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(None),
            Err(error) => Err(failed()(error)),
        }
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
        let document = |key| batch.known.get(key).or_else(|| fresh.get(key)).map(|document| document.id);
        let mut rows = CopyRows::with_capacity(halves.rows.len(), halves.fillers.len());
        for row in &halves.rows {
            let ids = document(&row.document).zip(resources.get(row.resource).map(|resource| resource.id));
            let (document_id, resource_id) =
                ids.ok_or_else(|| Error::Corrupt("a row lost its document on the way".into()))?;
            rows.push(row, document_id, resource_id, &halves.fillers[row.fillers.clone()]);
        }
        let documents = References::to(batch.known.values().chain(fresh.values()));
        self.commit(begun, rows, &documents, &References::to(&resources)).await?;
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

    /// The rows, the end of COPY, the look at what they refer to, and COMMIT in one flight.
    async fn commit(
        &self,
        begun: Begun,
        rows: CopyRows,
        documents: &References,
        resources: &References,
    ) -> Result<()> {
        let failed = || Error::database("storing spans");
        let Begun { connection, rows: mut sink } = begun;
        sink.send(rows.finish()).await.map_err(failed())?;
        let references: [(&(dyn ToSql + Sync), Type); 4] = [
            (&documents.ids, Type::INT4_ARRAY),
            (&documents.hashes, Type::UUID_ARRAY),
            (&resources.ids, Type::INT4_ARRAY),
            (&resources.hashes, Type::UUID_ARRAY),
        ];
        let (copied, checked, committed) = future::join3(
            sink.as_mut().finish(),
            connection.query_typed(&self.inner.sql.check_references, &references),
            connection.batch_execute("COMMIT"),
        )
        .await;
        // COMMIT after a failure rolls back without an error of its own.
        copied.map_err(failed())?;
        match checked {
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => return Err(Error::Replaced),
            Err(error) => return Err(failed()(error)),
        }
        committed.map_err(failed())?;
        connection.give_back();
        Ok(())
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

    /// The ids of the documents that were not known, stored where they are new.
    async fn resolve_documents(
        &self,
        connection: &Connection,
        documents: &[Arc<Document>],
    ) -> Result<HashMap<u128, Known>> {
        if documents.is_empty() {
            return Ok(HashMap::new());
        }
        let doing = || Error::database("storing documents");
        // Documents that differ only in what PostgreSQL cannot hold share their hash.
        let by_hash: HashMap<Uuid, &Document> =
            documents.iter().map(|document| (Uuid::from_bytes(document.hash), document.as_ref())).collect();
        let hashes: Vec<Uuid> = by_hash.keys().copied().collect();
        let mut ids: HashMap<Uuid, i32> = HashMap::with_capacity(by_hash.len());
        let find = &self.inner.sql.find_documents;
        for row in connection.query_prepared(find, &[&hashes]).await.map_err(doing())? {
            ids.insert(row.get(1), row.get(0));
        }
        let missing: Vec<&Document> = by_hash
            .iter()
            .filter(|(hash, _)| !ids.contains_key(*hash))
            .map(|(_, document)| *document)
            .collect();
        if !missing.is_empty() {
            self.insert_documents(connection, &missing, &mut ids).await.map_err(doing())?;
        }
        let mut resolved = HashMap::with_capacity(documents.len());
        for document in documents {
            let hash = Uuid::from_bytes(document.hash);
            if let Some(&id) = ids.get(&hash) {
                self.inner.documents.insert(document.key, Known { id, hash });
                resolved.insert(document.key, Known { id, hash });
            }
        }
        Ok(resolved)
    }

    async fn insert_documents(
        &self,
        connection: &Connection,
        missing: &[&Document],
        ids: &mut HashMap<Uuid, i32>,
    ) -> Result<(), tokio_postgres::Error> {
        fn column<'a, T>(documents: &[&'a Document], of: impl Fn(&'a Document) -> T) -> Vec<T> {
            documents.iter().map(|document| of(document)).collect()
        }
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &column(missing, |document| Uuid::from_bytes(document.hash)),
            &column(missing, |document| document.service.as_str()),
            &column(missing, |document| document.scope.as_str()),
            &column(missing, |document| document.name.as_str()),
            &column(missing, |document| document.kind),
            &column(missing, |document| document.status_code),
            &column(missing, |document| document.body.as_str()),
            &column(missing, |document| document.text.as_str()),
            &column(missing, |document| document.attributes.as_deref()),
        ];
        for row in connection.query_prepared(&self.inner.sql.insert_documents, &parameters).await? {
            ids.insert(row.get(1), row.get(0));
        }
        Ok(())
    }

    /// The batch's resources, where all of them are known.
    fn known_resources(&self, described: &[Described<'_>]) -> Option<Vec<Known>> {
        let known = |of: &Described<'_>| {
            let id = self.inner.resources.get(&of.hash)?;
            Some(Known { id, hash: Uuid::from_bytes(of.hash) })
        };
        described.iter().map(known).collect()
    }

    /// The batch's resources, stored where they are new.
    async fn resolve_resources(
        &self,
        connection: &Connection,
        described: &[Described<'_>],
    ) -> Result<Vec<Known>> {
        let doing = || Error::database("storing resources");
        let known = &self.inner.resources;
        let mut unknown: HashMap<Uuid, (String, &str)> = HashMap::new();
        for Described { hash, resource, body } in described {
            if !known.contains_key(hash) {
                let service = resource.service_name().replace('\0', "\u{2400}");
                unknown.insert(Uuid::from_bytes(*hash), (service, body));
            }
        }
        let mut ids = HashMap::new();
        if !unknown.is_empty() {
            let mut rows = self.find_resources(connection, &mut unknown).await.map_err(doing())?;
            if !unknown.is_empty() {
                let hashes: Vec<Uuid> = unknown.keys().copied().collect();
                let services: Vec<&str> = unknown.values().map(|(service, _)| service.as_str()).collect();
                let bodies: Vec<&str> = unknown.values().map(|(_, body)| *body).collect();
                let new: [&(dyn ToSql + Sync); 3] = [&hashes, &services, &bodies];
                connection.execute_prepared(&self.inner.sql.insert_resources, &new).await.map_err(doing())?;
                // Another process may have been faster, and then the insertion waited for it.
                rows.extend(self.find_resources(connection, &mut unknown).await.map_err(doing())?);
            }
            for row in rows {
                let (id, hash): (i32, Uuid) = (row.get(0), row.get(1));
                known.insert(hash.into_bytes(), id);
                ids.insert(hash.into_bytes(), id);
            }
        }
        described
            .iter()
            .map(|Described { hash, .. }| {
                ids.get(hash)
                    .copied()
                    .or_else(|| known.get(hash))
                    .map(|id| Known { id, hash: Uuid::from_bytes(*hash) })
                    .ok_or_else(|| Error::Corrupt("a resource lost its id on the way".into()))
            })
            .collect()
    }

    /// Finds resources by their hashes, and leaves those that were not found.
    async fn find_resources<T>(
        &self,
        connection: &Connection,
        unknown: &mut HashMap<Uuid, T>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let hashes: Vec<Uuid> = unknown.keys().copied().collect();
        let rows = connection.query_prepared(&self.inner.sql.find_resources, &[&hashes]).await?;
        for row in &rows {
            unknown.remove(&row.get::<_, Uuid>(1));
        }
        Ok(rows)
    }
}

/// The resources of a batch as they are stored.
fn describe(halves: &Halves) -> Vec<Described<'_>> {
    let resources = halves.resources.iter().map(|resource| {
        let (body, _) = resource_json(resource);
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(body.as_bytes()).as_bytes()[..16]);
        Described { hash, resource, body }
    });
    resources.collect()
}

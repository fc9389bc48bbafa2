//! From one model to another, while everything goes on.
//!
//! The embeddings of the new model are made in a column beside the old one, `span_documents.embedding_next`, in small
//! transactions that skip what others hold. Writers and search know nothing of it. When only a few are missing and their
//! index is built, one short transaction puts the column in the place of the old one. All state is in the database, so the
//! work may be interrupted anywhere, and several processes may share it.

mod change;
mod index;

use std::time::Duration;

use opentelemetry::otel_info;
use serde::Serialize;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::model::Model;
use super::vector::Vector;
use crate::error::{Error, Result};
use change::{LAST, MOST_LAST, Switch};

/// Documents embedded at a time. A transaction holds their rows meanwhile, and large models take their time.
const CHUNK: i64 = 32;
/// How long to wait for documents or for a turn that another process has.
const BUSY: Duration = Duration::from_millis(200);

/// How far [`TraceStore::reembed`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReembedProgress {
    /// So many documents of all have their new embedding.
    Embedding {
        /// How many have it.
        done: u64,
        /// How many there are.
        of: u64,
    },
    /// The index of the new embeddings is built, or another process has its turn.
    Indexing,
    /// It waits until no transaction is in the way of the change, which takes a moment.
    Changing,
}

/// What [`TraceStore::reembed`] has done, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reembedded {
    /// The model that made the embeddings before; none where there were none.
    pub from: Option<Model>,
    /// The model of the settings.
    pub to: Model,
    /// How many documents there are.
    pub documents: u64,
    /// How many of them this call embedded.
    pub embedded: u64,
    /// How many still need an embedding of the new model.
    pub left: u64,
    /// Whether the model of the settings was another than the schema's.
    pub needed: bool,
    /// Whether the schema's model changed.
    pub changed: bool,
}

/// What one step found.
enum Step {
    Embedded(u64),
    /// The documents that are left are in the hands of another process.
    Busy,
    /// No document is left.
    Done,
    /// Another process has made the change.
    Changed,
}

impl TraceStore {
    /// What [`reembed`](Self::reembed) would do. It changes nothing, and needs the reader's rights only.
    ///
    /// # Errors
    /// [`Error::Model`] where the model of the settings cannot be loaded; [`Error::Connect`], [`Error::Database`],
    /// [`Error::Schema`].
    pub async fn plan_reembed(&self) -> Result<Reembedded> {
        let to = self.own_model().await?;
        let (connection, _) = self.connection().await?;
        let embeddings = self.embeddings(&connection).await?;
        let documents = self.documents(&connection).await?;
        let needed = !embeddings.fit(&to);
        let left = match needed {
            true if embeddings.become_those_of(&to) => self.left(&connection).await?,
            true => documents,
            false => 0,
        };
        connection.give_back();
        Ok(Reembedded { from: embeddings.made_by, to, documents, embedded: 0, left, needed, changed: false })
    }

    /// Embeds all documents with the model of the settings and makes it the schema's, while writers store and searches
    /// are answered, until the change with the old model. May be interrupted, and goes on when it is called again, also
    /// by several processes at once. It takes up to two connections of the pool, and the rights of the tables' owner.
    ///
    /// Where the settings' model is the schema's already, it ends a change to another one that has begun.
    ///
    /// # Errors
    /// [`Error::Model`] where the model cannot be loaded, or another process changes the schema to a third one;
    /// [`Error::Schema`] where this role is not the owner, or views of others read the embeddings; [`Error::Connect`],
    /// [`Error::Database`].
    pub async fn reembed(&self, report: impl Fn(ReembedProgress)) -> Result<Reembedded> {
        let mut done = self.plan_reembed().await?;
        if !self.begin_change(&done.to, &report).await? {
            return Ok(done);
        }
        let mut last = LAST;
        loop {
            if self.embed_next(&mut done, last, &report).await? {
                break;
            }
            report(ReembedProgress::Indexing);
            let turn = self.turn().await?;
            let switch = self.index_and_switch(&done.to, last, &report).await?;
            turn.batch_execute("COMMIT").await.map_err(Error::database("ending a turn"))?;
            turn.give_back();
            if let Switch::Done(embedded) = switch {
                done.embedded += embedded;
                break;
            }
            last = (last * 2).min(MOST_LAST);
        }
        self.embed_all_words().await?;
        let (connection, _) = self.connection().await?;
        done.documents = self.documents(&connection).await?;
        connection.give_back();
        otel_info!(name: "TraceStore.Reembedded", model = done.to.name.as_str(), documents = done.documents);
        Ok(Reembedded { left: 0, changed: true, ..done })
    }

    /// To be called in turn.
    async fn index_and_switch(
        &self,
        own: &Model,
        last: u32,
        report: &impl Fn(ReembedProgress),
    ) -> Result<Switch> {
        let (connection, _) = self.connection().await?;
        let changing = self.is_changing_to(&connection, own).await?;
        connection.give_back();
        // Another process may have had its turn before.
        if !changing {
            return Ok(Switch::Done(0));
        }
        self.index_next().await?;
        self.switch(own, last, report).await
    }

    /// Embeds until no more than so many documents are left, since writers may always make some; returns whether another
    /// process has made the change meanwhile.
    async fn embed_next(
        &self,
        done: &mut Reembedded,
        last: u32,
        report: &impl Fn(ReembedProgress),
    ) -> Result<bool> {
        loop {
            match self.embed_next_chunk(&done.to).await? {
                Step::Embedded(count) => done.embedded += count,
                Step::Busy => tokio::time::sleep(BUSY).await,
                Step::Done => return Ok(false),
                Step::Changed => return Ok(true),
            }
            let (connection, _) = self.connection().await?;
            // Another process may make the change between the step and this, and then nothing is left.
            done.left = self.left(&connection).await.unwrap_or(0);
            done.documents = self.documents(&connection).await?;
            connection.give_back();
            let of = done.documents;
            report(ReembedProgress::Embedding { done: of.saturating_sub(done.left), of });
            if done.left <= last.into() {
                return Ok(false);
            }
        }
    }

    async fn embed_next_chunk(&self, own: &Model) -> Result<Step> {
        let doing = || Error::database("storing embeddings of the new model");
        let schema = &self.inner.sql.schema;
        let (connection, _) = self.connection().await?;
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        let step = async {
            // Keeps the column in its place.
            let lock = format!("LOCK TABLE {schema}.span_documents IN ROW SHARE MODE");
            connection.batch_execute(&lock).await.map_err(doing())?;
            if !self.is_changing_to(&connection, own).await? {
                return Ok(Step::Changed);
            }
            let lock = self.ready().await?.lock_documents();
            let embedded = self.fill_next(&connection, CHUNK, lock).await?;
            Ok(match embedded {
                0 if self.left(&connection).await? > 0 => Step::Busy,
                0 => Step::Done,
                count => Step::Embedded(count),
            })
        };
        let step = step.await?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(step)
    }

    /// Embeds some of the documents that have no embedding of the new model; returns how many.
    async fn fill_next(&self, connection: &Connection, limit: i64, lock: &str) -> Result<u64> {
        let doing = || Error::database("storing embeddings of the new model");
        let sql = &self.inner.sql;
        let info = self.ready().await?;
        let select = format!(
            "SELECT id, text FROM {}.span_documents WHERE embedding_next IS NULL ORDER BY id LIMIT $1 {lock}",
            sql.schema
        );
        let rows = connection.query(&select, &[&limit]).await.map_err(doing())?;
        if rows.is_empty() {
            return Ok(0);
        }
        let texts = rows.iter().map(|row| row.column(1)).collect::<Result<Vec<String>>>()?;
        let vectors = self.embed(texts).await?.into_iter().collect::<Option<Vec<Vector>>>();
        let vectors = vectors.ok_or_else(|| Error::Model("the store was closed while it embedded".into()))?;
        let ids = rows.iter().map(|row| row.column(0)).collect::<Result<Vec<i32>>>()?;
        let update = sql.fill("embedding_next", &info.vector);
        connection.execute(&update, &[&ids, &vectors]).await.map_err(doing())
    }

    /// Whether the schema is being changed to this model; false once it was.
    async fn is_changing_to(&self, connection: &Connection, own: &Model) -> Result<bool> {
        let embeddings = self.embeddings(connection).await?;
        if embeddings.become_those_of(own) {
            return Ok(true);
        }
        match embeddings.next {
            None if embeddings.made_by.is_some() && embeddings.fit(own) => Ok(false),
            None => Err(Error::Model(format!("another process has ended the change to {own}"))),
            Some(next) => {
                Err(Error::Model(format!("another process changes the schema to {next}, instead of {own}")))
            }
        }
    }

    async fn documents(&self, connection: &Connection) -> Result<u64> {
        self.count(connection, "").await
    }

    /// How many documents have no embedding of the new model.
    async fn left(&self, connection: &Connection) -> Result<u64> {
        self.count(connection, "WHERE embedding_next IS NULL").await
    }

    async fn count(&self, connection: &Connection, condition: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}.span_documents {condition}", self.inner.sql.schema);
        let row = connection.query_one(&sql, &[]).await.map_err(Error::database("counting documents"))?;
        row.count(0)
    }
}

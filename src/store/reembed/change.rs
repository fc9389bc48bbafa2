//! The two moments in which the tables change: a column is added, and takes the place of the old one.

use std::time::Duration;

use opentelemetry::otel_info;
use tokio_postgres::error::SqlState;

use super::{BUSY, ReembedProgress};
use crate::error::{Error, Result};
use crate::store::TraceStore;
use crate::store::columns::Columns;
use crate::store::connection::Connection;
use crate::store::model::{Embeddings, Model};

const SWITCH: &str = include_str!("../../../sql/switch_model.sql");

/// How long the exclusive lock is waited for: everyone else waits behind it, and an export hands over after two seconds.
const LOCK_TIMEOUT: &str = "1s";
/// How long everyone else goes on until the next attempt.
const PAUSE: Duration = Duration::from_millis(700);
/// So many documents that came last are embedded under the lock at the first attempt, which takes a tenth of a second.
pub(super) const LAST: u32 = 8;
/// At each attempt it may be twice as many, up to these, which take about a second: where documents keep coming, it ends
/// all the same.
pub(super) const MOST_LAST: u32 = 128;

/// What became of an attempt to make the change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// The new model is the schema's, and so many documents were embedded under the lock.
    Done(u64),
    /// More documents than a few came meanwhile.
    Later,
}

impl TraceStore {
    /// Waits for the turn to change tables and indexes, which one process has at a time: until the end of the
    /// connection's transaction, in which nothing else may be done.
    pub(super) async fn turn(&self) -> Result<Connection> {
        let doing = || Error::database("waiting for a turn");
        let name = format!("opentelemetry-pgvector reembed {}", self.inner.settings.schema);
        loop {
            let (connection, _) = self.connection().await?;
            connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(doing())?;
            let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
            if connection.query_one(lock, &[&name]).await.map_err(doing())?.column(0)? {
                // A transaction with a snapshot would keep an index from being built. The query above has one until the
                // next statement, so this is the last, and one without.
                let stay = "SET LOCAL idle_in_transaction_session_timeout = 0";
                connection.batch_execute(stay).await.map_err(doing())?;
                return Ok(connection);
            }
            connection.batch_execute("ROLLBACK").await.map_err(doing())?;
            connection.give_back();
            tokio::time::sleep(BUSY).await;
        }
    }

    /// Makes the column for embeddings of this model, unless it is there; returns whether there is anything to change.
    pub(super) async fn begin_change(&self, own: &Model, report: &impl Fn(ReembedProgress)) -> Result<bool> {
        let turn = self.turn().await?;
        let (connection, _) = self.connection().await?;
        self.check_owner(&connection).await?;
        let embeddings = self.embeddings(&connection).await?;
        let wanted = !embeddings.fit(own);
        if wanted {
            self.refuse_other_views(&connection).await?;
        }
        connection.give_back();
        if embeddings.next.is_some() && !(wanted && embeddings.become_those_of(own)) {
            self.drop_column(&embeddings, report).await?;
        }
        if wanted && !embeddings.become_those_of(own) {
            self.add_column(own, report).await?;
        }
        if wanted {
            self.index_waiting().await?;
        }
        turn.batch_execute("COMMIT").await.map_err(Error::database("ending a turn"))?;
        turn.give_back();
        Ok(wanted)
    }

    async fn add_column(&self, own: &Model, report: &impl Fn(ReembedProgress)) -> Result<()> {
        let doing = || Error::database("beginning the change of the model");
        let info = self.ready().await?;
        let connection = self.documents_alone(report).await?;
        let add = format!(
            "ALTER TABLE span_documents ADD COLUMN embedding_next {}({}); \
             COMMENT ON COLUMN span_documents.embedding_next IS 'Embedding of the model in embedding_next; null until it is computed.'",
            info.vector, own.dimension
        );
        connection.batch_execute(&add).await.map_err(doing())?;
        connection
            .execute(
                "INSERT INTO embedding_next (name, dimension, fingerprint) VALUES ($1, $2, $3)",
                &[&own.name, &own.dimension, &own.fingerprint],
            )
            .await
            .map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(())
    }

    /// Ends a change that is no longer wanted.
    async fn drop_column(&self, embeddings: &Embeddings, report: &impl Fn(ReembedProgress)) -> Result<()> {
        let doing = || Error::database("ending another change of the model");
        let connection = self.documents_alone(report).await?;
        // Each by itself, since Citus sends its nodes the whole text that a statement is part of.
        for statement in
            ["ALTER TABLE span_documents DROP COLUMN IF EXISTS embedding_next", "DELETE FROM embedding_next"]
        {
            connection.batch_execute(statement).await.map_err(doing())?;
        }
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        let given_up = embeddings.next.as_ref().map_or("", |next| next.name.as_str());
        otel_info!(name: "TraceStore.ReembeddingGivenUp", model = given_up);
        Ok(())
    }

    /// Puts the new column in the place of the old one, if no more than so many documents are missing in it.
    pub(super) async fn switch(
        &self,
        own: &Model,
        last: u32,
        report: &impl Fn(ReembedProgress),
    ) -> Result<Switch> {
        let doing = || Error::database("changing the model");
        report(ReembedProgress::Changing);
        let connection = self.documents_alone(report).await?;
        let ready = async {
            if !self.is_changing_to(&connection, own).await? {
                return Ok(Err(Switch::Done(0)));
            }
            if self.left(&connection).await? > last.into() {
                return Ok(Err(Switch::Later));
            }
            self.fill_next(&connection, last.into(), "").await.map(Ok)
        };
        let embedded = match ready.await? {
            Ok(embedded) => embedded,
            Err(ended) => {
                connection.batch_execute("ROLLBACK").await.map_err(doing())?;
                connection.give_back();
                return Ok(ended);
            }
        };
        connection.batch_execute(SWITCH).await.map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(Switch::Done(embedded))
    }

    /// A transaction of the owner's that has the documents to itself. Whoever is in the way is waited for, but never long,
    /// since everyone else waits behind.
    async fn documents_alone(&self, report: &impl Fn(ReembedProgress)) -> Result<Connection> {
        let doing = || Error::database("waiting for the documents");
        let schema = &self.inner.sql.schema;
        let lock = format!(
            "SET LOCAL search_path TO {schema}, pg_temp; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
             LOCK TABLE span_documents IN ACCESS EXCLUSIVE MODE"
        );
        loop {
            let (connection, _) = self.connection().await?;
            connection.batch_execute("BEGIN").await.map_err(doing())?;
            self.become_owner(&connection).await?;
            match connection.batch_execute(&lock).await {
                Ok(()) => return Ok(connection),
                Err(error) if is_busy(&error) => {
                    connection.batch_execute("ROLLBACK").await.map_err(doing())?;
                    connection.give_back();
                    report(ReembedProgress::Changing);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(doing()(error)),
            }
        }
    }

    async fn check_owner(&self, connection: &Connection) -> Result<()> {
        let sql = "SELECT pg_get_userbyid(relowner)::text FROM pg_class \
                   WHERE oid = to_regclass($1) AND NOT pg_has_role(relowner, 'USAGE')";
        let table = format!("{}.span_documents", self.inner.sql.schema);
        let owner = connection
            .query_opt(sql, &[&table])
            .await
            .map_err(Error::database("looking for the tables' owner"))?;
        let Some(row) = owner else { return Ok(()) };
        let owner: &str = row.column(0)?;
        Err(Error::Schema(format!(
            "changing the model of schema \"{}\" takes the rights of its tables' owner: run otel-pgvector reembed as \
             \"{owner}\" or a member of it",
            self.inner.settings.schema
        )))
    }

    /// Views of others that read the embeddings would keep their column from being dropped.
    async fn refuse_other_views(&self, connection: &Connection) -> Result<()> {
        let sql = "SELECT DISTINCT v.oid::regclass::text FROM pg_depend d \
                   JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class \
                   JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
                   WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass($1) \
                     AND a.attname = 'embedding' AND v.oid IS DISTINCT FROM to_regclass($2)";
        let schema = &self.inner.sql.schema;
        let rows = connection
            .query(sql, &[&format!("{schema}.span_documents"), &format!("{schema}.documents")])
            .await
            .map_err(Error::database("looking for views"))?;
        if rows.is_empty() {
            return Ok(());
        }
        let views = rows.iter().map(|row| row.column(0)).collect::<Result<Vec<&str>>>()?;
        Err(Error::Schema(format!(
            "views read the column embedding of {schema}.span_documents, which is to be replaced: drop {}, and make them \
             again afterwards",
            views.join(", ")
        )))
    }
}

fn is_busy(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED))
}

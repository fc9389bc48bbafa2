//! A batch's transaction between its first flight, which holds nothing of the spans, and its last, which ends with COMMIT.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{SinkExt, future};
use tokio_postgres::CopyInSink;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::connection::Connection;
use super::copy::{self, CopyRows};
use super::sql::BEGIN_BATCH;
use super::{Known, TraceStore};
use crate::error::{Error, Result};

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

/// What a batch's rows refer to, which has to be there when they are stored: in the order of the ids, each once.
pub(super) struct References {
    ids: Vec<i32>,
    hashes: Vec<Uuid>,
}

impl References {
    pub(super) fn to<'a>(known: impl IntoIterator<Item = &'a Known>) -> Self {
        let mut known: Vec<&Known> = known.into_iter().collect();
        known.sort_unstable_by_key(|known| known.id);
        known.dedup_by_key(|known| known.id);
        let (ids, hashes) = known.into_iter().map(|known| (known.id, known.hash)).unzip();
        References { ids, hashes }
    }
}

fn failed() -> impl FnOnce(tokio_postgres::Error) -> Error {
    Error::database("storing spans")
}

impl Begun {
    /// Ends the transaction, and nothing of it is stored: what the batch has that is new comes first.
    pub(super) async fn give_up(mut self) -> Result<Connection> {
        // A COPY that is broken off would be an error in the server's log.
        self.rows.feed(CopyRows::with_capacity(0, 0).finish()).await.map_err(failed())?;
        let (copied, ended) =
            future::join(self.rows.as_mut().finish(), self.connection.batch_execute("ROLLBACK")).await;
        copied.map_err(failed())?;
        ended.map_err(failed())?;
        Ok(self.connection)
    }

    /// The rows, the end of COPY, the look at what they refer to, and COMMIT in one flight.
    pub(super) async fn commit(
        mut self,
        check_references: &str,
        rows: CopyRows,
        documents: &References,
        resources: &References,
    ) -> Result<()> {
        // It is not waited for: all that follows goes with it.
        self.rows.feed(rows.finish()).await.map_err(failed())?;
        let references: [(&(dyn ToSql + Sync), Type); 4] = [
            (&documents.ids, Type::INT4_ARRAY),
            (&documents.hashes, Type::UUID_ARRAY),
            (&resources.ids, Type::INT4_ARRAY),
            (&resources.hashes, Type::UUID_ARRAY),
        ];
        let (copied, checked, committed) = future::join3(
            self.rows.as_mut().finish(),
            self.connection.query_typed(check_references, &references),
            self.connection.batch_execute("COMMIT"),
        )
        .await;
        if let Err(error) = copied {
            // COMMIT after a failure has rolled back without an error of its own, and the connection is as good as before.
            if committed.is_ok() {
                self.connection.give_back();
            }
            return Err(failed()(error));
        }
        match checked {
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => return Err(Error::Replaced),
            Err(error) => return Err(failed()(error)),
        }
        committed.map_err(failed())?;
        self.connection.give_back();
        Ok(())
    }
}

impl TraceStore {
    /// Begins a batch's transaction in one flight: BEGIN, its entries in the ledger, and the start of COPY. `None` where
    /// the batch is in the ledger already.
    pub(super) async fn begin(
        &self,
        connection: Connection,
        entries: &[(Uuid, i32)],
    ) -> Result<Option<Begun>> {
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
            Ok(_) => {
                let mut rows = Box::pin(rows.map_err(failed())?);
                rows.feed(copy::header()).await.map_err(failed())?;
                Ok(Some(Begun { connection, rows }))
            }
            // An earlier attempt was committed, and its answer was lost. A COPY that was refused leaves the driver out of
            // step with the server: the connection is closed.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(None),
            Err(error) => Err(failed()(error)),
        }
    }
}

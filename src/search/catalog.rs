//! What there is: services and their operations.

use serde::Serialize;
use tokio_postgres::Row;

use super::filter::Kind;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Microseconds, TraceStore};

/// An operation of a service: spans of one name and kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// The spans' name, with `…` for what varies.
    pub name: String,
    /// The kind; `None` where it is unspecified.
    pub kind: Option<Kind>,
    /// How many documents it has: by status, attributes, exceptions.
    pub documents: u64,
    /// Whether one of them is a failure.
    pub fails: bool,
    /// When its first document was stored.
    #[serde(skip)]
    pub first_seen: Timestamp,
    /// When a process last began to use one of them, to about a day.
    #[serde(skip)]
    pub last_seen: Timestamp,
}

impl TraceStore {
    /// The names of all services that have spans, by name.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn services(&self) -> Result<Vec<String>> {
        // From name to name through the index, instead of over all documents.
        let sql = format!(
            "WITH RECURSIVE names AS ( \
                 SELECT min(service) AS service FROM {schema}.span_documents \
                 UNION ALL \
                 SELECT (SELECT min(d.service) FROM {schema}.span_documents d WHERE d.service > names.service) \
                 FROM names WHERE names.service IS NOT NULL) \
             SELECT service FROM names WHERE service IS NOT NULL",
            schema = self.sql().schema
        );
        self.timed("listing services", async {
            let (connection, _) = self.connection().await?;
            let rows =
                connection.query_prepared(&sql, &[]).await.map_err(Error::database("listing services"))?;
            connection.give_back();
            rows.iter().map(|row| row.column(0)).collect()
        })
        .await
    }

    /// The operations of a service, by name; none where there is no such service.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn operations(&self, service: &str) -> Result<Vec<Operation>> {
        let sql = format!(
            "SELECT name, kind, count(*), bool_or(status_code = 2), min(first_seen), max(last_seen) \
             FROM {}.span_documents WHERE service = $1 GROUP BY name, kind ORDER BY name, kind",
            self.sql().schema
        );
        self.timed("listing operations", async {
            let (connection, _) = self.connection().await?;
            let rows = connection
                .query_prepared(&sql, &[&service])
                .await
                .map_err(Error::database("listing operations"))?;
            connection.give_back();
            rows.iter().map(operation).collect()
        })
        .await
    }
}

fn operation(row: &Row) -> Result<Operation> {
    let time = |microseconds: Microseconds| Timestamp(i128::from(microseconds.0) * 1000);
    Ok(Operation {
        name: row.column(0)?,
        kind: Kind::from_number(row.column(1)?),
        documents: row.count(2)?,
        fails: row.column(3)?,
        first_seen: time(row.column(4)?),
        last_seen: time(row.column(5)?),
    })
}

//! Which service calls which.

use std::time::SystemTime;

use tokio_postgres::Row;

use super::time::Time;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, TraceStore};

/// Calls from one service to another: spans whose parent is the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependency {
    /// The service that calls.
    pub parent: String,
    /// The service that is called.
    pub child: String,
    /// How many calls.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
}

impl TraceStore {
    /// The calls between services in all hours that a period touches, by the names of the services; as far as
    /// [`count_dependencies`](Self::count_dependencies) has come.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn dependencies(&self, since: SystemTime, until: SystemTime) -> Result<Vec<Dependency>> {
        let sql = format!(
            "SELECT parent, child, sum(calls)::bigint, sum(errors)::bigint FROM {}.service_dependencies \
             WHERE hour > $1::timestamptz - interval '1 hour' AND hour <= $2::timestamptz \
             GROUP BY parent, child ORDER BY parent, child",
            self.sql().schema
        );
        let (since, until) = (Time::from(Timestamp::from(since)), Time::from(Timestamp::from(until)));
        self.timed("reading dependencies", async {
            let (connection, _) = self.connection().await?;
            let rows = connection
                .query_prepared(&sql, &[&since, &until])
                .await
                .map_err(Error::database("reading dependencies"))?;
            connection.give_back();
            rows.iter().map(dependency).collect()
        })
        .await
    }
}

fn dependency(row: &Row) -> Result<Dependency> {
    Ok(Dependency {
        parent: row.column(0)?,
        child: row.column(1)?,
        calls: row.count(2)?,
        errors: row.count(3)?,
    })
}

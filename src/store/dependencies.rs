//! Which service calls which: counted on as time goes by.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::TraceStore;
use super::partition::Limits;
use crate::error::{Error, Result};

/// Hours that are counted in one transaction, and fewer where the server does not count them in time.
const HOURS: i32 = 24;
const LIMITS: Limits = Limits { attempts_ms: &[500], statement_ms: 600_000 };

impl TraceStore {
    /// Counts the calls between services up to now, for [`dependencies`](Self::dependencies). Hours that were counted are
    /// counted again as far back as `late`, for spans that have come since; at most a day.
    ///
    /// [`maintain`](Self::maintain) does this with two hours, and so every process that stores spans does about every
    /// hour; a server that receives does it every minute. While another process counts, this does nothing. It takes the
    /// writer's rights.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Database`](crate::Error::Database),
    /// [`Error::Schema`](crate::Error::Schema).
    pub async fn count_dependencies(&self, late: Duration) -> Result<()> {
        let sql =
            format!("SELECT {}.count_dependencies(make_interval(secs => $1), $2)", self.inner.sql.schema);
        let (mut late, mut hours) = (late.as_secs_f64(), HOURS);
        loop {
            // It goes on by as much as is not counted again.
            late = late.min(f64::from(hours - 1) * 3600.0);
            match self.run_within(LIMITS, "counting dependencies", &sql, &[&late, &hours]).await {
                Ok(rows) if rows.first().is_some_and(|row| row.get::<_, bool>(0)) => late = 0.0,
                Ok(_) => return Ok(()),
                Err(error) if hours > 1 && is_out_of_time(&error) => hours /= 2,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_out_of_time(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if source.code() == Some(&SqlState::QUERY_CANCELED))
}

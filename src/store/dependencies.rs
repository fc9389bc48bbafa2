//! Which service calls which: counted on as time goes by.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::TraceStore;
use super::columns::Columns;
use super::partition::Limits;
use crate::error::{Error, Result};

/// Hours that are counted in one transaction, and fewer where the server does not count them in time.
const HOURS: i32 = 24;
const LIMITS: Limits = Limits { attempts_ms: &[500], statement_ms: 600_000 };
/// Beside exports, and so long in all.
const BESIDE: Limits = Limits { statement_ms: 60_000, ..LIMITS };
const BESIDE_FOR: Duration = Duration::from_secs(60);
/// Spans that come so late are counted.
pub(super) const LATE: Duration = Duration::from_secs(2 * 3600);
/// Where another process counted within so many minutes, an exporter need not.
const ROUND_MINUTES: i32 = 55;

impl TraceStore {
    /// Counts the calls between services up to now, for [`dependencies`](Self::dependencies). Hours that were counted are
    /// counted again as far back as `late`, for spans that have come since; at most a day.
    ///
    /// [`maintain`](Self::maintain) does this with two hours, and so does about every hour one of the exporters; a server
    /// that receives does it every minute. While another process counts, this does nothing. It takes the writer's rights.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Schema`].
    pub async fn count_dependencies(&self, late: Duration) -> Result<()> {
        self.count_within(late, LIMITS, Duration::MAX).await
    }

    /// Counts for about a minute, unless another process did so within the hour. The next round goes on.
    pub(super) async fn count_dependencies_if_due(&self) -> Result<()> {
        let due = format!(
            "SELECT FROM {}.dependencies_counted WHERE until < now() - make_interval(mins => $1)",
            self.inner.sql.schema
        );
        let rows =
            self.run_within(BESIDE, "looking for when calls were counted", &due, &[&ROUND_MINUTES]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        self.count_within(LATE, BESIDE, BESIDE_FOR).await
    }

    /// Begins no part after `at_most`.
    async fn count_within(&self, late: Duration, limits: Limits, at_most: Duration) -> Result<()> {
        let begun = Instant::now();
        let sql =
            format!("SELECT {}.count_dependencies(make_interval(secs => $1), $2)", self.inner.sql.schema);
        let (mut late, mut hours) = (late.as_secs_f64(), HOURS);
        loop {
            // It goes on by as much as is not counted again.
            late = late.min(f64::from(hours - 1) * 3600.0);
            match self.run_within(limits, "counting dependencies", &sql, &[&late, &hours]).await {
                Ok(rows) => {
                    let is_behind = rows.first().map_or(Ok(false), |row| row.column(0))?;
                    if !is_behind || begun.elapsed() >= at_most {
                        return Ok(());
                    }
                    late = 0.0;
                }
                Err(error) if hours > 1 && is_out_of_time(&error) => hours /= 2,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_out_of_time(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if source.code() == Some(&SqlState::QUERY_CANCELED))
}

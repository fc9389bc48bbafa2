//! Partitions of a day each: made before spans of the day come, or with the first of them.
//!
//! A span finds a partition in any case: what has no day of its own goes to the default partition, which is made again
//! where it is gone. [`maintain`](TraceStore::maintain) moves it from there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::{otel_debug, otel_info};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::begun::Ahead;
use super::columns::Columns;
use super::{Batch, KNOWN_FOR, Stored, TraceStore};
use crate::error::{Error, Result};

pub(crate) const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Days ahead that have a partition.
const AHEAD: i32 = 3;
/// Days that one batch asks for at most; the others are asked for by the next ones.
const ASKED: usize = 16;
/// Spans of a day that are moved from the default partition at once, in some hundredths of a second. More are left to
/// maintenance, which copies them first, while nobody waits.
pub(super) const MOVED: i64 = 10_000;
/// How long a writer does not ask again for a day that it did not get.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// 2000-01-01: no day before has a partition.
const FIRST_DAY: i32 = 10_957;
/// How long a batch may wait for its days.
const PATIENCE: Duration = Duration::from_secs(2);
/// What making a partition may take on the server while a batch waits for it.
const BRIEF: Limits = Limits { attempts_ms: &[200], statement_ms: 1000 };
/// Between two attempts to get a lock, others go on for so many times as long as they waited.
const PAUSE: u32 = 4;

/// How long the server lets a statement wait for its locks, at each attempt, and run. Everyone else waits behind who waits
/// for a lock.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub attempts_ms: &'static [u32],
    pub statement_ms: u32,
}

/// A day in UTC.
pub(super) struct Day {
    /// Since 1970.
    pub number: i32,
    /// Such as `2026-01-31`.
    pub name: String,
}

/// What became of the wish for a partition, by the function `make_partition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It was made.
    New,
    /// It was there.
    There,
    /// Not now: more spans have to be moved to it than the caller wanted, or their copy is out of date.
    Later,
    /// The day may have none, or another table has its name.
    Refused,
}

/// Until when the days that this process knows are not asked for again, in days since 1970.
#[derive(Default)]
pub(super) struct KnownDays(Mutex<HashMap<i32, Instant>>);

impl KnownDays {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the days that are worth asking for. Clocks that are far off make no questions.
    fn unknown(&self, mut days: Vec<i32>) -> Vec<i32> {
        let now = Instant::now();
        let today = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as i64 / DAY_US;
        let known = self.lock();
        days.retain(|day| {
            (FIRST_DAY..=today as i32 + AHEAD).contains(day)
                && known.get(day).is_none_or(|until| *until < now)
        });
        days
    }

    fn learn(&self, day: i32, known_for: Duration) {
        let now = Instant::now();
        let mut known = self.lock();
        known.retain(|_, until| *until >= now);
        known.insert(day, now + known_for);
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }
}

impl TraceStore {
    /// Sends a batch, for which partitions are made where days have none; when a row finds no partition at all, makes the
    /// default partition, if the role may, and sends it again.
    pub(super) async fn send_to_partitions(
        &self,
        entries: &[(Uuid, i32)],
        batch: &Batch,
        ahead: Ahead,
    ) -> Result<Stored> {
        let unknown = self.inner.partitions.unknown(batch.days());
        let ahead = match ahead {
            // A partition is not made while a COPY holds the table.
            Ahead::Begun(begun) if !unknown.is_empty() => {
                begun.give_up().await?.give_back();
                Ahead::Nothing
            }
            ahead => ahead,
        };
        self.make_days(unknown).await?;
        match self.send_once(entries, batch, ahead).await {
            Err(error) if error.is_missing_partition() => {}
            result => return result,
        }
        // Another process may be faster, so whether this worked is told by the second attempt.
        let made = self.create_default_partition().await;
        match self.send_once(entries, batch, Ahead::Nothing).await {
            Err(error) if error.is_missing_partition() => Err(self.missing_partition(made.err())),
            result => {
                // Not before: where a table that is no partition has the name, nothing is made, and no error either.
                if made.is_ok() {
                    otel_info!(name: "TraceStore.PartitionCreated", schema = self.inner.settings.schema.as_str());
                }
                result
            }
        }
    }

    /// Makes partitions for the days of a batch that this process does not know. Whatever comes of it, the batch is sent,
    /// unless there is no connection for it either.
    async fn make_days(&self, unknown: Vec<i32>) -> Result<()> {
        let known = &self.inner.partitions;
        if unknown.is_empty() {
            return Ok(());
        }
        let make = async {
            for &day in unknown.iter().take(ASKED) {
                let known_for = match self.make_day(day, Some(MOVED), BRIEF).await? {
                    Made::New | Made::There => KNOWN_FOR,
                    Made::Later | Made::Refused => REFUSED_FOR,
                };
                known.learn(day, known_for);
            }
            Ok(())
        };
        let failure = match tokio::time::timeout(PATIENCE, make).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ Error::Connect { .. })) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout { doing: "making partitions", seconds: PATIENCE.as_secs_f64() },
        };
        // Without a right or a lock now, the next batches need not try either.
        known.unknown(unknown).into_iter().for_each(|day| known.learn(day, REFUSED_FOR));
        otel_debug!(name: "TraceStore.PartitionsNotMade", reason = failure.to_string());
        Ok(())
    }

    /// Makes the partitions of today and the next days.
    pub(super) async fn make_days_ahead(&self) -> Result<()> {
        for day in self.missing_days().await? {
            self.make_day(day.number, Some(MOVED), BRIEF).await?;
        }
        Ok(())
    }

    /// Those of today and the next days, by the server's clock, that have no partition.
    pub(super) async fn missing_days(&self) -> Result<Vec<Day>> {
        let (connection, _) = self.connection().await?;
        let missing = format!(
            "SELECT day - date '1970-01-01', to_char(day, 'YYYY-MM-DD') \
             FROM (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(0, $1::integer) AS ahead) AS days \
             WHERE NOT EXISTS (SELECT FROM {}.partitions \
                               WHERE from_time <= day::timestamp AT TIME ZONE 'UTC' AND to_time > day::timestamp AT TIME ZONE 'UTC') \
             ORDER BY day",
            self.inner.sql.schema
        );
        let doing = || Error::database("looking for partitions");
        let rows = connection.query(&missing, &[&AHEAD]).await.map_err(doing())?;
        connection.give_back();
        rows.iter().map(|row| Ok(Day { number: row.column(0)?, name: row.column(1)? })).collect()
    }

    /// Makes the partition of a day, and moves its spans there from the default partition if they are not too many.
    pub(super) async fn make_day(&self, day: i32, at_most: Option<i64>, limits: Limits) -> Result<Made> {
        let sql =
            format!("SELECT {}.make_partition(date '1970-01-01' + $1::integer, $2)", self.inner.sql.schema);
        let rows = self.run_within(limits, "making a partition", &sql, &[&day, &at_most]).await?;
        let made = match rows.first().map(|row| row.column(0)).transpose()? {
            Some("made") => Made::New,
            Some("there") => Made::There,
            Some("later") => Made::Later,
            _ => Made::Refused,
        };
        if made == Made::New {
            otel_info!(name: "TraceStore.PartitionMade", schema = self.inner.settings.schema.as_str(), day = i64::from(day));
        }
        Ok(made)
    }

    /// Runs one statement in a transaction of its own, within limits.
    pub(super) async fn run_within(
        &self,
        limits: Limits,
        doing: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let mut attempts = limits.attempts_ms.iter();
        loop {
            let lock_ms = attempts.next().copied().unwrap_or_default();
            let result = self.run_once(lock_ms, limits.statement_ms, sql, parameters).await?;
            match result.map_err(Error::database(doing)) {
                Err(error) if is_lock_timeout(&error) && !attempts.as_slice().is_empty() => {
                    tokio::time::sleep(Duration::from_millis(u64::from(lock_ms * PAUSE))).await;
                }
                result => return result,
            }
        }
    }

    async fn run_once(
        &self,
        lock_ms: u32,
        statement_ms: u32,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<Vec<Row>, tokio_postgres::Error>> {
        let (connection, _) = self.connection().await?;
        let run = async {
            // What is looked at behind a lock has to be of after it.
            connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            let set =
                format!("SET LOCAL lock_timeout = {lock_ms}; SET LOCAL statement_timeout = {statement_ms}");
            connection.batch_execute(&set).await?;
            let rows = connection.query(sql, parameters).await?;
            connection.batch_execute("COMMIT").await?;
            Ok(rows)
        };
        let result = run.await;
        // The statement's error is the one to report; a connection that cannot roll back is closed.
        if result.is_ok() || connection.batch_execute("ROLLBACK").await.is_ok() {
            connection.give_back();
        }
        Ok(result)
    }

    async fn create_default_partition(&self) -> Result<()> {
        let connection = self.any_connection().await?;
        let schema = &self.inner.sql.schema;
        let doing = || Error::database("creating the default partition");
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        self.become_owner(&connection).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {schema}.span_rows_default PARTITION OF {schema}.span_rows DEFAULT; \
             COMMENT ON TABLE {schema}.span_rows_default IS 'Spans of times for which there is no partition of their own.'; \
             COMMIT"
        );
        connection.batch_execute(&create).await.map_err(Error::database("creating the default partition"))?;
        connection.give_back();
        Ok(())
    }

    fn missing_partition(&self, reason: Option<Error>) -> Error {
        let schema = &self.inner.sql.schema;
        let reason = reason.map(|error| format!(" ({error})")).unwrap_or_default();
        Error::Schema(format!(
            "no partition of {schema}.span_rows takes the time of a span, and the default partition could not be made{reason}. \
             Run as the schema's owner: CREATE TABLE {schema}.span_rows_default PARTITION OF {schema}.span_rows DEFAULT; (or, \
             where it was detached: ALTER TABLE {schema}.span_rows ATTACH PARTITION {schema}.span_rows_default DEFAULT;)"
        ))
    }
}

/// Whether a lock was not to be had in time, which the next attempt may get.
pub(super) fn is_lock_timeout(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if is_locked(source))
}

pub(super) fn is_locked(error: &tokio_postgres::Error) -> bool {
    let passing = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| passing.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_day_is_asked_for_again_when_its_time_is_over_or_all_is_forgotten() {
        let days = KnownDays::default();
        let (one, two) = (20_000, 20_001);
        assert_eq!(days.unknown(vec![one, two]), [one, two]);
        days.learn(one, Duration::from_secs(3600));
        days.learn(two, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(days.unknown(vec![one, two]), [two]);
        days.learn(20_002, Duration::from_secs(3600));
        assert_eq!(days.lock().len(), 2, "what is over is not kept");
        days.forget();
        assert_eq!(days.unknown(vec![one, two]), [one, two]);
    }

    #[test]
    fn days_of_impossible_clocks_are_not_asked_for() {
        assert!(
            KnownDays::default().unknown(vec![i32::MIN, -719_162, 0, FIRST_DAY - 1, 2_932_896]).is_empty()
        );
    }
}

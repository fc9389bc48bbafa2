//! Maintenance: partitions are made ahead, filled from the default one and dropped, and what nobody uses is deleted.
//!
//! Each step is a transaction of its own that waits only shortly for its locks, and a step that does not get them is
//! tried again. So writers and readers go on, it may be interrupted anywhere, and several may run at once. A step that
//! fails is left to the next maintenance, and the others are done.

use opentelemetry::otel_info;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::TraceStore;
use super::columns::Columns;
use super::dependencies::LATE;
use super::partition::{Day, Limits, MOVED, Made};
use super::roles::Roles;
use super::sql::literal;
use crate::error::{Error, Result};

/// What a step may take that everyone waits for. The last attempt to get its locks is long enough for the server to end an
/// autovacuum that is in the way.
const SHORT: Limits = Limits { attempts_ms: &[100, 100, 200, 200, 400, 1500], statement_ms: 10_000 };
/// What a step may take that nobody waits for, or only who has spans for the default partition.
const LONG: Limits = Limits { statement_ms: 3_600_000, ..SHORT };
/// Spans that are deleted in one transaction, which looks through the whole default partition for them.
const SPANS: i64 = 200_000;
/// Documents that are looked at in one transaction.
const DOCUMENTS: i32 = 100;
/// After so many days without use documents are looked at where spans are kept for good.
const UNUSED_DAYS: i32 = 30;
/// A round of an exporter's comes after so many minutes.
const ROUND_MINUTES: i32 = 55;

/// What maintenance did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Maintained {
    /// The days for which partitions were made, such as `2026-01-31`.
    pub partitions_made: Vec<String>,
    /// How many spans were moved to them from the default partition.
    pub spans_moved: u64,
    /// The partitions that were dropped, since all their spans were older than `retention_days`.
    pub partitions_dropped: Vec<String>,
    /// How many spans were dropped with them, by the server's statistics.
    pub spans_dropped: u64,
    /// How many spans of the default partition were deleted for the same reason.
    pub spans_deleted: u64,
    /// How many documents were deleted, since no span has them.
    pub documents_deleted: u64,
    /// How many entries of the ledger were deleted.
    pub ledger_entries_deleted: u64,
    /// The size on disk of the partitions that were dropped.
    pub bytes_freed: u64,
    /// What could not be done now, each with its reason. The next maintenance tries it again.
    pub left: Vec<String>,
}

/// A partition of which all spans are too old.
struct Old {
    name: String,
    spans: u64,
    bytes: u64,
}

impl TraceStore {
    /// Drops spans and counts of calls that are older than `retention_days`, makes partitions ahead, moves spans from the default
    /// partition to their days, deletes documents that no span has, counts the calls between services, and prunes the ledger.
    /// Writers and readers go on meanwhile.
    ///
    /// It takes the rights of the writer, and with `retention_days` those of the owner.
    ///
    /// # Errors
    /// [`Error::Schema`] where this role may not; [`Error::Connect`], [`Error::Timeout`]. A step that the database refuses,
    /// as for a lock, a time limit or a full disk, stands in [`Maintained::left`], and the other steps are done.
    pub async fn maintain(&self) -> Result<Maintained> {
        self.check_rights().await?;
        let mut done = Maintained::default();
        done.or_leave("the note that it began", self.claim(0).await)?;
        // First what frees room: where the disk is full, all else fails.
        if let Some(days) = self.retention() {
            self.drop_old(days, &mut done).await?;
        }
        self.make_ahead(&mut done).await?;
        self.move_days(&mut done).await?;
        self.collect_documents(&mut done).await?;
        done.or_leave("the calls between services", self.count_dependencies(LATE).await)?;
        let pruned = self.prune_ledger().await;
        done.ledger_entries_deleted = done.or_leave("the ledger", pruned)?;
        otel_info!(
            name: "TraceStore.Maintained",
            partitions_made = done.partitions_made.len() as u64,
            spans_moved = done.spans_moved,
            partitions_dropped = done.partitions_dropped.len() as u64,
            documents_deleted = done.documents_deleted,
            left = done.left.len() as u64,
        );
        Ok(done)
    }

    /// What [`maintain`](Self::maintain) would do to partitions and spans; it changes nothing. Documents and entries of the
    /// ledger are not looked at.
    ///
    /// # Errors
    /// As [`maintain`](Self::maintain).
    pub async fn plan_maintain(&self) -> Result<Maintained> {
        self.check_rights().await?;
        let mut plan = Maintained::default();
        let mut days: Vec<String> = self.missing_days().await?.into_iter().map(|day| day.name).collect();
        for (day, spans) in self.days_to_move().await? {
            plan.spans_moved += spans;
            if !days.contains(&day.name) {
                days.push(day.name);
            }
        }
        plan.partitions_made = days;
        if let Some(days) = self.retention() {
            for old in self.old_partitions(days).await? {
                plan.dropped(old);
            }
        }
        Ok(plan)
    }

    /// Maintains the store unless another process of its schema did so within the hour.
    pub(super) async fn maintain_if_due(&self) -> Result<()> {
        if self.claim(ROUND_MINUTES).await? {
            let done = self.maintain().await?;
            if let Some(reason) = done.left.first() {
                return Err(Error::Schema(format!("something was left to the next maintenance: {reason}")));
            }
        }
        Ok(())
    }

    /// Notes that maintenance begins; false where it began within so many minutes.
    async fn claim(&self, minutes: i32) -> Result<bool> {
        let sql = format!("SELECT {}.claim_maintenance($1)", self.inner.sql.schema);
        let rows = self.run_within(LONG, "beginning maintenance", &sql, &[&minutes]).await?;
        rows.first().map_or(Ok(false), |row| row.column(0))
    }

    fn retention(&self) -> Option<i32> {
        i32::try_from(self.inner.settings.retention_days).ok().filter(|days| *days > 0)
    }

    async fn check_rights(&self) -> Result<()> {
        let schema = &self.inner.sql.schema;
        let may = format!(
            "SELECT has_function_privilege({make}, 'EXECUTE'), has_function_privilege({drop}, 'EXECUTE') \
             AND has_function_privilege({prune}, 'EXECUTE') AND has_function_privilege({calls}, 'EXECUTE'), \
             current_user::text",
            make = literal(&format!("{schema}.make_partition(date, bigint)")),
            drop = literal(&format!("{schema}.drop_partition(regclass, integer)")),
            prune = literal(&format!("{schema}.prune_default_partition(integer, bigint)")),
            calls = literal(&format!("{schema}.prune_dependencies(integer)")),
        );
        let rows = self.run_within(LONG, "looking for rights", &may, &[]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (maintains, drops, role): (bool, bool, &str) = (row.column(0)?, row.column(1)?, row.column(2)?);
        let [owner, writer, _] = Roles::of(&self.inner.settings.schema).quoted();
        if !maintains {
            return Err(Error::Schema(format!(
                "the role {role} may not maintain schema {schema}. Run it as the schema's owner, a member of {owner} or of \
                 {writer} (otel-pgvector migrate --roles makes both)"
            )));
        }
        if !drops && self.retention().is_some() {
            return Err(Error::Schema(format!(
                "the role {role} may not drop partitions of schema {schema}, as retention_days asks for. Run it as the \
                 schema's owner or a member of {owner}, or let the owner run: GRANT EXECUTE ON FUNCTION \
                 {schema}.drop_partition, {schema}.prune_default_partition, {schema}.prune_dependencies TO <role>;"
            )));
        }
        Ok(())
    }

    async fn make_ahead(&self, done: &mut Maintained) -> Result<()> {
        let missing = self.missing_days().await;
        for Day { number, name } in done.or_leave("the partitions of the next days", missing)? {
            match self.make_day(number, Some(MOVED), SHORT).await {
                Ok(Made::New) => done.partitions_made.push(name),
                // Its spans are many, and are moved next.
                Ok(Made::There | Made::Later) => {}
                Ok(Made::Refused) => done.left.push(is_taken(&name)),
                Err(error) => done.leave(&format!("the partition of {name}"), error)?,
            }
        }
        Ok(())
    }

    /// The newest days first: that is where spans are looked for, and what they leave is the end of the table, which
    /// autovacuum gives back.
    async fn move_days(&self, done: &mut Maintained) -> Result<()> {
        let days = self.days_to_move().await;
        for (Day { number, name }, spans) in done.or_leave("the spans of the default partition", days)? {
            if spans > MOVED as u64 {
                let copy =
                    format!("SELECT {}.copy_day(date '1970-01-01' + $1::integer)", self.inner.sql.schema);
                let copied = self.run_within(LONG, "copying a day's spans", &copy, &[&number]).await;
                if let Err(error) = copied {
                    // Other days would fail, too, and fill the disk once more.
                    return done.leave(&format!("the spans of {name}"), error);
                }
            }
            match self.make_day(number, None, LONG).await {
                Ok(Made::New) => {
                    done.partitions_made.push(name);
                    done.spans_moved += spans;
                }
                Ok(Made::There) => {}
                Ok(Made::Later) => {
                    done.left.push(format!("the spans of {name} changed while they were moved"));
                }
                Ok(Made::Refused) => done.left.push(is_taken(&name)),
                Err(error) => done.leave(&format!("the spans of {name}"), error)?,
            }
        }
        Ok(())
    }

    /// Days of which the default partition has spans to keep, and how many.
    async fn days_to_move(&self) -> Result<Vec<(Day, u64)>> {
        let sql = format!(
            "SELECT day - date '1970-01-01', to_char(day, 'YYYY-MM-DD'), spans FROM {}.days_to_move() \
             WHERE $1::integer IS NULL OR day >= (now() AT TIME ZONE 'UTC')::date - $1",
            self.inner.sql.schema
        );
        let kept = self.retention();
        let rows = self.run_within(LONG, "looking into the default partition", &sql, &[&kept]).await?;
        let waiting = |row: &Row| {
            let day = Day { number: row.column(0)?, name: row.column(1)? };
            Ok((day, row.count(2)?))
        };
        rows.iter().map(waiting).collect()
    }

    async fn drop_old(&self, days: i32, done: &mut Maintained) -> Result<()> {
        let schema = &self.inner.sql.schema;
        let old = self.old_partitions(days).await;
        for old in done.or_leave("the old partitions", old)? {
            let sql = format!("SELECT {schema}.drop_partition(to_regclass($1), $2)");
            let name = &old.name;
            let rows = self.run_within(SHORT, "dropping a partition", &sql, &[name, &days]).await;
            let rows = done.or_leave(&format!("the partition {name}"), rows)?;
            // Null: another process was faster.
            if let Some(row) = rows.first()
                && row.column::<Option<i64>>(0)?.is_some()
            {
                done.dropped(old);
            }
        }
        self.prune_default(days, done).await?;
        let sql = format!("SELECT {schema}.prune_dependencies($1)");
        let pruned = self.run_within(LONG, "deleting old counts of calls", &sql, &[&days]).await;
        done.or_leave("the old counts of calls", pruned)?;
        Ok(())
    }

    /// Deletes old spans of the default partition, a chunk at a time, until there is less than a chunk.
    async fn prune_default(&self, days: i32, done: &mut Maintained) -> Result<()> {
        let sql = format!("SELECT {}.prune_default_partition($1, $2)", self.inner.sql.schema);
        loop {
            let rows = self.run_within(LONG, "deleting old spans", &sql, &[&days, &SPANS]).await;
            let rows = done.or_leave("the old spans of the default partition", rows)?;
            let gone: i64 = rows.first().map_or(Ok(0), |row| row.column(0))?;
            done.spans_deleted += gone.unsigned_abs();
            if gone < SPANS {
                return Ok(());
            }
        }
    }

    async fn old_partitions(&self, days: i32) -> Result<Vec<Old>> {
        // One that another process drops meanwhile has no size.
        let sql = format!(
            "SELECT partition::text, spans, coalesce(bytes, 0) FROM {}.partitions \
             WHERE to_time <= ((now() AT TIME ZONE 'UTC')::date - $1::integer)::timestamp AT TIME ZONE 'UTC' ORDER BY to_time",
            self.inner.sql.schema
        );
        let rows = self.run_within(LONG, "looking at partitions", &sql, &[&days]).await?;
        let old = |row: &Row| Ok(Old { name: row.column(0)?, spans: row.count(1)?, bytes: row.count(2)? });
        rows.iter().map(old).collect()
    }

    async fn collect_documents(&self, done: &mut Maintained) -> Result<()> {
        let days = self.retention().unwrap_or(UNUSED_DAYS);
        let sql = format!("SELECT last, gone FROM {}.collect_documents($1, $2, $3)", self.inner.sql.schema);
        let mut after = 0;
        loop {
            let parameters: [&(dyn ToSql + Sync); 3] = [&days, &after, &DOCUMENTS];
            let rows = self.run_within(SHORT, "collecting documents", &sql, &parameters).await;
            let rows = done.or_leave("documents that no span has", rows)?;
            let Some(row) = rows.first() else { return Ok(()) };
            let Some(last) = row.column(0)? else { return Ok(()) };
            done.documents_deleted += row.count(1)?;
            after = last;
        }
    }
}

impl Maintained {
    fn dropped(&mut self, old: Old) {
        self.partitions_dropped.push(old.name);
        self.spans_dropped += old.spans;
        self.bytes_freed += old.bytes;
    }

    /// Notes what the database refused. Without the database, as with any other error, maintenance ends.
    fn leave(&mut self, what: &str, error: Error) -> Result<()> {
        if !matches!(error, Error::Database { .. }) {
            return Err(error);
        }
        self.left.push(format!("{what}: {error}"));
        Ok(())
    }

    /// The result of a step, or nothing where the database refused it, which is noted.
    fn or_leave<T: Default>(&mut self, what: &str, result: Result<T>) -> Result<T> {
        result.or_else(|error| self.leave(what, error).map(|()| T::default()))
    }
}

fn is_taken(day: &str) -> String {
    format!("the partition of {day}: another table has its name")
}

//! Rate, errors and durations of operations and of services, counted from their spans.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::SpanCount;
use super::conditions::{BIN, Parameters, within};
use super::counts::GROWTH;
use super::filter::{Filter, Kind};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Connection, Microseconds, TraceStore};

/// About so many spans are counted at most: a million takes 0.8 s of two cores.
const MOST_SPANS: f64 = 2_000_000.0;
/// The most steps of a period.
const MOST_STEPS: u32 = 1_000;
/// The shortest period that is counted, however many spans it has.
const SHORTEST: Duration = Duration::from_secs(10);

/// What was counted of a period.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// Where the period begins that was counted: later than was asked for where that has too many spans.
    pub since: SystemTime,
    /// Where it ends.
    pub until: SystemTime,
    /// Whether it is all of the period that was asked for.
    pub is_whole: bool,
    /// How many spans were counted.
    pub spans: u64,
    /// One for each service, or for each operation of a service, by name.
    pub rows: Vec<Figure>,
}

/// How a service or an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// The service.
    pub service: String,
    /// The operation's name, with `…` for what varies; empty for a service as a whole.
    pub operation: String,
    /// The operation's kind; `None` where it is unspecified, and for a service as a whole.
    pub kind: Option<Kind>,
    /// How many spans it has in the period.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Half of the spans took no longer. Durations are at most a twentieth too long.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The spans by step of the period, and how many of them failed.
    pub steps: Vec<(u64, u64)>,
}

impl TraceStore {
    /// Counts the spans of a period, by operation of a service, or of all services by service; `steps` (1 to 1000) are
    /// parts of equal length.
    ///
    /// It reads every span of the period. Where these are more than about two million, by the planner's statistics, only
    /// the last part of the period is counted.
    ///
    /// # Errors
    /// [`Error::Input`] for a period of nothing; [`Error::Connect`], [`Error::Database`], [`Error::Timeout`],
    /// [`Error::Schema`].
    pub async fn figures(
        &self,
        service: Option<&str>,
        since: SystemTime,
        until: SystemTime,
        steps: u32,
    ) -> Result<Figures> {
        let asked = until.duration_since(since).unwrap_or_default();
        if asked.is_zero() {
            return Err(Error::Input { origin: "period".into(), reason: "it ends after it begins".into() });
        }
        self.timed("counting spans", async {
            let (connection, _) = self.connection().await?;
            let documents = match service {
                Some(service) => Some(self.documents_of(&connection, service).await?),
                None => None,
            };
            let length = self.affordable(&connection, documents.as_deref(), asked, until).await?;
            let begin = until.checked_sub(length).unwrap_or(since);
            let what = Counting { documents, since: begin, until, steps: steps.clamp(1, MOST_STEPS) };
            let rows = self.count_rows(&connection, &what).await?;
            connection.give_back();
            let spans = rows.iter().map(|row| row.spans).sum();
            Ok(Figures { since: begin, until, is_whole: length == asked, spans, rows })
        })
        .await
    }

    /// When the oldest and the newest trace started that are not of the future, or spans where no root is stored; `None` while
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn stored_period(&self) -> Result<Option<(SystemTime, SystemTime)>> {
        let schema = &self.sql().schema;
        let of_roots = format!(
            "SELECT min(start_time), max(start_time) FROM {schema}.span_rows \
             WHERE parent_span_id = 0 AND start_time <= now()"
        );
        // By the index on documents: that of roots is of no help, and the table may be large. ORDER BY around the LIMIT: see
        // `newest`.
        let end = |order: &str| {
            format!(
                "SELECT r.start_time FROM {schema}.span_documents d CROSS JOIN LATERAL (SELECT * FROM ( \
                     SELECT r.start_time FROM {schema}.span_rows r \
                     WHERE r.document_id = d.id AND r.start_time <= now() \
                     ORDER BY {BIN} {order}, r.start_time {order} LIMIT 1) AS r ORDER BY r.start_time) AS r"
            )
        };
        let of_spans = format!(
            "SELECT (SELECT min(start_time) FROM ({}) AS r), (SELECT max(start_time) FROM ({}) AS r)",
            end("ASC"),
            end("DESC")
        );
        self.timed("looking for the newest trace", async {
            let (connection, _) = self.connection().await?;
            let mut period = None;
            for sql in [&of_roots, &of_spans] {
                let rows = connection
                    .query_prepared(sql, &[])
                    .await
                    .map_err(Error::database("looking for the newest trace"))?;
                let Some(row) = rows.first() else { continue };
                let time = |time: Microseconds| Timestamp(i128::from(time.0) * 1000).to_system_time();
                let (oldest, newest): (Option<Microseconds>, Option<Microseconds>) =
                    (row.column(0)?, row.column(1)?);
                period = oldest.and_then(time).zip(newest.and_then(time));
                if period.is_some() {
                    break;
                }
            }
            connection.give_back();
            Ok(period)
        })
        .await
    }

    async fn documents_of(&self, connection: &Connection, service: &str) -> Result<Vec<i32>> {
        let sql = format!("SELECT id FROM {}.span_documents WHERE service = $1", self.sql().schema);
        let rows = connection.query_prepared(&sql, &[&service]).await.map_err(counting())?;
        rows.iter().map(|row| row.column(0)).collect()
    }

    /// How long the period before `until` may be, so that it has no more spans than can be counted in a moment.
    async fn affordable(
        &self,
        connection: &Connection,
        documents: Option<&[i32]>,
        asked: Duration,
        until: SystemTime,
    ) -> Result<Duration> {
        let mut length = asked;
        // Spans are not spread evenly: what is left may still be too much.
        for _ in 0..4 {
            let mut parameters = Parameters::default();
            let since = until.checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH);
            let rows = rows_of(documents, since, until, &mut parameters);
            let explain = format!("EXPLAIN SELECT FROM {}.span_rows r WHERE {rows}", self.sql().schema);
            let plan = connection.query(&explain, &parameters.as_slice()).await.map_err(counting())?;
            let line = plan.first().map_or(Ok(""), |line| line.column(0))?;
            let estimate = estimated(line).unwrap_or(0.0);
            if estimate <= MOST_SPANS || length <= SHORTEST {
                break;
            }
            length = length.mul_f64(MOST_SPANS / estimate).max(SHORTEST);
        }
        Ok(length)
    }

    async fn count_rows(&self, connection: &Connection, what: &Counting) -> Result<Vec<Figure>> {
        let Counting { documents, since, until, steps } = what;
        let schema = &self.sql().schema;
        let mut parameters = Parameters::default();
        let rows = rows_of(documents.as_deref(), *since, *until, &mut parameters);
        let begin = parameters.bind(Timestamp::from(*since).0 as f64 / 1e9);
        let length = until.duration_since(*since).unwrap_or_default();
        let step = parameters.bind(length.as_secs_f64() / f64::from(*steps));
        let growth = parameters.bind(GROWTH.ln());
        let (name, kind) = match documents {
            Some(_) => ("d.name", "d.kind"),
            None => ("''", "0::smallint"),
        };
        // Two groupings, each of which PostgreSQL does in parallel: GROUPING SETS take twice as long.
        let from = format!(
            "FROM {schema}.span_rows r JOIN {schema}.span_documents d ON d.id = r.document_id WHERE {rows}"
        );
        let sql = format!(
            "SELECT d.service, {name} AS name, {kind} AS kind, \
                    floor((extract(epoch FROM r.start_time)::float8 - {begin}) / {step})::integer AS step, \
                    NULL::integer AS class, count(*), count(*) FILTER (WHERE d.status_code = 2) \
             {from} GROUP BY 1, 2, 3, 4 \
             UNION ALL \
             SELECT d.service, {name}, {kind}, NULL, \
                    ceil(ln(greatest(r.duration_ns, 1)::float8) / {growth})::integer, count(*), 0 \
             {from} GROUP BY 1, 2, 3, 5 \
             ORDER BY 1, 2, 3, 4, 5"
        );
        let rows = connection.query(&sql, &parameters.as_slice()).await.map_err(counting())?;
        let mut counts: BTreeMap<(String, String, i16), Counts> = BTreeMap::new();
        for row in &rows {
            let key = (row.column(0)?, row.column(1)?, row.column(2)?);
            let counts = counts.entry(key).or_insert_with(|| Counts::new(*steps));
            let (spans, errors) = (row.count(5)?, row.count(6)?);
            if let Some(class) = row.column::<Option<i32>>(4)? {
                counts.classes.push((class, spans));
                continue;
            }
            // A start is rounded to microseconds, the period is not.
            let step = row.column::<Option<i32>>(3)?.unwrap_or(0).clamp(0, *steps as i32 - 1) as usize;
            if let Some(at) = counts.steps.get_mut(step) {
                at.0 += spans;
                at.1 += errors;
            }
        }
        Ok(counts.into_iter().map(|(key, counts)| counts.figure(key)).collect())
    }
}

struct Counting {
    /// Those of a service, or all.
    documents: Option<Vec<i32>>,
    since: SystemTime,
    until: SystemTime,
    steps: u32,
}

struct Counts {
    /// By class of duration, the shortest first.
    classes: Vec<(i32, u64)>,
    steps: Vec<(u64, u64)>,
}

impl Counts {
    fn new(steps: u32) -> Self {
        Counts { classes: Vec::new(), steps: vec![(0, 0); steps as usize] }
    }

    fn figure(self, (service, operation, kind): (String, String, i16)) -> Figure {
        let spans = self.steps.iter().map(|step| step.0).sum();
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| {
            let class = quantile_of(&self.classes, spans, quantile);
            class.map_or(Duration::ZERO, SpanCount::duration)
        });
        Figure {
            service,
            operation,
            kind: Kind::from_number(kind),
            spans,
            errors: self.steps.iter().map(|step| step.1).sum(),
            p50,
            p95,
            p99,
            steps: self.steps,
        }
    }
}

/// The class of durations that so much of all spans do not go beyond. Classes come in their order.
fn quantile_of(classes: &[(i32, u64)], spans: u64, quantile: f64) -> Option<i32> {
    let wanted = ((spans as f64) * quantile).ceil().max(1.0) as u64;
    let mut seen = 0;
    classes.iter().find_map(|(class, spans)| {
        seen += spans;
        (seen >= wanted).then_some(*class)
    })
}

/// Rows of a period, of these documents.
fn rows_of(
    documents: Option<&[i32]>,
    since: SystemTime,
    until: SystemTime,
    parameters: &mut Parameters,
) -> String {
    let period = within(&Filter::default().since(since).until(until), parameters);
    match documents {
        Some(ids) => {
            format!("r.document_id = ANY({}::integer[]) AND {period}", parameters.bind(ids.to_vec()))
        }
        None => period,
    }
}

/// The rows that a plan's first line expects.
pub(super) fn estimated(line: &str) -> Option<f64> {
    let (_, rows) = line.split_once(" rows=")?;
    rows.split(' ').next()?.parse().ok()
}

fn counting() -> impl FnOnce(tokio_postgres::Error) -> Error {
    Error::database("counting spans")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_first_class_that_has_enough() {
        let classes = [(10, 50), (20, 45), (30, 4), (40, 1)];
        for (quantile, expected) in [(0.0, 10), (0.5, 10), (0.51, 20), (0.95, 20), (0.99, 30), (1.0, 40)] {
            assert_eq!(quantile_of(&classes, 100, quantile), Some(expected), "{quantile}");
        }
        assert_eq!(quantile_of(&[], 0, 0.5), None);
    }

    #[test]
    fn a_plan_says_how_many_rows_it_expects() {
        let line = "Append  (cost=0.00..25.50 rows=1234567 width=0)";
        assert_eq!(estimated(line), Some(1_234_567.0));
        assert_eq!(estimated("Custom Scan (Citus Adaptive)"), None);
    }
}

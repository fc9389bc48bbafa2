//! How many spans of what duration, over time.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;

use super::conditions::{Parameters, within};
use super::filter::Filter;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, TraceStore};

/// How much longer a class of durations is than the one before.
pub(super) const GROWTH: f64 = 1.05;

/// Spans of an operation within a step of time that took about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanCount {
    /// The service.
    pub service: String,
    /// The operation's name, with `…` for what varies.
    pub operation: String,
    /// The step, from 0.
    pub step: u32,
    /// Whether they failed.
    pub failed: bool,
    /// The class of their durations: see [`SpanCount::duration`].
    pub class: i32,
    /// How many.
    pub spans: u64,
}

/// How many steps an `integer` counts.
const MOST_STEPS: f64 = 2_147_483_647.0;

impl SpanCount {
    /// The longest duration of a class, at most a twentieth longer than the shortest.
    pub fn duration(class: i32) -> Duration {
        Duration::try_from_secs_f64(GROWTH.powi(class) / 1e9).unwrap_or(Duration::MAX)
    }
}

impl TraceStore {
    /// Counts the spans of services of a period, by operation, step of time, failure and class of duration. `kinds` are
    /// OTLP's numbers.
    ///
    /// It reads every span of these services in the period.
    ///
    /// # Errors
    /// [`Error::Input`] for a step of nothing, and for one that the period has more than 2^31 of; [`Error::Connect`], [`Error::Database`], [`Error::Timeout`],
    /// [`Error::Schema`].
    pub async fn count_spans(
        &self,
        services: &[String],
        kinds: &[i16],
        since: SystemTime,
        until: SystemTime,
        step: Duration,
    ) -> Result<Vec<SpanCount>> {
        if step.is_zero() {
            return Err(Error::Input { origin: "step".into(), reason: "it is longer than nothing".into() });
        }
        let period = until.duration_since(since).unwrap_or_default();
        if period.as_secs_f64() / step.as_secs_f64() > MOST_STEPS {
            let reason =
                format!("a period of {period:?} has more than 2^31 steps of {step:?}: make them longer");
            return Err(Error::Input { origin: "step".into(), reason });
        }
        let schema = &self.sql().schema;
        let mut parameters = Parameters::default();
        let (services, kinds) = (parameters.bind(services.to_vec()), parameters.bind(kinds.to_vec()));
        let period = within(&Filter::default().since(since).until(until), &mut parameters);
        let begin = parameters.bind(Timestamp::from(since).0 as f64 / 1e9);
        let step = parameters.bind(step.as_secs_f64());
        let growth = parameters.bind(GROWTH.ln());
        let sql = format!(
            "SELECT d.service, d.name, floor((extract(epoch FROM r.start_time)::float8 - {begin}) / {step})::integer, \
                    d.status_code = 2, ceil(ln(greatest(r.duration_ns, 1)::float8) / {growth})::integer, count(*) \
             FROM {schema}.span_documents d JOIN {schema}.span_rows r ON r.document_id = d.id \
             WHERE d.service = ANY({services}) AND d.kind = ANY({kinds}) AND {period} \
             GROUP BY 1, 2, 3, 4, 5"
        );
        self.timed("counting spans", async {
            let (connection, _) = self.connection().await?;
            let rows = connection
                .query(&sql, &parameters.as_slice())
                .await
                .map_err(Error::database("counting spans"))?;
            connection.give_back();
            rows.iter().map(span_count).collect()
        })
        .await
    }
}

fn span_count(row: &Row) -> Result<SpanCount> {
    Ok(SpanCount {
        service: row.column(0)?,
        operation: row.column(1)?,
        step: u32::try_from(row.column::<i32>(2)?).unwrap_or(0),
        failed: row.column(3)?,
        class: row.column(4)?,
        spans: row.count(5)?,
    })
}

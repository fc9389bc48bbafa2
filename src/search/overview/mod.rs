//! What the spans that a search is about have in common: when they were, of which services and operations, how long they
//! took, which attributes they have. Counted within bounds, whatever is stored.

mod counted;
mod period;

use std::time::Duration;

use tokio_postgres::Row;

use super::filter::{Filter, Status};
use super::query::SearchQuery;
use crate::error::Result;
use crate::span::Timestamp;
use crate::store::{Columns, Microseconds, TraceStore};
use counted::{Spans, count};

/// How long counting may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The spans that a search is about, counted.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Overview {
    /// How many spans were counted.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Which spans these are.
    pub scope: CountScope,
    /// How long each of `times` is.
    pub step: Duration,
    /// Spans by the time of their start, in order; without times at which none started.
    pub times: Vec<TimeCount>,
    /// Spans by service, the most first; at most 20.
    pub services: Vec<NameCount>,
    /// Spans by operation, the most first; at most 20. Names have `…` for what varies.
    pub operations: Vec<OperationCount>,
    /// Spans by status.
    pub statuses: Vec<(Status, u64)>,
    /// Spans by duration, the shortest first: each class is up to its bound, and from the bound before on.
    pub durations: Vec<DurationCount>,
    /// Spans by attribute and value, as far as documents tell: of the 200 most frequent documents, at most 300.
    pub attributes: Vec<AttributeCount>,
}

/// Which spans are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum CountScope {
    /// All that pass the conditions.
    #[default]
    All,
    /// About this part of them, drawn at random by the database.
    Sample(f64),
    /// Those of the operations that fit the words best: at most 40, of each the newest 500.
    Best,
}

/// Spans that started within a step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeCount {
    /// Where the step begins.
    pub start: Timestamp,
    /// How many spans.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
}

/// Spans of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameCount {
    /// The service.
    pub name: String,
    /// How many spans.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
}

/// Spans of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationCount {
    /// The service.
    pub service: String,
    /// The spans' name, with `…` for what varies.
    pub name: String,
    /// How many spans.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
}

/// Spans of about a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurationCount {
    /// The shortest there may be.
    pub from: Duration,
    /// What all are shorter than; `None` for the longest.
    pub to: Option<Duration>,
    /// How many spans.
    pub spans: u64,
}

/// Spans with a value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttributeCount {
    /// The attribute.
    pub key: String,
    /// Its value, as a condition has it.
    pub value: String,
    /// How many spans.
    pub spans: u64,
}

impl TraceStore {
    /// Counts the spans that a search is about by time, service, operation, status, duration and attribute.
    ///
    /// Without words these are the spans that pass the conditions: all of them, or where they are many a part that the
    /// database draws ([`Overview::scope`]). With words, those of the operations that fit them best. `None` where it takes
    /// longer than a second.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces).
    pub async fn overview(&self, query: &SearchQuery) -> Result<Option<Overview>> {
        match tokio::time::timeout(PATIENCE, overview(self, query)).await {
            Ok(counted) => counted.map(Some),
            Err(_) => Ok(None),
        }
    }
}

async fn overview(store: &TraceStore, query: &SearchQuery) -> Result<Overview> {
    let filter = query.bounded_filter();
    let spans = Spans::of(store, query, &filter).await?;
    let (rows, scope) = count(store, spans, &filter).await?;
    read(&rows, scope, &filter)
}

/// From what was counted: a part of the whole each row, named by its first column.
fn read(rows: &[Row], scope: CountScope, filter: &Filter) -> Result<Overview> {
    let mut counted = Overview { scope, ..Overview::default() };
    for row in rows {
        let (first, second): (Option<String>, Option<String>) = (row.column(1)?, row.column(2)?);
        let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
        let (spans, errors) = (row.count(5)?, row.count(6)?);
        let number: Option<f64> = row.column(4)?;
        match row.column::<&str>(0)? {
            "step" => {
                counted.step = Duration::try_from_secs_f64(number.unwrap_or_default()).unwrap_or_default()
            }
            "time" => {
                let Some(Microseconds(start)) = row.column(3)? else { continue };
                counted.spans += spans;
                counted.errors += errors;
                counted.times.push(TimeCount { start: Timestamp(i128::from(start) * 1000), spans, errors });
            }
            "service" => counted.services.push(NameCount { name: first, spans, errors }),
            "operation" => {
                counted.operations.push(OperationCount { service: first, name: second, spans, errors });
            }
            "status" => {
                let statuses = [Status::Unset, Status::Ok, Status::Error];
                let status = statuses.into_iter().find(|status| number == Some(f64::from(*status as i16)));
                counted.statuses.extend(status.map(|status| (status, spans)));
            }
            "duration" => {
                let class = number.unwrap_or_default() as usize;
                let from = class.checked_sub(1).and_then(|class| counted::CLASSES.get(class)).copied();
                let to = counted::CLASSES.get(class).copied();
                counted.durations.push(DurationCount { from: from.unwrap_or_default(), to, spans });
            }
            _ => counted.attributes.push(AttributeCount { key: first, value: second, spans }),
        }
    }
    // The first step may begin before what was asked for.
    if let (Some(since), Some(first)) = (filter.since, counted.times.first_mut()) {
        first.start = first.start.max(Timestamp::from(since));
    }
    Ok(counted)
}

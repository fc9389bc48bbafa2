//! What there is at present: the newest traces, and since when they are.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::super::compared::planned_once;
use super::super::traces::summarized;
use super::super::{Filter, SearchQuery, TraceHit};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Microseconds, TraceStore};

/// How many of the newest traces the present is made of.
const PRESENT: i64 = 1000;
/// How long it may be, in seconds; a month is the longest.
const LENGTHS: [u64; 8] = [60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000];

impl TraceStore {
    /// The newest traces, the newest root first, or the newest span where few roots are stored. At most `limit` (1 to 1000).
    /// Their lists of spans are empty.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn newest_traces(&self, limit: usize) -> Result<Vec<TraceHit>> {
        let limit = limit.clamp(1, 1000);
        let sql = format!(
            "SELECT trace_id FROM {}.span_rows WHERE parent_span_id = 0 ORDER BY start_time DESC LIMIT $1",
            self.sql().schema
        );
        let of_roots = self.timed("reading the newest traces", async {
            let (connection, info) = self.connection().await?;
            // A trace may have several roots.
            let rows = connection
                .query_prepared(&sql, &[&(2 * limit as i64)])
                .await
                .map_err(Error::database("reading the newest traces"))?;
            let mut seen = HashSet::new();
            let mut ids = rows.iter().map(|row| row.trace_id(0)).collect::<Result<Vec<_>>>()?;
            ids.retain(|id| seen.insert(*id));
            let ids: Vec<_> = ids.into_iter().take(limit).map(|id| (id, 1.0)).collect();
            let is_full = ids.len() == limit;
            let traces = match is_full {
                true => planned_once(&connection, &info, summarized(self, &connection, ids)).await?,
                false => Vec::new(),
            };
            connection.give_back();
            Ok(is_full.then_some(traces))
        });
        if let Some(traces) = of_roots.await? {
            return Ok(traces);
        }
        let mut traces =
            self.search_traces(SearchQuery::filtered(Filter::default()).limit(limit)).await?.hits;
        for trace in &mut traces {
            trace.spans.clear();
        }
        Ok(traces)
    }

    /// Since when the newest traces are: the shortest of a minute, 5 and 15 minutes, 1 and 6 hours, a day, a week and a
    /// month before the newest that has a thousand of them, or all. `None` where no root is stored.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn present(&self) -> Result<Option<SystemTime>> {
        let sql = format!(
            "SELECT min(start_time), max(start_time) FROM ( \
                 SELECT start_time FROM {}.span_rows WHERE parent_span_id = 0 ORDER BY start_time DESC LIMIT $1) AS newest",
            self.sql().schema
        );
        let rows = self
            .timed("looking for the newest traces", async {
                let (connection, _) = self.connection().await?;
                let rows = connection
                    .query_prepared(&sql, &[&PRESENT])
                    .await
                    .map_err(Error::database("looking for the newest traces"))?;
                connection.give_back();
                Ok(rows)
            })
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (Some(Microseconds(first)), Some(Microseconds(last))) = (row.column(0)?, row.column(1)?) else {
            return Ok(None);
        };
        let needed = Duration::from_micros(last.saturating_sub(first).unsigned_abs());
        let lengths = LENGTHS.map(Duration::from_secs);
        let length =
            lengths.iter().find(|length| **length >= needed).or(lengths.last()).copied().unwrap_or(needed);
        let newest = Timestamp(i128::from(last) * 1000).to_system_time();
        Ok(newest.and_then(|newest| newest.checked_sub(length)))
    }
}

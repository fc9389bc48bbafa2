//! Why a search found nothing.

use std::time::Duration;

use super::filter::Filter;
use super::query::SearchQuery;
use super::traces;
use crate::error::{Error, Result};
use crate::store::{Columns, TraceStore};

/// How long is looked for what hides results: that there are none is known already.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a search would find that asks for less.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Hidden {
    /// The best score below the threshold.
    pub best_score: Option<f64>,
    /// The conditions without which there are results, each by itself: `service`, `since`, `attribute http.route=/cart`, ….
    pub conditions: Vec<String>,
    /// How many documents wait for their embedding, and cannot be found by meaning yet.
    pub waiting: u64,
    /// Whether everything was looked at in time.
    pub is_whole: bool,
}

impl TraceStore {
    /// What hides results from a search that finds nothing: the threshold, or one of the conditions.
    ///
    /// It searches once for each condition, for 3 seconds in all; then it tells what it knows.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces).
    pub async fn what_hides(&self, query: &SearchQuery) -> Result<Hidden> {
        let mut hidden = Hidden::default();
        let looking = self.timed("looking for what hides results", self.look_for(query, &mut hidden));
        if let Ok(looked) = tokio::time::timeout(PATIENCE, looking).await {
            looked?;
            hidden.is_whole = true;
        }
        Ok(hidden)
    }

    async fn look_for(&self, query: &SearchQuery, hidden: &mut Hidden) -> Result<()> {
        let open = query.clone().similarity_threshold(0.0).limit(1);
        if !query.text.is_empty() {
            hidden.best_score = traces::spans(self, &open).await?.hits.first().map(|hit| hit.score);
            hidden.waiting = self.count_waiting().await?;
        }
        for (name, filter) in without_each(&query.filter) {
            let mut wider = query.clone().limit(1);
            wider.filter = filter;
            if !traces::spans(self, &wider).await?.is_empty() {
                hidden.conditions.push(name);
            }
        }
        Ok(())
    }

    async fn count_waiting(&self) -> Result<u64> {
        let sql =
            format!("SELECT count(*) FROM {}.span_documents WHERE embedding IS NULL", self.sql().schema);
        let (connection, _) = self.connection().await?;
        let rows =
            connection.query_prepared(&sql, &[]).await.map_err(Error::database("counting documents"))?;
        connection.give_back();
        rows.first().map_or(Ok(0), |row| row.count(0))
    }
}

/// The filter without each of its conditions, with the condition's name.
fn without_each(filter: &Filter) -> Vec<(String, Filter)> {
    let mut all = Vec::new();
    let mut without = |name: String, change: &dyn Fn(&mut Filter)| {
        let mut wider = filter.clone();
        change(&mut wider);
        if wider != *filter {
            all.push((name, wider));
        }
    };
    without("service".into(), &|filter| filter.services.clear());
    without("operation".into(), &|filter| filter.operation = None);
    without("kind".into(), &|filter| filter.kind = None);
    without("status".into(), &|filter| filter.status = None);
    without("since".into(), &|filter| filter.since = None);
    without("until".into(), &|filter| filter.until = None);
    without("minimum duration".into(), &|filter| filter.min_duration = None);
    without("maximum duration".into(), &|filter| filter.max_duration = None);
    without("scope".into(), &|filter| filter.scope = None);
    without("exception".into(), &|filter| filter.exception = None);
    without("trace id".into(), &|filter| filter.trace_ids.clear());
    for (at, condition) in filter.attributes.iter().enumerate() {
        without(format!("attribute {condition}"), &|filter| drop(filter.attributes.remove(at)));
    }
    for (at, condition) in filter.resource.iter().enumerate() {
        without(format!("resource attribute {condition}"), &|filter| drop(filter.resource.remove(at)));
    }
    for (at, phrase) in filter.phrases.iter().enumerate() {
        without(format!("\"{phrase}\""), &|filter| drop(filter.phrases.remove(at)));
    }
    all
}

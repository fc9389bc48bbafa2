//! Finding traces: by meaning, by words, by conditions, by likeness.
//!
//! Candidates are the documents nearest by the cosine of their embedding, and those with the query's words. They are scored
//! by cosine, by how near their words are to the query's, and by failure; for each the newest spans that pass the conditions
//! are read. Conditions on attributes are answered by documents as far as these can.
//! [`docs/search.md`](https://github.com/opentelemetry-pgvector/opentelemetry-pgvector/blob/main/docs/search.md) tells how.

mod by_time;
mod candidates;
mod catalog;
mod compare;
mod compared;
mod conditions;
mod counts;
mod dependencies;
mod failure;
mod figures;
mod filter;
mod held;
mod hidden;
mod hit;
mod names;
mod needles;
mod novel;
mod operations;
mod overview;
mod query;
mod rank;
mod ranked;
mod recent;
mod repeated;
mod score;
mod similar;
mod spans;
mod summary;
mod tags;
mod text;
mod time;
mod traces;
mod whole;

use futures_util::{Stream, TryStreamExt, stream};

pub use catalog::Operation;
#[cfg(feature = "import")]
pub(crate) use conditions::{Parameters, ids_of_traces};
pub use counts::SpanCount;
pub use dependencies::Dependency;
pub use figures::{Figure, Figures};
pub use filter::{Comparison, Condition, Filter, Kind, Status, Test};
pub use hidden::Hidden;
pub use hit::{Explanation, MatchedWord, OperationHit, SpanHit, TraceHit};
pub use names::Names;
pub use novel::{Nearest, NewOperation};
pub use overview::{
    AttributeCount, CountScope, DurationCount, NameCount, OperationCount, Overview, TimeCount,
};
#[cfg(feature = "serve")]
pub(crate) use query::trace_id;
pub use query::{Found, Page, SearchQuery};
pub use similar::SimilarTrace;
pub use summary::{ServiceSummary, TraceSummary};
#[cfg(feature = "serve")]
pub(crate) use text::Mistake;
pub use text::{QueryText, Term};
#[doc(hidden)]
pub use text::{read_duration, read_time};

use crate::error::Result;
use crate::store::TraceStore;

impl TraceStore {
    /// Traces with spans that fit a query, best first; without words, the newest first.
    ///
    /// Documents are found by the meaning of the query and by its words, and for each its newest spans that pass the
    /// conditions. When the query speaks of failure, what failed comes first. Dropping the future cancels the search
    /// within a second, where the server runs on Linux; elsewhere it ends after `statement_timeout_seconds` at most.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) when the model is missing or another one made the embeddings;
    /// [`Error::Input`](crate::Error::Input) for a malformed regular expression;
    /// [`Error::Connect`](crate::Error::Connect), [`Error::Database`](crate::Error::Database),
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub async fn search_traces(&self, query: impl Into<SearchQuery>) -> Result<Found<TraceHit>> {
        let query = query.into();
        self.timed("searching traces", traces::traces(self, &query)).await
    }

    /// Traces with spans that pass these conditions, the newest first.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces), but for the model, which is not needed.
    pub async fn find_traces(&self, filter: Filter) -> Result<Found<TraceHit>> {
        self.search_traces(filter).await
    }

    /// Spans that fit a query, best first; without words, the newest first.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces).
    pub async fn search_spans(&self, query: impl Into<SearchQuery>) -> Result<Found<SpanHit>> {
        let query = query.into();
        self.timed("searching spans", traces::spans(self, &query)).await
    }

    /// Operations that fit a query, best first; none comes twice.
    ///
    /// # Errors
    /// As [`search_traces`](Self::search_traces).
    pub async fn search_operations(&self, query: impl Into<SearchQuery>) -> Result<Found<OperationHit>> {
        let query = query.into();
        self.timed("searching operations", operations::operations(self, &query)).await
    }

    /// All traces that fit a query, page by page as the stream is read. With words, these are traces with the documents
    /// that are nearest to them: 200, or 20 for each result of a page, whichever is more, and those that have the words.
    ///
    /// # Errors
    /// The stream ends with the first error, which is one of [`search_traces`](Self::search_traces).
    pub fn stream_traces(&self, query: SearchQuery) -> impl Stream<Item = Result<TraceHit>> + Send + '_ {
        let pages = stream::try_unfold(Some(query), move |query| async move {
            let Some(query) = query else { return Ok(None) };
            let found = self.search_traces(query.clone()).await?;
            let next = found.next.map(|page| query.page(page));
            Ok(Some((stream::iter(found.hits.into_iter().map(Ok)), next)))
        });
        pages.try_flatten()
    }
}

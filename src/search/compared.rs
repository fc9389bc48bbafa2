//! Which documents a search ranks: those that pass the conditions, compared one by one or by HNSW.

use futures_util::{FutureExt, future};

use super::candidates::near;
use super::conditions::{Parameters, asks_documents, asks_each_row, asks_rows, on_documents};
use super::filter::Filter;
use super::query::SearchQuery;
use super::spans::reading;
use crate::error::{Error, Result};
use crate::store::{Columns, Connection, Known, SchemaInfo, TraceStore};

/// The most documents that pass the conditions and are compared one by one, which takes some 6 µs each.
const COMPARED: usize = 5_000;

/// From so many documents on a sample of about so many is looked at first. Where at least this share of it passes, it is ten
/// times as many in all as would be compared.
pub(super) const LARGE: i32 = 500_000;
const SAMPLE: f32 = 2_000.0;
const PASSING: f32 = 0.1;

/// Up to so many documents that pass, of all, are compared one by one for so many nearest. HNSW looks at the more for each that
/// passes the fewer pass, and that takes about twice as long a document.
fn compared(documents: i32, near: usize) -> usize {
    let documents = usize::try_from(documents).unwrap_or(0);
    near.saturating_mul(2).saturating_mul(documents).isqrt().min(COMPARED)
}

/// The candidates of a search. Whether rows of a document pass takes a look at them, so as a rule that is asked of the best
/// documents only. Where that finds too few, the documents of the newest spans that pass come behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Documents that pass as far as documents tell.
    Documents,
    /// Documents of the newest spans that pass.
    Spans,
}

impl Reach {
    /// How to begin. What few spans have is looked for among spans at once.
    pub(super) fn first(filter: &Filter) -> Self {
        let is_rare = !filter.phrases.is_empty() || !filter.trace_ids.is_empty();
        if is_rare { Reach::Spans } else { Reach::Documents }
    }

    /// Whether there are more candidates to be had than those among so many documents.
    pub(super) fn is_short(self, filter: &Filter, passing: &Passing, documents: i32, count: usize) -> bool {
        let candidates = match passing {
            Passing::These(ids) => ids.len(),
            Passing::Many => documents.max(0) as usize,
        };
        self == Reach::Documents && asks_rows(filter) && (candidates > count || asks_each_row(filter))
    }
}

/// How many of the newest spans that pass have their documents compared. Of a period they are found at once, of traces there
/// are no more; where each row is asked something, finding the last ones may take reading all.
pub(super) fn spans(filter: &Filter) -> usize {
    match asks_each_row(filter) {
        _ if !filter.trace_ids.is_empty() => 100_000,
        true => 500,
        false => 5_000,
    }
}

/// The documents that pass the conditions, as far as documents tell.
pub(super) enum Passing {
    /// These, which are compared one by one.
    These(Vec<Known>),
    /// So many that HNSW finds the nearest.
    Many,
}

/// Finds out which documents pass, where conditions may leave few of all these.
pub(super) async fn passing(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    query: &SearchQuery,
    documents: i32,
) -> Result<Passing> {
    let filter = query.bounded_filter();
    if !asks_documents(&filter) {
        return Ok(Passing::Many);
    }
    let schema = &store.sql().schema;
    let goes_on = goes_on(&info.pgvector);
    if goes_on && !info.distributed && are_many(store, connection, &filter, documents).await? {
        return Ok(Passing::Many);
    }
    let mut parameters = Parameters::default();
    let last = parameters.bind(query.page.document);
    let conditions = on_documents(&filter, schema, &mut parameters);
    let most = compared(documents, near(query));
    let limit = goes_on.then_some(most as i64 + 1);
    let sql = format!(
        "SELECT d.id, d.hash FROM {schema}.span_documents d WHERE d.id <= {last} AND {conditions} LIMIT {}",
        parameters.bind(limit)
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(&filter))?;
    Ok(match !goes_on || rows.len() <= most {
        true => Passing::These(rows.iter().map(Known::of).collect::<Result<_>>()?),
        false => Passing::Many,
    })
}

/// Whether a sample shows that more documents pass than are compared one by one. Counting these would take longer.
async fn are_many(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    documents: i32,
) -> Result<bool> {
    if documents < LARGE {
        return Ok(false);
    }
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let sql = format!(
        "SELECT count(*) FILTER (WHERE {}), count(*) \
         FROM {schema}.span_documents d TABLESAMPLE SYSTEM ({}::float4) REPEATABLE (1)",
        on_documents(filter, schema, &mut parameters),
        parameters.bind(SAMPLE * 100.0 / documents as f32)
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    let Some(row) = rows.first() else { return Ok(false) };
    Ok(row.count(0)? as f32 / row.count(1)?.max(1) as f32 >= PASSING)
}

/// What a search by meaning selects from: documents with an embedding that pass the conditions, as a subquery.
pub(super) fn source(
    store: &TraceStore,
    passing: &Passing,
    query: &SearchQuery,
    parameters: &mut Parameters,
) -> String {
    let schema = &store.sql().schema;
    let conditions = match passing {
        Passing::These(documents) => {
            let ids: Vec<i32> = documents.iter().map(|document| document.id).collect();
            format!("d.id = ANY({}::integer[])", parameters.bind(ids))
        }
        // Not by the page's last document, nor by an index of theirs: the planner would not use HNSW then.
        Passing::Many => format!("({}) IS TRUE", on_documents(&query.filter, schema, parameters)),
    };
    format!("SELECT * FROM {schema}.span_documents d WHERE embedding IS NOT NULL AND {conditions}")
}

/// Plans a statement once a connection: planning for dozens of partitions takes longer than reading them.
const PLANNED_ONCE: &str = "SET LOCAL plan_cache_mode = force_generic_plan; ";
/// Its parameters are unknown then, so that the planner is told to prefer indexes.
const BY_INDEXES: &str = "SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// What the transaction of a search sets.
///
/// Where spans are looked for first, that is planned by their periods.
pub(super) fn settings(info: &SchemaInfo, query: &SearchQuery, reach: Reach) -> String {
    if reach == Reach::Spans {
        return "SET LOCAL jit = off".into();
    }
    let hnsw = of_hnsw(&info.pgvector, near(query));
    // Citus plans a distributed statement by its parameters.
    let plans = if info.distributed { "" } else { PLANNED_ONCE };
    format!("{hnsw}; {plans}{BY_INDEXES}")
}

/// Runs statements that need no plan of their own, in a transaction of their own. They travel behind its begin.
pub(super) async fn planned_once<T>(
    connection: &Connection,
    info: &SchemaInfo,
    statements: impl Future<Output = Result<T>>,
) -> Result<T> {
    if info.distributed {
        return statements.await;
    }
    let begin = async {
        let begin = format!("BEGIN READ ONLY; {PLANNED_ONCE}{BY_INDEXES}");
        connection.batch_execute(&begin).await.map_err(Error::database("searching"))
    };
    let (_, found) = future::try_join(begin, statements).await?;
    commit(connection);
    Ok(found)
}

/// Ends a transaction that changed nothing. The answer is not waited for: COMMIT is sent as soon as it is polled, and what
/// comes next on the connection stands behind it.
pub(super) fn commit(connection: &Connection) {
    let _ = connection.batch_execute("COMMIT").now_or_never();
}

/// What HNSW is to find so many documents by.
pub(super) fn of_hnsw(pgvector: &str, count: usize) -> String {
    let iterate = if goes_on(pgvector) { "; SET LOCAL hnsw.iterative_scan = relaxed_order" } else { "" };
    format!("SET LOCAL hnsw.ef_search = {}{iterate}", count.clamp(1, 1000))
}

/// Whether HNSW goes on when conditions leave too few of what it found: from pgvector 0.8 on.
fn goes_on(pgvector: &str) -> bool {
    let mut parts = pgvector.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (0, 8)
}

//! Which documents a search ranks: those that pass the conditions, compared one by one or by HNSW.

use super::conditions::{Parameters, asks_documents, asks_rows, columns, on_documents, on_rows, within};
use super::query::{Page, SearchQuery};
use super::spans::reading;
use crate::error::Result;
use crate::store::{Connection, SchemaInfo, TraceStore};

/// Up to so many documents that pass the conditions are compared one by one, which takes some 10 µs each.
const COMPARED: i64 = 5_000;

/// What a search by meaning selects from: documents with an embedding that pass the conditions, as a subquery, and whether
/// it compares them exactly.
///
/// Where conditions leave few documents, these are compared exactly (`OFFSET 0` keeps HNSW out): HNSW would look for the
/// nearest of all, and find too few of these. Where they leave many, it goes on until it has found enough (pgvector 0.8).
pub(super) async fn source(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    query: &SearchQuery,
    parameters: &mut Parameters,
) -> Result<(String, bool)> {
    let schema = &store.sql().schema;
    let filter = query.bounded_filter();
    let mut conditions = "embedding IS NOT NULL".to_owned();
    let later = query.page != Page::FIRST;
    if later {
        conditions += &format!(" AND d.id <= {}", parameters.bind(query.page.document));
    }
    let on_documents = on_documents(&filter, schema, parameters);
    conditions += &format!(" AND {on_documents}");
    let mut exact = later || asks_documents(&filter) || asks_rows(&filter);
    if exact {
        let mut own = Parameters::default();
        let count = format!(
            "SELECT count(*) FROM (SELECT FROM {schema}.span_documents d WHERE {} LIMIT {}) AS few",
            super::conditions::on_documents(&filter, schema, &mut own),
            COMPARED + 1
        );
        let rows = connection.query(&count, &own.as_slice()).await.map_err(reading(&filter))?;
        let few = rows.first().is_some_and(|row| row.get::<_, i64>(0) <= COMPARED);
        exact = few || !goes_on(&info.pgvector);
    }
    // Decided for each document once, and then row by row: HNSW would not go through many documents at that price.
    exact |= !filter.phrases.is_empty();
    let documents = match filter.phrases.is_empty() {
        true => format!("{schema}.span_documents"),
        false => {
            let columns = columns(&filter, parameters);
            format!("(SELECT d.*{columns} FROM {schema}.span_documents d OFFSET 0)")
        }
    };
    if asks_rows(&filter) {
        let (period, rows) = (within(&filter, parameters), on_rows(&filter, schema, parameters));
        let spans = format!("FROM {schema}.span_rows r WHERE r.document_id = d.id AND {period} AND {rows}");
        conditions += &match info.distributed {
            false => format!(" AND EXISTS (SELECT {spans})"),
            // Citus refuses to ask other nodes for each document: they say of all documents that pass which have spans.
            true => format!(
                " AND d.id IN (SELECT d.id FROM {documents} AS d CROSS JOIN LATERAL ( \
                     SELECT FROM (SELECT 1 AS one {spans} LIMIT 1) AS r ORDER BY one) AS part WHERE {on_documents})"
            ),
        };
    }
    let fence = if exact { " OFFSET 0" } else { "" };
    Ok((format!("(SELECT * FROM {documents} AS d WHERE {conditions}{fence})"), exact))
}

/// What the transaction of a search sets, for so many documents.
pub(super) fn settings(pgvector: &str, count: usize) -> Vec<String> {
    let mut all = vec![format!("SET LOCAL hnsw.ef_search = {}", count.clamp(1, 1000))];
    if goes_on(pgvector) {
        all.push("SET LOCAL hnsw.iterative_scan = relaxed_order".into());
    }
    all
}

/// Whether HNSW goes on when conditions leave too few of what it found: from pgvector 0.8 on.
fn goes_on(pgvector: &str) -> bool {
    let mut parts = pgvector.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (0, 8)
}

//! What the stored traces take on disk, by part.

use super::TraceStore;
use super::columns::Columns;
use crate::error::{Error, Result};

/// What the store's tables hold, and what they take on disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// How many spans are stored, by the planner's statistics: about as many as at the last ANALYZE.
    pub spans: u64,
    /// Their rows in all partitions, without indexes.
    pub row_bytes: u64,
    /// The indexes of these.
    pub row_index_bytes: u64,
    /// How many documents are stored.
    pub documents: u64,
    /// Documents with their texts, vectors and indexes.
    pub document_bytes: u64,
}

impl TraceStore {
    /// What the traces take on disk.
    ///
    /// On a Citus cluster the tables of this node are empty, and so is this.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn sizes(&self) -> Result<Sizes> {
        let schema = &self.inner.sql.schema;
        let sql = format!(
            "SELECT sum(greatest(c.reltuples, 0))::bigint, sum(pg_table_size(c.oid))::bigint, \
                    sum(pg_indexes_size(c.oid))::bigint, \
                    (SELECT count(*) FROM {schema}.span_documents), \
                    pg_total_relation_size(to_regclass($2)) \
             FROM pg_partition_tree(to_regclass($1)) p JOIN pg_class c ON c.oid = p.relid WHERE p.isleaf"
        );
        self.timed("measuring tables", async {
            let (connection, _) = self.connection().await?;
            let (rows, documents) = (format!("{schema}.span_rows"), format!("{schema}.span_documents"));
            let row = connection
                .query_one(&sql, &[&rows, &documents])
                .await
                .map_err(Error::database("measuring tables"))?;
            connection.give_back();
            let number = |at| Ok(row.column::<Option<i64>>(at)?.unwrap_or(0).unsigned_abs());
            Ok(Sizes {
                spans: number(0)?,
                row_bytes: number(1)?,
                row_index_bytes: number(2)?,
                documents: number(3)?,
                document_bytes: number(4)?,
            })
        })
        .await
    }
}

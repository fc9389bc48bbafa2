//! The indexes of the new embeddings, built while everyone reads and writes.

use crate::error::{Error, Result};
use crate::store::TraceStore;
use crate::store::columns::Columns;

impl TraceStore {
    /// The index of the documents that have no embedding of the new model.
    pub(super) async fn index_waiting(&self) -> Result<()> {
        self.index("span_documents_waiting_next", "(id) WHERE embedding_next IS NULL").await
    }

    /// The index of the new embeddings, built with the options of the old one.
    pub(super) async fn index_next(&self) -> Result<()> {
        let (connection, info) = self.connection().await?;
        let options = connection
            .query_opt(
                "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1)",
                &[&format!("{}.span_documents_embedding", self.inner.sql.schema)],
            )
            .await
            .map_err(Error::database("looking at an index"))?;
        connection.give_back();
        let options = options.map_or(Ok(None), |row| row.column::<Option<String>>(0))?;
        let with = options.map(|options| format!(" WITH ({options})")).unwrap_or_default();
        let definition = format!("USING hnsw (embedding_next {}){with}", info.cosine);
        self.index("span_documents_embedding_next", &definition).await
    }

    /// Makes an index of documents unless it is there, whole; one whose making was interrupted is made anew.
    async fn index(&self, name: &str, definition: &str) -> Result<()> {
        let doing = || Error::database("building an index");
        let schema = &self.inner.sql.schema;
        let qualified = format!("{schema}.{name}");
        let (connection, _) = self.connection().await?;
        let whole = connection
            .query_opt("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", &[&qualified])
            .await
            .map_err(doing())?
            .map(|row| row.column(0))
            .transpose()?;
        if whole == Some(true) {
            connection.give_back();
            return Ok(());
        }
        // It takes as long as it takes. Behind a pooler no limit is set outside of a transaction; elsewhere the
        // connection is closed afterwards, with its limits.
        if self.inner.settings.prepared_statements {
            let limits = "SET statement_timeout = 0; SET lock_timeout = 0";
            connection.batch_execute(limits).await.map_err(doing())?;
        }
        if whole == Some(false) {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {qualified}");
            connection.batch_execute(&drop).await.map_err(doing())?;
        }
        let create = format!("CREATE INDEX CONCURRENTLY {name} ON {schema}.span_documents {definition}");
        connection.batch_execute(&create).await.map_err(doing())
    }
}

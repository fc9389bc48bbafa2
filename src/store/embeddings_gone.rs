//! The column of the embeddings that is gone, as after `DROP EXTENSION vector CASCADE`. Spans and documents are whole, and
//! their embeddings can be made anew.

use tokio_postgres::error::SqlState;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use crate::error::{Error, Result};

const COLUMN: &str = include_str!("../../sql/embeddings_again.sql");

/// The last of the views, which reads the column.
const VIEWS: &str = include_str!("../../sql/0002_views.sql");
const VIEW: &str = "CREATE VIEW documents AS";

impl TraceStore {
    pub(super) async fn are_embeddings_gone(&self, connection: &Connection) -> Result<bool> {
        let sql = "SELECT to_regclass($1) IS NOT NULL AND NOT EXISTS \
                   (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'embedding')";
        let row = connection
            .query_one(sql, &[&format!("{}.span_documents", self.inner.sql.schema)])
            .await
            .map_err(Error::database("looking for the column of the embeddings"))?;
        row.column(0)
    }

    /// Within a transaction of the owner's with the search path of a migration: makes the column again, and what went with
    /// it. All documents wait for their embeddings then.
    pub(super) async fn make_embeddings_again(&self, connection: &Connection) -> Result<()> {
        let doing = || Error::database("making the column of the embeddings again");
        let of_model = "SELECT dimension FROM embedding_model";
        let made_by = connection.query_opt(of_model, &[]).await.map_err(doing())?;
        let dimension = match made_by {
            Some(row) => row.column::<i32>(0)?.to_string(),
            None => self.inner.settings.embedding_dimension.to_string(),
        };
        let column = COLUMN.replace("vector(384)", &format!("vector({dimension})"));
        for statement in column.split_inclusive(";\n") {
            connection.batch_execute(statement).await.map_err(doing())?;
        }
        let is_there =
            connection.query_one("SELECT to_regclass('documents') IS NOT NULL", &[]).await.map_err(doing())?;
        if !is_there.column::<bool>(0)?
            && let Some(at) = VIEWS.find(VIEW)
        {
            connection.batch_execute(&VIEWS[at..]).await.map_err(doing())?;
        }
        Ok(())
    }

    /// What to do about it.
    pub(super) fn embeddings_gone(&self) -> Error {
        Error::Schema(format!(
            "the column span_documents.embedding is gone, as after DROP EXTENSION vector CASCADE: spans are whole, but \
             nothing is found by meaning. Run as the schema's owner: {}; it makes what is missing, and embeddings are \
             computed anew",
            self.migrate_command()
        ))
    }

    /// The error of a statement, or what to do where it failed for want of that column.
    pub(super) fn explained(&self, error: Error) -> Error {
        let is_of_embeddings = |source: &tokio_postgres::Error| {
            source.code() == Some(&SqlState::UNDEFINED_COLUMN)
                && source.as_db_error().is_some_and(|said| {
                    let mut words =
                        said.message().split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                    words.any(|word| word == "embedding")
                })
        };
        match &error {
            Error::Database { source, .. } if is_of_embeddings(source) => self.embeddings_gone(),
            _ => error,
        }
    }
}

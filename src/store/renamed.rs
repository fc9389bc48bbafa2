//! A schema that was renamed: its functions still name the former schema in their `search_path`, and would work there, such as
//! in a backup's that was restored beside it.

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use crate::error::{Error, Result};

/// What brings the functions of the schema $1 back to it. A function of another's stays as it is: those that are meant
/// have the setting of one that is known.
const STATEMENTS: &str = "
    WITH functions AS (
        SELECT p.oid::regprocedure AS function, p.proname, n.nspname, setting
        FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        CROSS JOIN unnest(p.proconfig) AS setting
        WHERE n.nspname = $1 AND starts_with(setting, 'search_path=')
    )
    SELECT format('ALTER FUNCTION %s SET search_path = %I, pg_temp', function, nspname)
    FROM functions
    WHERE setting IN (SELECT setting FROM functions WHERE proname = 'make_partition')
      AND replace(setting, '\"', '') <> format('search_path=%s, pg_temp', replace(nspname, '\"', ''))";

impl TraceStore {
    /// Whether functions of the schema work in another one.
    pub(super) async fn is_renamed(&self, connection: &Connection) -> Result<bool> {
        Ok(!self.statements(connection).await?.is_empty())
    }

    /// Within a transaction of the owner's: lets the functions work in their schema again.
    pub(super) async fn follow_rename(&self, connection: &Connection) -> Result<()> {
        let statements = self.statements(connection).await?;
        connection.batch_execute(&statements.join("; ")).await.map_err(|error| {
            Error::Schema(format!("{} ({})", self.renamed(), crate::error::database_message(&error)))
        })
    }

    /// What to do about it.
    pub(super) fn renamed(&self) -> String {
        format!(
            "schema \"{}\" was renamed, and its functions still work in the schema of its former name. Run as its owner or a \
             member of it: {}",
            self.inner.settings.schema,
            self.migrate_command()
        )
    }

    async fn statements(&self, connection: &Connection) -> Result<Vec<String>> {
        let rows = connection
            .query(STATEMENTS, &[&self.inner.settings.schema])
            .await
            .map_err(Error::database("looking where the schema's functions work"))?;
        rows.iter().map(|row| row.column(0)).collect()
    }
}

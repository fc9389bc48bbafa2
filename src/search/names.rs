//! Names for whoever writes a search: services, operations, attributes.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::store::{Columns, TraceStore};

/// How many operations there are at most, and how many of the newest documents tell attributes.
const OPERATIONS: i64 = 5_000;
const DOCUMENTS: i64 = 2_000;
/// How many keys and values of attributes there are at most.
const ATTRIBUTES: i64 = 3_000;

/// What searches may name.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Names {
    /// All services, by name.
    pub services: Vec<String>,
    /// Services and names of operations, with `…` for what varies, those of the most documents first; at most 5,000.
    pub operations: Vec<(String, String)>,
    /// Keys of attributes, each with the constant values that it has, the most frequent first: of the newest 2,000
    /// documents.
    pub attributes: BTreeMap<String, Vec<String>>,
}

impl TraceStore {
    /// Names of what is stored, for suggestions.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn names(&self) -> Result<Names> {
        let schema = &self.sql().schema;
        let operations = format!(
            "SELECT service, name FROM {schema}.span_documents \
             GROUP BY service, name ORDER BY count(*) DESC, service, name LIMIT $1"
        );
        let attributes = format!(
            "SELECT key, CASE WHEN jsonb_typeof(value) IN ('string', 'number', 'boolean') \
                              AND length(value #>> '{{}}') BETWEEN 1 AND 100 THEN value #>> '{{}}' END AS constant \
             FROM (SELECT attributes FROM {schema}.span_documents ORDER BY id DESC LIMIT $1) AS d \
             CROSS JOIN LATERAL jsonb_each(d.attributes) \
             WHERE length(key) <= 100 \
             GROUP BY key, constant ORDER BY count(*) DESC, key, constant LIMIT $2"
        );
        let services = self.services().await?;
        self.timed("listing names", async {
            let doing = || Error::database("listing names");
            let (connection, _) = self.connection().await?;
            let operations = connection.query_prepared(&operations, &[&OPERATIONS]).await.map_err(doing())?;
            let rows =
                connection.query_prepared(&attributes, &[&DOCUMENTS, &ATTRIBUTES]).await.map_err(doing())?;
            connection.give_back();
            let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in &rows {
                attributes.entry(row.column(0)?).or_default().extend(row.column::<Option<String>>(1)?);
            }
            let operations = operations.iter().map(|row| Ok((row.column(0)?, row.column(1)?)));
            Ok(Names { services, operations: operations.collect::<Result<_>>()?, attributes })
        })
        .await
    }
}

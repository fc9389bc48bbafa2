//! What is new: operations that were first seen after a time, each beside the nearest older one.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::Row;

use super::OperationHit;
use super::compared::of_hnsw;
use super::filter::Filter;
use super::spans::{Documents, newest, shown};
use super::time::Time;
use super::traces::MAX_SPANS;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Microseconds, TraceStore};

/// An operation that was first seen after a time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewOperation {
    /// The operation, with its newest span; the score is that of the nearest older one, 0 where there is none.
    pub operation: OperationHit,
    /// When its first span was stored.
    pub first_seen: Timestamp,
    /// The nearest operation from before; `None` where there is none, or no embedding yet.
    pub nearest: Option<Nearest>,
}

/// An operation from before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Nearest {
    /// The document's id in the database.
    pub document_id: i32,
    /// The service.
    pub service: String,
    /// What was embedded.
    pub text: String,
    /// The cosine similarity of both embeddings.
    pub similarity: f64,
}

/// Of more new operations than these, the newest are looked at.
const LOOKED_AT: i64 = 1_000;

impl TraceStore {
    /// Operations that were first stored at this time or later, what resembles nothing from before first: what a deploy
    /// brought. `service` limits it to one service. At most `limit` (1 to 1000).
    ///
    /// First seen is when the first span was stored, not when it started: an import of old spans is new.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn new_since(
        &self,
        time: SystemTime,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NewOperation>> {
        self.timed("looking for what is new", self.find_new(time, service, limit.clamp(1, 1000))).await
    }

    /// When an operation was last seen for the first time; `None` in an empty store.
    #[cfg(feature = "serve")]
    pub(crate) async fn newest_operation(&self) -> Result<Option<Timestamp>> {
        let sql = format!("SELECT max(first_seen) FROM {}.span_documents", self.sql().schema);
        self.timed("looking for what is new", async {
            let (connection, _) = self.connection().await?;
            let rows = connection
                .query_prepared(&sql, &[])
                .await
                .map_err(Error::database("looking for what is new"))?;
            connection.give_back();
            let newest = rows.first().map_or(Ok(None), |row| row.column::<Option<Microseconds>>(0))?;
            Ok(newest.map(|time| Timestamp(i128::from(time.0) * 1000)))
        })
        .await
    }

    async fn find_new(
        &self,
        time: SystemTime,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NewOperation>> {
        let doing = || Error::database("looking for what is new");
        let (connection, info) = self.connection().await?;
        let (schema, distance) = (&self.sql().schema, &info.distance);
        let sql = format!(
            "SELECT d.id, d.text, d.first_seen, o.id, o.service, o.text, o.similarity \
             FROM (SELECT * FROM {schema}.span_documents \
                   WHERE first_seen >= $1 AND ($2::text IS NULL OR service = $2) \
                   ORDER BY first_seen DESC LIMIT $3) AS d \
             LEFT JOIN LATERAL ( \
                 SELECT o.id, o.service, o.text, 1 - (o.embedding {distance} d.embedding) AS similarity \
                 FROM {schema}.span_documents o \
                 WHERE o.first_seen < $1 AND o.embedding IS NOT NULL AND d.embedding IS NOT NULL \
                 ORDER BY o.embedding {distance} d.embedding LIMIT 1) AS o ON true \
             ORDER BY coalesce(o.similarity, 0), d.first_seen DESC, d.id LIMIT $4"
        );
        connection.batch_execute("BEGIN READ ONLY").await.map_err(doing())?;
        connection.batch_execute(&of_hnsw(&info.pgvector, 100)).await.map_err(doing())?;
        let since = Time::from(Timestamp::from(time));
        let rows = connection
            .query_prepared(&sql, &[&since, &service, &LOOKED_AT, &(limit as i64)])
            .await
            .map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        let ids = rows.iter().map(|row| row.column(0)).collect::<Result<_>>()?;
        let examples =
            newest(self, &connection, &Documents::Ranked(ids), &Filter::default(), 1, MAX_SPANS).await?;
        let examples = shown(self, &connection, examples).await?;
        connection.give_back();
        // Of several, the first is the newest: it is the one that stays.
        let mut examples: HashMap<i32, _> = examples.into_iter().rev().collect();
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let document_id = row.column(0)?;
            // A document whose spans are gone is not worth showing.
            let Some(mut example) = examples.remove(&document_id) else { continue };
            let nearest = nearest(row)?;
            example.score = nearest.as_ref().map_or(0.0, |nearest| nearest.similarity);
            found.push(NewOperation {
                operation: OperationHit { document_id, text: row.column(1)?, example },
                first_seen: Timestamp(i128::from(row.column::<Microseconds>(2)?.0) * 1000),
                nearest,
            });
        }
        Ok(found)
    }
}

/// The nearest operation in four columns of a row, null where there is none.
fn nearest(row: &Row) -> Result<Option<Nearest>> {
    let Some(document_id) = row.column(3)? else { return Ok(None) };
    let (service, text, similarity) = (row.column(4)?, row.column(5)?, row.column(6)?);
    Ok(Some(Nearest { document_id, service, text, similarity }))
}

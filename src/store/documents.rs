//! What a search compares documents by: their embeddings and texts, which are kept in memory.
//!
//! The server stores an embedding out of line: reading and comparing one takes it 8 µs; one that is here is compared in a tenth of one.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::Columns;
use super::connection::Connection;
use super::schema::SchemaInfo;
use super::{Known, TraceStore};
use crate::embedding::{Embedder, Vector};
use crate::error::{Error, Result};
use crate::span::vocabulary;

/// Documents whose embeddings are kept, at 1.6 kB each, and those whose texts are, at some 1 kB.
const KEPT: u64 = 10_000;

/// What a document says.
pub(crate) struct DocumentText {
    pub service: String,
    pub text: String,
    /// The words of the text in lowercase, as often as they occur.
    pub words: Vec<String>,
    /// Whether it is an error or has an exception.
    pub failed: bool,
}

/// What is kept of documents, by the hash of their content: a schema that was made anew begins with the same ids.
pub(super) struct Documents {
    vectors: Cache<Uuid, Vector>,
    texts: Cache<Uuid, Arc<DocumentText>>,
}

impl Default for Documents {
    fn default() -> Self {
        Documents { vectors: Cache::new(KEPT), texts: Cache::new(KEPT) }
    }
}

impl TraceStore {
    /// The unit vectors of documents' embeddings, which this model made; `None` for those that have none.
    pub(crate) async fn document_vectors(
        &self,
        (connection, info): (&Connection, &SchemaInfo),
        embedder: &Embedder,
        documents: &[Known],
    ) -> Result<Vec<Option<Vector>>> {
        let kept = self.is_own(embedder).then_some(&self.inner.compared.vectors);
        // As bytes, since the driver asks the server for types that are not built in.
        let sql = format!(
            "SELECT hash, {}_send(embedding) FROM {}.span_documents WHERE id = ANY($1) AND embedding IS NOT NULL",
            info.vector, self.inner.sql.schema
        );
        let vector = |row: &Row| Ok(unit(row.column(1)?));
        kept_or_read(connection, &sql, documents, kept, vector).await
    }

    /// What documents say; `None` for those that are gone.
    pub(crate) async fn document_texts(
        &self,
        connection: &Connection,
        documents: &[Known],
    ) -> Result<Vec<Option<Arc<DocumentText>>>> {
        let sql = format!(
            "SELECT hash, service, text, status_code = 2 OR strpos(body, '\"exception.') > 0 \
             FROM {}.span_documents WHERE id = ANY($1)",
            self.inner.sql.schema
        );
        let text = |row: &Row| {
            let text: String = row.column(2)?;
            let words = vocabulary(&text).collect();
            Ok(Arc::new(DocumentText { service: row.column(1)?, text, words, failed: row.column(3)? }))
        };
        kept_or_read(connection, &sql, documents, Some(&self.inner.compared.texts), text).await
    }

    /// The documents with these ids, without those that are gone.
    pub(crate) async fn known_documents(&self, connection: &Connection, ids: &[i32]) -> Result<Vec<Known>> {
        let sql = format!("SELECT id, hash FROM {}.span_documents WHERE id = ANY($1)", self.inner.sql.schema);
        let rows = connection.query_prepared(&sql, &[&ids]).await.map_err(reading())?;
        rows.iter().map(Known::of).collect()
    }

    /// Whether this is the model of the settings, of whose vectors some are kept.
    pub(super) fn is_own(&self, embedder: &Embedder) -> bool {
        let own = &self.inner.embedder;
        (embedder.model_name(), embedder.dimension()) == (own.model_name(), own.dimension())
    }
}

impl Known {
    /// A row that begins with an id and a hash.
    pub(crate) fn of(row: &Row) -> Result<Self> {
        Ok(Known { id: row.column(0)?, hash: row.column(1)? })
    }
}

/// Something of each document: what is kept, or what the statement reads for the others' ids, a hash first.
async fn kept_or_read<T: Clone + Send + Sync + 'static>(
    connection: &Connection,
    sql: &str,
    documents: &[Known],
    kept: Option<&Cache<Uuid, T>>,
    of_row: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<Option<T>>> {
    let mut found: Vec<Option<T>> =
        documents.iter().map(|document| kept.and_then(|kept| kept.get(&document.hash))).collect();
    let missing = documents.iter().zip(&found).filter(|(_, found)| found.is_none());
    let missing: Vec<i32> = missing.map(|(document, _)| document.id).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    let rows = connection.query_prepared(sql, &[&missing]).await.map_err(reading())?;
    let mut read: HashMap<Uuid, T> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let (hash, value) = (row.column(0)?, of_row(row)?);
        if let Some(kept) = kept {
            kept.insert(hash, value.clone());
        }
        read.insert(hash, value);
    }
    for (document, found) in documents.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        *found = read.get(&document.hash).cloned();
    }
    Ok(found)
}

/// The vector of length 1 in the direction of one that pgvector sent: two numbers of 16 bits, then a float a dimension.
fn unit(sent: &[u8]) -> Vector {
    let (floats, _) = sent.get(4..).unwrap_or_default().as_chunks();
    let numbers: Vec<f32> = floats.iter().map(|&bytes| f32::from_be_bytes(bytes)).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}

fn reading() -> impl FnOnce(tokio_postgres::Error) -> Error {
    Error::database("reading documents")
}

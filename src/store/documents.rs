//! What a search compares documents by: their embeddings and texts, which are kept in memory.
//!
//! The server stores an embedding out of line: reading and comparing one takes it 8 µs. One that is here is compared in a
//! tenth of one.

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

/// How many are kept, at some 2.5 kB each.
const KEPT: u64 = 10_000;

/// What a document is compared by.
pub(crate) struct ComparedDocument {
    /// The unit vector of its embedding.
    pub vector: Vector,
    pub service: String,
    pub text: String,
    /// The words of the text in lowercase, as often as they occur, with a space after each.
    words: String,
    /// Whether it is an error or has an exception.
    pub failed: bool,
}

impl ComparedDocument {
    pub(crate) fn new(vector: Vector, service: String, text: String, failed: bool) -> Self {
        let words = vocabulary(&text).flat_map(|word| [word, " ".into()]).collect();
        ComparedDocument { vector, service, text, words, failed }
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.split_terminator(' ')
    }
}

/// Those that are kept, by the hash of their content: a schema that was made anew begins with the same ids.
pub(super) type Kept = Cache<Uuid, Arc<ComparedDocument>>;

pub(super) fn kept() -> Kept {
    Cache::new(KEPT)
}

impl TraceStore {
    /// What these documents are compared by, their embeddings made by this model; `None` for those that have none.
    pub(crate) async fn compared(
        &self,
        (connection, info): (&Connection, &SchemaInfo),
        embedder: &Embedder,
        documents: &[Known],
    ) -> Result<Vec<Option<Arc<ComparedDocument>>>> {
        let kept = self.is_own(embedder).then_some(&self.inner.compared);
        let mut found: Vec<_> =
            documents.iter().map(|document| kept.and_then(|kept| kept.get(&document.hash))).collect();
        let missing = documents.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<i32> = missing.map(|(document, _)| document.id).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        // The embedding as bytes, since the driver asks the server for types that are not built in.
        let sql = format!(
            "SELECT hash, {}_send(embedding), service, text, status_code = 2 OR strpos(body, '\"exception.') > 0 \
             FROM {}.span_documents WHERE id = ANY($1) AND embedding IS NOT NULL",
            info.vector, self.inner.sql.schema
        );
        let rows = connection.query_prepared(&sql, &[&missing]).await.map_err(reading())?;
        let mut read: HashMap<Uuid, Arc<ComparedDocument>> = HashMap::with_capacity(rows.len());
        for row in &rows {
            let (hash, vector) = (row.column(0)?, unit(row.column(1)?));
            let document = ComparedDocument::new(vector, row.column(2)?, row.column(3)?, row.column(4)?);
            let document = Arc::new(document);
            if let Some(kept) = kept {
                kept.insert(hash, Arc::clone(&document));
            }
            read.insert(hash, document);
        }
        for (document, found) in documents.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = read.get(&document.hash).cloned();
        }
        Ok(found)
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

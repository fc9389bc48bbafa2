//! Which model made the embeddings, and whether it is the one of the settings.
//!
//! `span_documents` is locked, however weakly, by whoever asks, until the end of the transaction in which embeddings are
//! then read or written: a change of the model locks it exclusively, so it comes before or after, never between.

use std::fmt;
use std::path::Path;
use std::sync::PoisonError;

use serde::Serialize;
use tokio_postgres::Row;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use crate::embedding::Embedder;
use crate::error::{Error, Result};

/// A model, as the schema records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Model {
    /// What it is called: the setting `embedding_model`, or the last part of its path.
    pub name: String,
    /// How many numbers its embeddings have.
    pub dimension: i32,
    /// What it is: a hash of its files, its pooling and its limit of tokens. `None` where it was recorded before there were fingerprints.
    pub fingerprint: Option<String>,
}

impl Model {
    /// An embedder's model, which is loaded.
    pub(crate) fn of(embedder: &Embedder) -> Result<Self> {
        Ok(Model {
            name: embedder.model_name().to_owned(),
            // From 128 to 1024.
            dimension: embedder.dimension() as i32,
            fingerprint: Some(embedder.fingerprint()?),
        })
    }

    /// Whether two models' embeddings can be compared. The name counts where nothing better is known.
    pub(crate) fn is(&self, other: &Model) -> bool {
        let same = match (&self.fingerprint, &other.fingerprint) {
            (Some(one), Some(another)) => one == another,
            _ => self.name == other.name,
        };
        same && self.dimension == other.dimension
    }
}

impl fmt::Display for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\" ({} dimensions)", self.name, self.dimension)
    }
}

/// What the schema says about its embeddings.
pub(crate) struct Embeddings {
    /// How many numbers an embedding has.
    pub dimension: i32,
    /// The model that made them; none while there are none.
    pub made_by: Option<Model>,
    /// The model that [`reembed`](TraceStore::reembed) is changing to.
    pub next: Option<Model>,
}

impl Embeddings {
    /// Whether embeddings of this model may stand beside those that are there.
    pub(crate) fn fit(&self, model: &Model) -> bool {
        self.made_by.as_ref().map_or(self.dimension == model.dimension, |made_by| made_by.is(model))
    }

    /// Whether the schema is being changed to this model.
    pub(super) fn become_those_of(&self, model: &Model) -> bool {
        self.next.as_ref().is_some_and(|next| next.is(model))
    }
}

impl TraceStore {
    /// The model of the settings, loaded on a thread of its own.
    pub(super) async fn own_model(&self) -> Result<Model> {
        let embedder = self.inner.embedder.clone();
        tokio::task::spawn_blocking(move || Model::of(&embedder))
            .await
            .map_err(|error| Error::Model(format!("loading the model was interrupted: {error}")))?
    }

    /// The model that was before that of the settings: by its name, or beside the folder in the settings.
    pub(crate) fn previous(&self, model: &Model) -> Embedder {
        let mut previous = self.inner.previous.lock().unwrap_or_else(PoisonError::into_inner);
        let known = previous.as_ref().filter(|known| known.model_name() == model.name);
        if let Some(known) = known {
            return known.clone();
        }
        let mut settings = self.inner.settings.clone();
        let beside = Path::new(&settings.embedding_model).with_file_name(&model.name);
        let folder = beside.to_str().filter(|_| beside.is_dir());
        settings.embedding_model = folder.unwrap_or(&model.name).to_owned();
        settings.embedding_dimension = model.dimension.try_into().unwrap_or(settings.embedding_dimension);
        previous.insert(Embedder::new(&settings)).clone()
    }

    /// Frees the memory of a model that is no longer needed.
    pub(crate) fn forget_previous(&self) {
        *self.inner.previous.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the schema says about its embeddings.
    pub(crate) async fn embeddings(&self, connection: &Connection) -> Result<Embeddings> {
        let schema = &self.inner.sql.schema;
        let sql = format!(
            "SELECT atttypmod, made.name, made.dimension, made.fingerprint, next.name, next.dimension, next.fingerprint \
             FROM pg_attribute \
             LEFT JOIN {schema}.embedding_model made ON true \
             LEFT JOIN {schema}.embedding_next next ON true \
             WHERE attrelid = to_regclass($1) AND attname = 'embedding'"
        );
        let rows = connection
            .query_prepared(&sql, &[&format!("{schema}.span_documents")])
            .await
            .map_err(Error::database("reading which model made the embeddings"))?;
        let row = rows.first().ok_or_else(|| self.embeddings_gone())?;
        Ok(Embeddings { dimension: row.column(0)?, made_by: model(row, 1)?, next: model(row, 4)? })
    }

    /// Makes sure that embeddings of the settings' model may be stored or compared.
    ///
    /// # Errors
    /// [`Error::Model`] that says what to set or to run.
    pub(crate) fn check_model(&self, embeddings: &Embeddings, own: &Model) -> Result<()> {
        if embeddings.fit(own) {
            return Ok(());
        }
        let schema = &self.inner.settings.schema;
        let dimension = embeddings.dimension;
        Err(Error::Model(match &embeddings.made_by {
            _ if embeddings.become_those_of(own) => format!(
                "schema \"{schema}\" is being changed to {own}, and is not yet: otel-pgvector reembed is at it, or was \
                 interrupted and goes on when it is run again. Until then search needs the folder of the old model{} beside \
                 that of the new one",
                embeddings.made_by.as_ref().map(|old| format!(" \"{}\"", old.name)).unwrap_or_default()
            ),
            Some(made_by) if made_by.name == own.name && made_by.dimension == own.dimension => format!(
                "the embeddings in schema \"{schema}\" were made by another model that is called \"{}\", too: its files, its \
                 pooling or its limit of tokens are not those of the settings. Use the same files, or change the schema to \
                 these, while everything runs: otel-pgvector reembed",
                own.name
            ),
            Some(made_by) => format!(
                "the embeddings in schema \"{schema}\" were made by {made_by}, the settings embedding_model and \
                 embedding_dimension are {own}. Set embedding_model: {} and embedding_dimension: {dimension}, or change the \
                 schema to the other model, while everything runs: otel-pgvector reembed",
                made_by.name
            ),
            None => format!(
                "schema \"{schema}\" is made for embeddings of {dimension} dimensions, the setting embedding_dimension is {}. \
                 Set embedding_dimension: {dimension} and a model that has as many, or change the schema, while everything \
                 runs: otel-pgvector reembed",
                own.dimension
            ),
        }))
    }

    /// Makes sure that the settings' model is the schema's; where there is none yet, it is from now on.
    ///
    /// # Errors
    /// As [`check_model`](Self::check_model); another process may have been faster.
    pub(super) async fn record_model(&self, connection: &Connection, own: &Model) -> Result<()> {
        let embeddings = self.embeddings(connection).await?;
        self.check_model(&embeddings, own)?;
        if embeddings.made_by.is_some() {
            return Ok(());
        }
        // With VALUES, Citus asks for the right to change the table.
        let insert = format!(
            "INSERT INTO {}.embedding_model (name, dimension, fingerprint) SELECT $1::text, $2::integer, $3::text \
             ON CONFLICT (only_row) DO NOTHING",
            self.inner.sql.schema
        );
        connection
            .execute(&insert, &[&own.name, &own.dimension, &own.fingerprint])
            .await
            .map_err(Error::database("recording the model"))?;
        self.check_model(&self.embeddings(connection).await?, own)
    }
}

/// A model in three columns of a row, null where there is none.
fn model(row: &Row, at: usize) -> Result<Option<Model>> {
    let Some(name) = row.column(at)? else { return Ok(None) };
    Ok(Some(Model { name, dimension: row.column(at + 1)?, fingerprint: row.column(at + 2)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_fingerprint_and_without_one_by_its_name() {
        let model = |name: &str, fingerprint: Option<&str>| Model {
            name: name.into(),
            dimension: 384,
            fingerprint: fingerprint.map(Into::into),
        };
        assert!(model("a", Some("1")).is(&model("moved", Some("1"))));
        assert!(!model("a", Some("1")).is(&model("a", Some("2"))));
        assert!(model("a", None).is(&model("a", Some("2"))));
        assert!(!model("a", None).is(&model("b", Some("2"))));
        assert!(!model("a", None).is(&Model { dimension: 128, ..model("a", None) }));
    }
}

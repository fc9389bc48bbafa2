//! The query's vector, by the model that made the vectors it is compared to.

use std::sync::Arc;

use crate::embedding::Embedder;
use crate::error::{Error, Result};
use crate::store::{Connection, Model, SchemaInfo, TraceStore, Vector};

/// The model of the settings, the one before it, and the first again where the change came in between.
const ATTEMPTS: usize = 3;

/// A transaction in which the documents' embeddings are those of one model, and the query's vector by this model.
///
/// That is the model of the settings. While the schema is being changed to it, it is the old one, where its folder lies
/// beside that of the new one.
///
/// # Errors
/// [`Error::Model`] where the schema's model is another one; it says what to set or to run.
pub(super) async fn begin(store: &TraceStore, query: &str) -> Result<(Connection, Arc<SchemaInfo>, Vector)> {
    let doing = || Error::database("searching documents");
    // The lock keeps a change of the model out until the embeddings are read.
    let begin =
        format!("BEGIN READ ONLY; LOCK TABLE {}.span_documents IN ACCESS SHARE MODE", store.sql().schema);
    let (vector, own) = embed(store.embedder(), query).await?;
    let (mut vector, mut model) = (vector, own.clone());
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let (connection, info) = store.connection().await?;
        connection.batch_execute(&begin).await.map_err(doing())?;
        let embeddings = store.embeddings(&connection).await?;
        if embeddings.fit(&model) {
            if model == own {
                store.forget_previous();
            }
            return Ok((connection, info, vector));
        }
        connection.batch_execute("ROLLBACK").await.map_err(doing())?;
        connection.give_back();
        let error = store.check_model(&embeddings, &own).err();
        let embedder = match embeddings.made_by {
            _ if embeddings.fit(&own) => store.embedder().clone(),
            Some(previous) if embeddings.next.is_some_and(|next| next.is(&own)) => store.previous(&previous),
            _ => return Err(error.or(refused).unwrap_or_else(|| Error::Model("the model changes".into()))),
        };
        refused = error.or(refused);
        // Where the old model is not at hand, the first error tells what is to be done.
        match embed(&embedder, query).await {
            Ok(embedded) => (vector, model) = embedded,
            Err(error) => return Err(refused.unwrap_or(error)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::Model("the model changes".into())))
}

async fn embed(embedder: &Embedder, query: &str) -> Result<(Vector, Model)> {
    let (embedder, query) = (embedder.clone(), query.to_owned());
    let embed = move || {
        let vectors = embedder.embed(&[&query])?;
        let vector = Vector::new(vectors.first().map(|vector| &vector[..]).unwrap_or_default());
        Ok((vector, Model::of(&embedder)?))
    };
    tokio::task::spawn_blocking(embed)
        .await
        .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))?
}

//! The query's vector, by the model that made the vectors it is compared to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future;

use super::by_time::newest_of_several_traces;
use super::candidates::with_words;
use super::compared::{Passing, Reach, passing, settings, spans};
use super::query::SearchQuery;
use super::recent::newest_root;
use super::spans::FoundSpan;
use super::traces::last_document;
use crate::embedding::{Embedder, InContext};
use crate::error::{Error, Result};
use crate::store::{Connection, Embeddings, Known, Model, SchemaInfo, TraceStore};

/// The model of the settings, the one before it, and the first again where the change came in between.
const ATTEMPTS: usize = 3;

/// A query's text, embedded by the model of the schema, in a transaction in which the documents' embeddings are its.
pub(super) struct Begun {
    pub connection: Connection,
    pub schema: Arc<SchemaInfo>,
    pub embedded: Arc<InContext>,
    /// Embeds words as the query was.
    pub embedder: Embedder,
    /// The documents that pass the query's conditions.
    pub passing: Passing,
    /// Those of them with words of the query.
    pub with_words: Vec<Known>,
    /// The spans whose documents these are, the newest first, where spans are looked for first.
    pub by_spans: Option<Vec<FoundSpan>>,
    /// When the newest trace in the query's period started.
    pub newest_root: Option<SystemTime>,
    /// The last document that there is.
    pub last: i32,
}

/// What can be found out while the query is embedded.
struct Opened {
    connection: Connection,
    schema: Arc<SchemaInfo>,
    embeddings: Embeddings,
    passing: Passing,
    with_words: Vec<Known>,
    by_spans: Option<Vec<FoundSpan>>,
    newest_root: Option<SystemTime>,
    last: i32,
}

/// Begins a transaction in which the documents' embeddings are those of one model, and embeds the query by this model.
///
/// That is the model of the settings. While the schema is being changed to it, it is the old one, where its folder lies
/// beside that of the new one. The database is asked for what does not depend on the vector meanwhile.
///
/// # Errors
/// [`Error::Model`] where the schema's model is another one; it says what to set or to run.
pub(super) async fn begin(store: &TraceStore, query: &SearchQuery, reach: Reach) -> Result<Begun> {
    let mut embedder = store.embedder().clone();
    let (embedding, opening) = future::join(embed(&embedder, &query.text), open(store, query, reach)).await;
    let (mut embedded, own) = embedding?;
    let mut opened = Some(opening?);
    let mut model = own.clone();
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let Opened { connection, schema, embeddings, passing, with_words, by_spans, newest_root, last } =
            match opened.take() {
                Some(opened) => opened,
                None => open(store, query, reach).await?,
            };
        if embeddings.fit(&model) {
            if model == own {
                store.forget_previous();
            }
            return Ok(Begun {
                connection,
                schema,
                embedded,
                embedder,
                passing,
                with_words,
                by_spans,
                newest_root,
                last,
            });
        }
        connection.batch_execute("ROLLBACK").await.map_err(Error::database("searching documents"))?;
        connection.give_back();
        let error = store.check_model(&embeddings, &own).err();
        embedder = match embeddings.made_by {
            _ if embeddings.fit(&own) => store.embedder().clone(),
            Some(previous) if embeddings.next.is_some_and(|next| next.is(&own)) => store.previous(&previous),
            _ => return Err(error.or(refused).unwrap_or_else(|| Error::Model("the model changes".into()))),
        };
        refused = error.or(refused);
        // Where the old model is not at hand, the first error tells what is to be done.
        match embed(&embedder, &query.text).await {
            Ok(by_previous) => (embedded, model) = by_previous,
            Err(error) => return Err(refused.unwrap_or(error)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::Model("the model changes".into())))
}

/// Begins the transaction of a search.
async fn open(store: &TraceStore, query: &SearchQuery, reach: Reach) -> Result<Opened> {
    let (connection, schema) = store.connection().await?;
    // The lock keeps a change of the model out until the embeddings are read.
    let begin = format!(
        "BEGIN READ ONLY; LOCK TABLE {}.span_documents IN ACCESS SHARE MODE; {}",
        store.sql().schema,
        settings(&schema, query, reach)
    );
    connection.batch_execute(&begin).await.map_err(Error::database("searching documents"))?;
    let documents = async {
        let last = last_document(store, &connection).await?;
        let filter = query.bounded_filter();
        let (passing, by_spans) = match reach {
            Reach::Spans => {
                let to = last.min(query.page.document);
                let wanted = (spans(&filter), query.wanted_first());
                let spans =
                    newest_of_several_traces(store, &connection, &schema, &filter, to, wanted).await?;
                let documents: HashSet<i32> = spans.iter().map(|span| span.document).collect();
                let documents: Vec<i32> = documents.into_iter().collect();
                (Passing::These(store.known_documents(&connection, &documents).await?), Some(spans))
            }
            Reach::Documents => (passing(store, &connection, &schema, query, last).await?, None),
        };
        let with_words = with_words(store, &connection, &passing, query, last).await?;
        Ok((last, passing, with_words, by_spans))
    };
    let ((last, passing, with_words, by_spans), embeddings, newest_root) = future::try_join3(
        documents,
        store.embeddings(&connection),
        newest_root(store, &connection, &query.bounded_filter()),
    )
    .await?;
    Ok(Opened { connection, schema, embeddings, passing, with_words, by_spans, newest_root, last })
}

async fn embed(embedder: &Embedder, query: &str) -> Result<(Arc<InContext>, Model)> {
    let (embedder, query) = (embedder.clone(), query.to_owned());
    let embed = move || Ok((embedder.embed_in_context(&query)?, Model::of(&embedder)?));
    tokio::task::spawn_blocking(embed)
        .await
        .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))?
}

//! Spans in PostgreSQL: what the exporter writes through, and the search reads through.

mod activity;
mod backfill;
mod batch_id;
mod begun;
mod citus;
mod columns;
mod connect;
mod connection;
mod copy;
mod dependencies;
mod documents;
mod embeddings_gone;
mod health;
mod maintain;
mod model;
mod partition;
mod password;
mod prune;
mod psql;
mod read;
mod reembed;
mod refusal;
mod renamed;
mod resolve;
mod roles;
mod schema;
mod scrub;
mod sizes;
mod sql;
mod tls;
mod trace_ids;
mod upkeep;
mod vector;
mod vocabulary;
mod write;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

pub use activity::Activity;
pub use health::Health;
pub use maintain::Maintained;
pub(crate) use model::Embeddings;
pub use model::Model;
pub use reembed::{ReembedProgress, Reembedded};
pub use roles::roles_sql;
pub use schema::SCHEMA_VERSION;
pub use sizes::Sizes;
pub(crate) use write::Batch;
pub use write::Stored;

use crate::embedding::Embedder;
use crate::error::Result;
use crate::settings::Settings;
use crate::span::{Resource, Scrubber, Splitter, Template};
#[cfg(feature = "serve")]
pub(crate) use batch_id::received_batch_id;
pub(crate) use batch_id::{is_own_batch, new_batch_id};
pub(crate) use columns::Columns;
pub(crate) use connection::Connection;
pub(crate) use copy::POSTGRES_EPOCH_US;
pub(crate) use documents::ComparedDocument;
pub(crate) use read::Microseconds;
pub(crate) use schema::SchemaInfo;
use sql::Sql;
pub(crate) use trace_ids::{TraceIds, of_traces};
pub(crate) use vector::Vector;

/// Traces in PostgreSQL with pgvector.
///
/// The exporter stands on it; it is usable alone, inside a tokio runtime. Cloning is cheap and shares everything.
///
/// ```no_run
/// # async fn example(spans: Vec<opentelemetry_pgvector::span::Span<'_>>) -> opentelemetry_pgvector::Result<()> {
/// use opentelemetry_pgvector::{Settings, TraceStore};
///
/// let mut settings = Settings::default();
/// settings.connection_string = "postgresql://app@db/otel_traces".into();
/// let store = TraceStore::new(settings)?;
/// store.batch_store(&spans).await?;
/// store.flush().await?;
/// for trace in store.search_traces("payment declined").await? {
///     println!("{} {:.2} {}", trace.trace_id, trace.score, trace.root_name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TraceStore {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    pool: connection::Pool,
    sql: Sql,
    scrubber: Scrubber,
    splitter: Mutex<Splitter>,
    /// Ids of documents known to be stored, by the splitter's key.
    documents: Cache<u128, Known>,
    /// Ids of resources known to be stored, by the hash of their content.
    resources: Cache<[u8; 16], i32>,
    /// Whether the last batch had nothing that was new.
    all_known: AtomicBool,
    /// Documents' bodies by id, for reading.
    templates: Cache<i32, Arc<Template>>,
    /// Resources by id, for reading.
    resource_bodies: Cache<i32, Arc<Resource>>,
    embedder: Embedder,
    /// Unit vectors of words of documents, for searching.
    words: Cache<String, crate::embedding::Vector>,
    /// Documents that were searched.
    compared: documents::Kept,
    /// Whether there may be documents whose words were not looked at, and the last one of those that were.
    words_wait: AtomicBool,
    words_seen: AtomicI32,
    /// Held while words are looked at, so that who waits for them does.
    looking: tokio::sync::Mutex<()>,
    /// The model before that of the settings, while the schema is being changed.
    previous: Mutex<Option<Embedder>>,
    schema: Mutex<Option<Arc<SchemaInfo>>>,
    /// Held while the schema is made or checked.
    preparing: tokio::sync::Mutex<()>,
    backfill: Arc<backfill::Backfill>,
    partitions: partition::KnownDays,
    upkeep: upkeep::Upkeep,
    nuls_replaced: AtomicU64,
    counters: activity::Counters,
    scrubbed: scrub::Counters,
}

/// A document or a resource that is stored, and the hash of its content.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub id: i32,
    hash: Uuid,
}

/// Documents and resources whose ids are kept, at some 300 B each: all of a fleet of a thousand services, which a gateway or an
/// import brings. A service alone has some hundreds, and takes no more room for the others.
const KNOWN: u64 = 128 * 1024;
/// Words whose vectors are kept, at 1.6 kB each.
const WORDS: u64 = 8 * 1024;
/// How long a process relies on a document without looking whether it is still there. Unused documents are kept for
/// days, so a row never refers to a document that is gone.
const KNOWN_FOR: Duration = Duration::from_secs(6 * 3600);

impl TraceStore {
    /// A store with these settings. It connects at its first use, so the database may start later.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) where a setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self> {
        settings.validate()?;
        Ok(TraceStore {
            inner: Arc::new(Inner {
                pool: connection::pool(&settings)?,
                sql: Sql::new(&settings),
                scrubber: Scrubber::new(&settings)?,
                splitter: Mutex::default(),
                documents: Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build(),
                resources: Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build(),
                all_known: AtomicBool::new(false),
                templates: Cache::new(settings.cache_size),
                resource_bodies: Cache::new(settings.cache_size),
                embedder: Embedder::new(&settings),
                words: Cache::new(WORDS),
                compared: documents::kept(),
                words_wait: AtomicBool::new(true),
                words_seen: AtomicI32::new(0),
                looking: tokio::sync::Mutex::default(),
                previous: Mutex::default(),
                schema: Mutex::default(),
                preparing: tokio::sync::Mutex::default(),
                backfill: Arc::default(),
                partitions: partition::KnownDays::default(),
                upkeep: upkeep::Upkeep::default(),
                nuls_replaced: AtomicU64::new(0),
                counters: activity::Counters::default(),
                scrubbed: scrub::Counters::default(),
                settings,
            }),
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn embedder(&self) -> &Embedder {
        &self.inner.embedder
    }

    pub(crate) fn sql(&self) -> &Sql {
        &self.inner.sql
    }

    /// Forgets which documents, resources, partitions and schema are there, and the connections that prepared statements for them:
    /// after a failure the server may be another one.
    pub(crate) fn forget(&self) {
        self.inner.documents.invalidate_all();
        self.inner.resources.invalidate_all();
        self.inner.all_known.store(false, Ordering::Relaxed);
        self.inner.templates.invalidate_all();
        self.inner.resource_bodies.invalidate_all();
        self.inner.partitions.forget();
        *self.known_schema() = None;
        self.inner.words_seen.store(0, Ordering::Release);
        self.inner.words_wait.store(true, Ordering::Release);
        self.inner.pool.retain(|_, _| false);
    }

    fn known_schema(&self) -> MutexGuard<'_, Option<Arc<SchemaInfo>>> {
        self.inner.schema.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TraceStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TraceStore").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

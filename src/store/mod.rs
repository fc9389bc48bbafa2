//! Spans in PostgreSQL: what the exporter writes through, and the search reads through.

mod activity;
mod backfill;
mod connect;
mod connection;
mod copy;
mod health;
mod partition;
mod password;
mod prune;
mod read;
mod refusal;
mod roles;
mod schema;
mod scrub;
mod sql;
mod tls;
mod vector;
mod write;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

pub use activity::Activity;
pub use health::Health;
pub use roles::roles_sql;
pub use schema::SCHEMA_VERSION;
pub(crate) use write::Batch;
pub use write::Stored;
pub(crate) use write::new_batch_id;

use crate::embedding::Embedder;
use crate::error::Result;
use crate::settings::Settings;
use crate::span::{Resource, Scrubber, Splitter, Template};
pub(crate) use backfill::other_model;
pub(crate) use connection::Connection;
pub(crate) use copy::POSTGRES_EPOCH_US;
pub(crate) use read::Microseconds;
use schema::SchemaInfo;
use sql::Sql;
#[cfg(feature = "import")]
pub(crate) use sql::literal;
pub(crate) use vector::Vector;

/// Traces in PostgreSQL with pgvector.
///
/// The exporter stands on it; it is usable alone, inside a tokio runtime. Cloning is cheap and shares everything.
///
/// ```no_run
/// # async fn example(spans: Vec<opentelemetry_pgvector::span::Span<'_>>) -> opentelemetry_pgvector::Result<()> {
/// use opentelemetry_pgvector::{Settings, TraceStore, search::SearchOptions};
///
/// let mut settings = Settings::default();
/// settings.connection_string = "postgresql://app@db/otel_traces".into();
/// let store = TraceStore::new(settings)?;
/// store.batch_store(&spans).await?;
/// store.flush().await?;
/// for trace in store.search_traces("payment declined", &SearchOptions::default()).await? {
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
    documents: Cache<u128, i32>,
    /// Ids of resources known to be stored, by the hash of their content.
    resources: Cache<[u8; 16], i32>,
    /// Documents' bodies by id, for reading.
    templates: Cache<i32, Arc<Template>>,
    /// Resources by id, for reading.
    resource_bodies: Cache<i32, Arc<Resource>>,
    embedder: Embedder,
    schema: Mutex<Option<Arc<SchemaInfo>>>,
    /// Held while the schema is made or checked.
    preparing: tokio::sync::Mutex<()>,
    backfill: Arc<backfill::Backfill>,
    pruning: prune::Pruning,
    nuls_replaced: AtomicU64,
    counters: activity::Counters,
    scrubbed: scrub::Counters,
}

/// Documents and resources whose ids are kept. At 100 B each, this is a few megabytes.
const KNOWN: u64 = 32 * 1024;
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
                templates: Cache::new(settings.cache_size),
                resource_bodies: Cache::new(settings.cache_size),
                embedder: Embedder::new(&settings),
                schema: Mutex::default(),
                preparing: tokio::sync::Mutex::default(),
                backfill: Arc::default(),
                pruning: prune::Pruning::default(),
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

    /// Forgets which documents, resources and schema are there, and the connections that prepared statements for them:
    /// after a failure the server may be another one.
    pub(crate) fn forget(&self) {
        self.inner.documents.invalidate_all();
        self.inner.resources.invalidate_all();
        *self.known_schema() = None;
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

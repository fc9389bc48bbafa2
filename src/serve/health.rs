//! How the store is, looked at by whoever asks, but not more often than every few seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex;

use crate::exporter::{ExporterHandle, ExporterStatus};
use crate::store::{Health, TraceStore};

/// How old an answer may be. A look counts spans, and probes come often.
const FRESH: Duration = Duration::from_secs(5);
/// How long a look may take: who asks wants to know whether the database answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at the store and, in a server that receives, at its exporter.
#[derive(Clone)]
pub(super) struct Watch {
    store: TraceStore,
    exporter: Option<ExporterHandle>,
    /// Held while somebody looks: the others wait for what is found.
    last: Arc<Mutex<Option<(Instant, Look)>>>,
    /// Whether spans could not be stored when it was last looked at.
    was_away: Arc<AtomicBool>,
}

/// What was found.
#[derive(Clone)]
pub(super) struct Look {
    pub at: SystemTime,
    pub store: Health,
    /// Why what is received is not stored, where the store is there.
    pub receiving: Option<String>,
    pub exporter: Option<ExporterStatus>,
}

impl Watch {
    pub(super) fn new(store: TraceStore, exporter: Option<ExporterHandle>) -> Self {
        Watch { store, exporter, last: Arc::default(), was_away: Arc::default() }
    }

    /// Never fails: what is wrong is part of the answer.
    pub(super) async fn look(&self) -> Look {
        let look = match tokio::time::timeout(PATIENCE, self.fresh()).await {
            Ok(look) => look,
            Err(_) => {
                self.was_away.store(true, Ordering::Relaxed);
                let error = format!("the database has not answered for {} s", PATIENCE.as_secs());
                let store = Health { error: Some(error), ..Health::default() };
                Look { at: SystemTime::now(), store, receiving: None, exporter: None }
            }
        };
        let refusing = || self.exporter.as_ref().filter(|_| look.store.healthy)?.refusing();
        let receiving = look.receiving.or_else(refusing);
        Look { receiving, exporter: self.exporter.as_ref().map(ExporterHandle::status), ..look }
    }

    async fn fresh(&self) -> Look {
        let mut last = self.last.lock().await;
        if let Some((when, look)) = &*last
            && when.elapsed() < FRESH
        {
            return look.clone();
        }
        let (store, receiving) = self.look_at_store().await;
        let is_away = !store.healthy || receiving.is_some();
        if self.was_away.swap(is_away, Ordering::Relaxed)
            && !is_away
            && let Some(exporter) = &self.exporter
        {
            exporter.try_at_once();
        }
        let look = Look { at: SystemTime::now(), store, receiving, exporter: None };
        *last = Some((Instant::now(), look.clone()));
        look
    }

    /// The writer's login and server may be others than those that look. A standby will do where spans can be stored
    /// elsewhere, and for a server that only looks.
    async fn look_at_store(&self) -> (Health, Option<String>) {
        let mut store = self.store.health_check().await;
        if !store.healthy && !store.only_read_only() {
            return (store, None);
        }
        let receiving = match &self.exporter {
            None => None,
            Some(exporter) => exporter.check_writing().await.err().map(|error| error.to_string()),
        };
        if receiving.is_none() {
            (store.healthy, store.error) = (true, None);
        }
        (store, receiving)
    }

    /// Where the store is, without credentials.
    pub(super) fn target(&self) -> String {
        self.store.settings().target()
    }

    /// The schema's name.
    pub(super) fn schema(&self) -> &str {
        &self.store.settings().schema
    }
}

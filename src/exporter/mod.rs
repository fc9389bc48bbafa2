//! The span exporter: what a service installs into its tracer provider.

mod breaker;
mod builder;
mod delivery;
mod processor;
mod runtime;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{Context, otel_debug, otel_warn};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanData;
use uuid::Uuid;

pub use builder::SpanExporterBuilder;
pub use processor::{PgvectorSpanProcessor, tracer_provider};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::span::{Resource, Scopes, Span, resource_from_sdk, span_from_sdk};
use crate::store::{Batch, TraceStore};
use delivery::Delivery;
use runtime::OwnedRuntime;

/// Exports spans to PostgreSQL with pgvector.
///
/// It owns its runtime of two threads, so it works under every processor of the SDK, inside and outside of tokio. It
/// needs no database to be built: spans wait in the processor until there is one.
///
/// ```no_run
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// # fn main() -> opentelemetry_pgvector::Result<()> {
/// let exporter = opentelemetry_pgvector::SpanExporter::builder()
///     .with_connection_string("postgresql://app@db/otel_traces")
///     .build()?;
/// let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
/// # Ok(())
/// # }
/// ```
pub struct SpanExporter {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
}

/// A batch on its way, kept until it is stored: after a failure it is split again.
struct Export {
    id: Uuid,
    spans: Vec<SpanData>,
    resource: Arc<Resource>,
}

impl Export {
    fn split(&self, store: &TraceStore) -> Result<Batch> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let mut scopes = Scopes::default();
        let mut spans: Vec<Span<'_>> =
            self.spans.iter().map(|data| span_from_sdk(data, &self.resource, &mut scopes)).collect();
        store.scrub(&mut spans);
        store.split(self.id, &spans)
    }
}

/// How long a shutdown waits for the model to end what it is computing, which takes a tenth of it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What the exporter shares with its processor.
struct Shared {
    /// `None` when the setting `enabled` is off.
    delivery: Option<Arc<Delivery>>,
    runtime: OwnedRuntime,
    is_shut_down: AtomicBool,
    flush_timeout: Duration,
}

impl SpanExporter {
    /// Begins an exporter: with the defaults, then what the environment (`OTEL_STORAGE_*`) sets, then the builder's calls.
    pub fn builder() -> SpanExporterBuilder {
        SpanExporterBuilder::default()
    }

    /// An exporter with the settings of the environment (`OTEL_STORAGE_*`).
    ///
    /// # Errors
    /// As [`SpanExporterBuilder::build`].
    pub fn from_env() -> Result<Self> {
        Self::builder().build()
    }

    /// An exporter with these settings.
    ///
    /// # Errors
    /// [`Error::Setting`] where a setting is out of its range; [`Error::Io`] where the system refuses threads.
    pub fn from_settings(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let runtime = OwnedRuntime::new()?;
        let flush_timeout = Duration::from_secs(settings.flush_timeout_seconds);
        let delivery = match settings.enabled {
            true => Some(Arc::new(Delivery::new(TraceStore::new(settings)?))),
            false => None,
        };
        Ok(SpanExporter {
            shared: Arc::new(Shared {
                delivery,
                runtime,
                is_shut_down: AtomicBool::new(false),
                flush_timeout,
            }),
            resource: Arc::default(),
        })
    }

    /// The store that the exporter writes to; `None` when the setting `enabled` is off.
    pub fn store(&self) -> Option<&TraceStore> {
        self.shared.delivery.as_ref().map(|delivery| delivery.store())
    }
}

impl fmt::Debug for SpanExporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SpanExporter").field("store", &self.store()).finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for SpanExporter {
    /// Stores a batch; `Ok` when it is committed.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.shared.is_shut_down.load(Ordering::Acquire) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let Some(delivery) = &self.shared.delivery else { return Ok(()) };
        let spans = batch.len();
        let export = Export { id: Uuid::new_v4(), spans: batch, resource: Arc::clone(&self.resource) };
        let split = export.split(delivery.store()).map_err(|error| failed(&error))?;
        let delivery = Arc::clone(delivery);
        let (done, wait) = tokio::sync::oneshot::channel();
        self.shared.runtime.spawn(async move {
            // Nobody listens any more when the processor gave up. The spans are freed after the answer, on this thread.
            let _ = done.send(delivery.deliver(split, &export).await);
            drop(export);
        })?;
        // The runtime ends while a batch is on its way only when the exporter is dropped.
        let result = wait.await.unwrap_or(Err(Error::Shutdown));
        match result {
            Ok(stored) => {
                otel_debug!(name: "SpanExporter.Exported", spans = stored.spans as u64, new = stored.new);
                Ok(())
            }
            Err(error) => {
                otel_warn!(name: "SpanExporter.ExportFailed", spans = spans as u64, reason = error.to_string());
                Err(failed(&error))
            }
        }
    }

    /// Ends the exporter: documents that wait are embedded within `timeout`; later exports are refused.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if self.shared.is_shut_down.swap(true, Ordering::AcqRel) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        if let Err(error) = self.shared.flush(timeout) {
            // The spans are stored: whoever comes next embeds what is left.
            otel_debug!(name: "SpanExporter.ShutdownBeforeEmbedding", reason = error.to_string());
        }
        self.shared.close();
        self.shared.runtime.shut_down();
        Ok(())
    }

    /// Returns when everything exported before is stored and embedded, or after `flush_timeout_seconds`.
    fn force_flush(&self) -> OTelSdkResult {
        self.shared.flush(self.shared.flush_timeout)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.resource = Arc::new(resource_from_sdk(resource));
    }
}

impl Shared {
    /// Waits, on whatever thread, for the store's flush.
    fn flush(&self, timeout: Duration) -> OTelSdkResult {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        let store = delivery.store().clone();
        match self.wait_for(timeout, async move { store.flush_if_used().await })? {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(OTelSdkError::Timeout(timeout)),
        }
    }

    /// Ends the embedding, so that the model does not run while the process exits.
    fn close(&self) {
        if let Some(delivery) = &self.delivery {
            let store = delivery.store().clone();
            // A time-out leaves the model running, as dropping the exporter without a shutdown does.
            let _ = self.wait_for(CLOSE_TIMEOUT, async move { store.close().await });
        }
    }

    /// Runs a task on the exporter's runtime and waits for it on whatever thread; `None` after the time.
    fn wait_for<T: Send + 'static>(
        &self,
        timeout: Duration,
        task: impl Future<Output = T> + Send + 'static,
    ) -> std::result::Result<Option<T>, OTelSdkError> {
        let (done, wait) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            // Nobody listens any more once the time is over.
            let _ = done.send(task.await);
        })?;
        Ok(wait.recv_timeout(timeout).ok())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.store().stop_backfill();
        }
    }
}

fn failed(error: &Error) -> OTelSdkError {
    match error {
        Error::Shutdown => OTelSdkError::AlreadyShutdown,
        Error::Timeout { seconds, .. } => OTelSdkError::Timeout(Duration::from_secs_f64(*seconds)),
        other => OTelSdkError::InternalFailure(other.to_string()),
    }
}

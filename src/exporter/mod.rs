//! The span exporter: what a service installs into its tracer provider.

mod breaker;
mod builder;
mod counts;
mod courier;
mod delivery;
mod handle;
mod held;
mod metrics;
mod outage;
pub(crate) mod parcel;
mod processor;
mod queue;
mod resting;
mod runtime;
mod shared;
mod source;
pub(crate) mod spool;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::metrics::Meter;
use opentelemetry::otel_debug;
#[cfg(feature = "serve")]
use opentelemetry_proto::tonic::trace::v1::TracesData;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;

pub use breaker::BreakerState;
pub use builder::SpanExporterBuilder;
pub use handle::{ExporterHandle, ExporterHealth, ExporterStatus};
pub use processor::{PgvectorSpanProcessor, tracer_provider};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use spool::fuzz_spool_file;
pub use spool::{Dropped, SpoolUsage};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::span::{Resource, resource_from_sdk};
use crate::store::TraceStore;
use counts::Uncounted;
use delivery::{Delivered, Delivery, UnderWay};
use metrics::Metrics;
use runtime::OwnedRuntime;
use shared::{Shared, failed};
use source::Source;

/// Exports spans to PostgreSQL with pgvector.
///
/// It owns its runtime of two threads, so it works under every processor of the SDK, inside and outside of tokio. It
/// needs no database to be built: batches wait in memory, or in the spool, until there is one.
///
/// A process that forks builds it afterwards: threads are not inherited, so a child's exports are refused at once, as after a
/// shutdown.
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
        SpanExporter::new(settings, None)
    }

    fn new(settings: Settings, meter: Option<Meter>) -> Result<Self> {
        settings.validate()?;
        let runtime = OwnedRuntime::new()?;
        let flush_timeout = Duration::from_secs(settings.flush_timeout_seconds);
        let delivery = match settings.enabled {
            true => {
                let store = TraceStore::new(settings)?;
                store.count_calls();
                Some(Arc::new(Delivery::new(store)?))
            }
            false => None,
        };
        if let Some(delivery) = &delivery {
            // The runtime is new, so it takes the task; it ends it when it ends.
            let _ = runtime.spawn(courier::run(Arc::clone(delivery)));
        }
        Ok(SpanExporter {
            shared: Arc::new(Shared {
                delivery,
                runtime,
                is_shut_down: AtomicBool::new(false),
                meter,
                metrics: OnceLock::new(),
                last: Arc::default(),
                end: OnceLock::new(),
                loss: OnceLock::new(),
                flush_timeout,
            }),
            resource: Arc::default(),
        })
    }

    /// The store that the exporter writes to; `None` when the setting `enabled` is off.
    pub fn store(&self) -> Option<&TraceStore> {
        self.shared.delivery.as_ref().map(|delivery| delivery.store())
    }

    /// Stores spans that a server received, or spools them; `id` is the same when they are sent again, and all of them
    /// can be read.
    ///
    /// # Errors
    /// [`Error::Rejected`] where some of them can never be stored; otherwise they are to be sent again.
    #[cfg(feature = "serve")]
    pub(crate) async fn export_received(
        &self,
        id: uuid::Uuid,
        traces: TracesData,
        spans: usize,
    ) -> Result<()> {
        let Some(delivery) = &self.shared.delivery else { return Ok(()) };
        self.deliver(delivery, Source::Received { id, traces, spans }).await.map(|_| ())
    }

    /// Delivers a batch on the exporter's own threads.
    async fn deliver(&self, delivery: &Arc<Delivery>, source: Source) -> Result<Delivered> {
        let uncounted = Uncounted::new(&delivery.counts, source.len() as u64);
        let _under_way = UnderWay::new(delivery);
        if self.shared.is_shut_down.load(Ordering::Acquire) {
            return Err(Error::Shutdown);
        }
        let begin = Instant::now();
        let (done, wait) = tokio::sync::oneshot::channel();
        let delivering = Arc::clone(delivery);
        let spawned = self.shared.runtime.spawn(async move {
            // Nobody listens any more when the processor gave up. The spans are freed after the answer, on this thread.
            let _ = done.send(delivering.deliver(&source, uncounted).await);
            drop(source);
        });
        if spawned.is_err() {
            return Err(Error::Shutdown);
        }
        // A processor may block a tokio worker on this future: then tokio's budget would never be renewed, and the
        // answer never heard.
        let result = tokio::task::unconstrained(wait).await.unwrap_or_else(|_| {
            // The runtime ends while a batch is on its way only when the exporter is shut down or dropped.
            Err(Error::Shutdown)
        });
        self.metrics().exported(begin.elapsed(), result.as_ref().err().map(Error::kind));
        result
    }

    fn metrics(&self) -> &Metrics {
        self.shared.metrics.get_or_init(|| {
            let meter = self.shared.meter.clone().unwrap_or_else(metrics::global_meter);
            Metrics::new(&meter, &Arc::downgrade(&self.shared))
        })
    }

    /// What tells how the exporter is once a processor has taken it.
    pub fn handle(&self) -> ExporterHandle {
        ExporterHandle::new(&self.shared)
    }
}

impl fmt::Debug for SpanExporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SpanExporter").field("store", &self.store()).finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for SpanExporter {
    /// Stores a batch; `Ok` when it is committed or durably spooled.
    ///
    /// An error says what became of it otherwise: [`Error::Held`] that it waits in memory, [`Error::Dropped`] and
    /// [`Error::Rejected`] that spans are lost. Whatever happens, it returns within `export_timeout_seconds`.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(delivery) = &self.shared.delivery else { return Ok(()) };
        let spans = batch.len() as u64;
        let result = self.deliver(delivery, Source::new(batch, Arc::clone(&self.resource))).await;
        match result {
            Ok(delivered) => {
                otel_debug!(name: "SpanExporter.Exported", spans = spans, spooled = delivered == Delivered::Spooled);
                Ok(())
            }
            Err(error) => {
                otel_debug!(name: "SpanExporter.ExportFailed", spans = spans, reason = error.to_string());
                Err(failed(&error))
            }
        }
    }

    /// Ends the exporter within `timeout`, at most a day: what waits in memory is stored, or else spooled, documents that
    /// wait are embedded for up to half of it, and later exports are refused. An error says how many spans are lost.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.shared.shut_down(timeout)
    }

    /// Returns when everything exported before is stored and embedded, or after `flush_timeout_seconds`. An error says how
    /// many spans are left where their batches fail while others are stored.
    fn force_flush(&self) -> OTelSdkResult {
        self.shared.flush(self.shared.flush_timeout)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.resource = Arc::new(resource_from_sdk(resource));
    }
}

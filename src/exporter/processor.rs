//! Installing everything into a tracer provider with one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor, TracerProviderBuilder,
};

use super::{ExporterHandle, Shared, SpanExporter};
use crate::error::Result;
use crate::settings::Settings;

/// The SDK's `BatchSpanProcessor` with this crate's exporter, whose flush also waits for the embeddings.
///
/// The SDK's own processor does not hand `force_flush` on to its exporter.
pub struct PgvectorSpanProcessor {
    batches: BatchSpanProcessor,
    shared: Arc<Shared>,
}

/// A tracer provider's builder with the exporter installed, in batches of `batch_size` every `batch_interval_seconds`.
///
/// ```no_run
/// # fn main() -> opentelemetry_pgvector::Result<()> {
/// use opentelemetry_pgvector::{Settings, tracer_provider};
///
/// let provider = tracer_provider(Settings::from_env()?)?.build();
/// opentelemetry::global::set_tracer_provider(provider);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`SpanExporter::from_settings`].
pub fn tracer_provider(settings: Settings) -> Result<TracerProviderBuilder> {
    Ok(SdkTracerProvider::builder().with_span_processor(SpanExporter::processor(settings)?))
}

impl SpanExporter {
    /// An exporter within a batch processor, both with these settings.
    ///
    /// # Errors
    /// As [`SpanExporter::from_settings`].
    pub fn processor(settings: Settings) -> Result<PgvectorSpanProcessor> {
        let config = settings.batch_config();
        let exporter = SpanExporter::from_settings(settings)?;
        let shared = Arc::clone(&exporter.shared);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Ok(PgvectorSpanProcessor { batches, shared })
    }
}

impl PgvectorSpanProcessor {
    /// What tells how the exporter is once a tracer provider has taken the processor.
    pub fn handle(&self) -> ExporterHandle {
        ExporterHandle::new(&self.shared)
    }
}

impl std::fmt::Debug for PgvectorSpanProcessor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PgvectorSpanProcessor")
            .field("batches", &self.batches)
            .finish_non_exhaustive()
    }
}

impl SpanProcessor for PgvectorSpanProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.batches.on_end(span);
    }

    /// Returns when every span that has ended is stored and embedded, or after `flush_timeout_seconds`.
    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()?;
        self.shared.flush(self.shared.flush_timeout)
    }

    /// Exports what is left, within `timeout`; an error says how many spans are lost.
    ///
    /// The SDK's own processor gives its exporter five seconds of its own, and does not tell what it says.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        // Exports that are under way see the end, so that there is time left to spool what they could not store.
        let begin = Instant::now();
        self.shared.end_exports(begin + timeout / 2);
        self.shared.shut_down_by(begin + timeout);
        self.batches.shutdown_with_timeout(timeout)?;
        self.shared.outcome()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

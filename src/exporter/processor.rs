//! Installing everything into a tracer provider with one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor, TracerProviderBuilder,
};

use super::shared::LONGEST_SHUTDOWN;
use super::{ExporterHandle, Shared, SpanExporter};
use crate::error::Result;
use crate::settings::Settings;

/// The SDK's `BatchSpanProcessor` with this crate's exporter, whose flush also waits for the embeddings.
///
/// The SDK's own processor does not hand `force_flush` on to its exporter.
pub struct PgvectorSpanProcessor {
    /// Shared with a flush that waits for it.
    batches: Arc<BatchSpanProcessor>,
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
        Ok(PgvectorSpanProcessor { batches: Arc::new(batches), shared })
    }
}

/// Before a flush exports again.
const PAUSE: Duration = Duration::from_millis(50);

impl PgvectorSpanProcessor {
    /// What tells how the exporter is once a tracer provider has taken the processor.
    pub fn handle(&self) -> ExporterHandle {
        ExporterHandle::new(&self.shared)
    }

    /// Has the SDK's processor export what it holds. Its own flush gives up after five seconds, not sooner and not later:
    /// it is waited for from here, and asked again while there is time.
    fn export_by(&self, end: Instant) -> OTelSdkResult {
        let batches = Arc::clone(&self.batches);
        let (done, wait) = std::sync::mpsc::channel();
        let export = move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            let mut exported = batches.force_flush();
            while matches!(exported, Err(OTelSdkError::Timeout(_))) && left(end) > Duration::ZERO {
                exported = batches.force_flush();
            }
            // Nobody listens any more once the time is over.
            let _ = done.send(exported);
        };
        std::thread::Builder::new()
            .name("otel-pgvector-flush".into())
            .spawn(export)
            .map_err(|error| OTelSdkError::InternalFailure(format!("starting a thread to flush: {error}")))?;
        let limit = left(end);
        wait.recv_timeout(limit).unwrap_or(Err(OTelSdkError::Timeout(limit)))
    }

    /// How many spans are lost for good.
    fn lost(&self) -> u64 {
        let status = self.shared.status();
        status.rejected + status.dropped
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

    /// Returns when every span that has ended is stored and embedded, or after `flush_timeout_seconds`. An error says how many
    /// spans are left where their batches fail while others are stored, or what became of those that an export lost.
    fn force_flush(&self) -> OTelSdkResult {
        let limit = self.shared.flush_timeout;
        let end = Instant::now() + limit;
        let lost = self.lost();
        loop {
            let exported = self.export_by(end);
            let stored = self.shared.flush(left(end));
            let is_lost = self.lost() > lost;
            match (exported, stored) {
                // An export's failure says more than that the time is over.
                (Err(error @ OTelSdkError::InternalFailure(_)), Err(OTelSdkError::Timeout(_))) => {
                    return Err(error);
                }
                (_, Err(OTelSdkError::Timeout(_))) => return Err(OTelSdkError::Timeout(limit)),
                // What an export could not store in time has been stored since.
                (Err(OTelSdkError::InternalFailure(_)), Err(error)) if !is_lost => return Err(error),
                (Err(OTelSdkError::InternalFailure(_)), Ok(())) if !is_lost && left(end) > PAUSE => {
                    std::thread::sleep(PAUSE);
                }
                (exported, stored) => return exported.and(stored),
            }
        }
    }

    /// Exports what is left, within `timeout`, at most a day; an error says how many spans are lost.
    ///
    /// The SDK's own processor gives its exporter five seconds of its own, and does not tell what it says.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let timeout = timeout.min(LONGEST_SHUTDOWN);
        // Exports that are under way see the end, so that there is time left to spool what they could not store.
        let begin = Instant::now();
        self.shared.end_exports(begin + timeout / 2);
        self.shared.shut_down_by(begin + timeout);
        self.batches.shutdown_with_timeout(timeout)?;
        self.shared.outcome()
    }

    fn set_resource(&mut self, resource: &Resource) {
        // A provider sets it while it is built, when nobody flushes yet.
        if let Some(batches) = Arc::get_mut(&mut self.batches) {
            batches.set_resource(resource);
        }
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::SpanExporter as _;

    use super::*;

    #[test]
    fn a_shutdown_may_be_given_any_time() {
        let settings = || Settings {
            connection_string: "host=127.0.0.1 port=1 user=nobody dbname=nowhere".into(),
            ..Settings::default()
        };
        let exporter = SpanExporter::from_settings(settings()).expect("built");
        assert!(exporter.shutdown_with_timeout(Duration::MAX).is_ok());
        let processor = SpanExporter::processor(settings()).expect("built");
        assert!(processor.shutdown_with_timeout(Duration::MAX).is_ok());
    }
}

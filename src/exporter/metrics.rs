//! The exporter's own metrics, through the OpenTelemetry metrics API.
//!
//! Source: OpenTelemetry semantic conventions, "SDK metrics" (`otel.sdk.exporter.*`); what they do not know of is named
//! `otel_storage.*`.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};

use super::breaker::BreakerState;
use super::{ExporterStatus, Shared};

/// Bounds of the histogram of exports, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What is recorded when it happens; everything else is read from the exporter when metrics are collected.
pub(super) struct Metrics {
    duration: Histogram<f64>,
    component: [KeyValue; 2],
}

/// The meter of a provider, under this crate's name and version.
pub(super) fn meter(provider: &dyn MeterProvider) -> Meter {
    provider.meter_with_scope(scope())
}

/// The meter of the global provider, as it is at this moment.
pub(super) fn global_meter() -> Meter {
    opentelemetry::global::meter_with_scope(scope())
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

impl Metrics {
    pub(super) fn new(meter: &Meter, exporter: &Weak<Shared>) -> Self {
        static EXPORTERS: AtomicU64 = AtomicU64::new(0);
        let number = EXPORTERS.fetch_add(1, Ordering::Relaxed);
        let component = [
            KeyValue::new("otel.component.type", "opentelemetry_pgvector::SpanExporter"),
            KeyValue::new("otel.component.name", format!("opentelemetry_pgvector::SpanExporter/{number}")),
        ];
        let observer = Observer { meter, exporter, component: &component };
        observer.observe_spans();
        observer.observe_delivery();
        observer.observe_store();
        let duration = meter
            .f64_histogram("otel.sdk.exporter.operation.duration")
            .with_unit("s")
            .with_description("The duration of exporting a batch of spans.")
            .with_boundaries(SECONDS.into())
            .build();
        Metrics { duration, component }
    }

    /// An export has returned; `failure` names the kind of error.
    pub(super) fn exported(&self, duration: Duration, failure: Option<&'static str>) {
        let [kind, name] = self.component.clone();
        match failure {
            None => self.duration.record(duration.as_secs_f64(), &[kind, name]),
            Some(failure) => self
                .duration
                .record(duration.as_secs_f64(), &[kind, name, KeyValue::new("error.type", failure)]),
        }
    }
}

/// Registers what is read when metrics are collected. It does not keep the exporter alive.
struct Observer<'a> {
    meter: &'a Meter,
    exporter: &'a Weak<Shared>,
    component: &'a [KeyValue; 2],
}

/// A value of the exporter's status, and the attributes that it has beside the component's.
type Reading = (fn(&ExporterStatus) -> u64, Option<(&'static str, &'static str)>);

impl Observer<'_> {
    fn observe_spans(&self) {
        self.counter(
            "otel.sdk.exporter.span.exported",
            "{span}",
            "The number of spans for which the export has finished, either successful or failed.",
            &[
                (|status| status.stored + status.spooled, None),
                (|status| status.rejected, Some(("error.type", "rejected"))),
                (|status| status.dropped, Some(("error.type", "dropped"))),
            ],
        );
        self.gauge(
            "otel.sdk.exporter.span.inflight",
            "{span}",
            "The number of spans which were passed to the exporter, but that have not been exported yet.",
            ExporterStatus::in_flight,
        );
    }

    fn observe_delivery(&self) {
        self.counter(
            "otel_storage.spool.spans",
            "{span}",
            "Spans that were written to the spool, spans that were stored from it, and spans that are lost in it.",
            &[
                (|status| status.spooled, Some(("otel_storage.direction", "in"))),
                (|status| status.replayed, Some(("otel_storage.direction", "out"))),
                (|status| status.revoked, Some(("otel_storage.direction", "lost"))),
            ],
        );
        self.counter(
            "otel_storage.breaker.opened",
            "{opening}",
            "How often the circuit breaker has opened.",
            &[(|status| status.breaker_opened, None)],
        );
        self.gauge(
            "otel_storage.breaker.state",
            "{state}",
            "The circuit breaker: 0 closed, 1 half-open, 2 open.",
            |status| match status.breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            },
        );
        self.gauge("otel_storage.queue.usage", "By", "Bytes that wait in memory.", |status| {
            status.queue_bytes
        });
        self.gauge("otel_storage.spool.usage", "By", "Bytes that wait in the spool.", |status| {
            status.spool.bytes
        });
    }

    fn observe_store(&self) {
        self.counter(
            "otel_storage.documents",
            "{document}",
            "Documents of batches: those that this process knew, and those that it looked up or stored.",
            &[
                (|status| status.store.documents_known, Some(("otel_storage.document", "known"))),
                (|status| status.store.documents_new, Some(("otel_storage.document", "new"))),
            ],
        );
        self.counter(
            "otel_storage.embeddings",
            "{embedding}",
            "Embeddings that were computed, and those that were found in the cache.",
            &[
                (|status| status.store.embeddings_computed, Some(("otel_storage.embedding", "computed"))),
                (|status| status.store.embeddings_cached, Some(("otel_storage.embedding", "cached"))),
            ],
        );
        self.gauge(
            "otel_storage.embeddings.waiting",
            "{document}",
            "Documents that wait for their embedding, as last seen.",
            |status| status.store.embeddings_waiting,
        );
    }

    fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        readings: &'static [Reading],
    ) {
        let (exporter, component) = (self.exporter.clone(), self.component.clone());
        let counter = self.meter.u64_observable_counter(name).with_unit(unit).with_description(description);
        counter
            .with_callback(move |observer| {
                let Some(status) = exporter.upgrade().map(|exporter| exporter.status()) else { return };
                for (read, attribute) in readings {
                    let mut attributes = component.to_vec();
                    attributes.extend(attribute.map(|(key, value)| KeyValue::new(key, value)));
                    observer.observe(read(&status), &attributes);
                }
            })
            .build();
    }

    fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: fn(&ExporterStatus) -> u64,
    ) {
        let (exporter, component) = (self.exporter.clone(), self.component.clone());
        self.meter
            .i64_observable_up_down_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                let Some(status) = exporter.upgrade().map(|exporter| exporter.status()) else { return };
                observer.observe(i64::try_from(read(&status)).unwrap_or(i64::MAX), &component);
            })
            .build();
    }
}

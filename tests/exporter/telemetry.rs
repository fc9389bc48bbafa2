//! What the exporter says of itself: metrics and log events.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::support::database::{TestDatabase, eventually};
use crate::support::spans::batch;
use opentelemetry::KeyValue;
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SpanExporter as _;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The last value of a metric with such an attribute, or without any of its own; a histogram's is its count.
fn value(
    exporter: &InMemoryMetricExporter,
    name: &str,
    attribute: Option<(&'static str, &'static str)>,
) -> Option<u64> {
    let wanted = attribute.map(|(key, value)| KeyValue::new(key, value));
    let fits = |attributes: &mut dyn Iterator<Item = &KeyValue>| {
        let own: Vec<&KeyValue> =
            attributes.filter(|pair| !pair.key.as_str().starts_with("otel.component.")).collect();
        own == wanted.iter().collect::<Vec<_>>()
    };
    let metrics = exporter.get_finished_metrics().expect("metrics");
    let scopes =
        metrics.last()?.scope_metrics().find(|scope| scope.scope().name() == "opentelemetry-pgvector")?;
    let metric = scopes.metrics().find(|metric| metric.name() == name)?;
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            sum.data_points().find(|point| fits(&mut point.attributes())).map(|point| point.value())
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) => sum
            .data_points()
            .find(|point| fits(&mut point.attributes()))
            .map(|point| u64::try_from(point.value()).expect("not negative")),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            histogram.data_points().find(|point| fits(&mut point.attributes())).map(|point| point.count())
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_the_semantic_conventions_and_the_state_of_delivery() {
    let database = TestDatabase::create().await;
    let collected = InMemoryMetricExporter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(collected.clone()).build()).build();
    let mut builder = SpanExporter::builder().with_meter_provider(&provider);
    for (key, value) in [("connection_string", database.url()), ("hand_over_seconds", "30".into())] {
        builder = builder.with_setting(key, value);
    }
    let exporter = builder.build().expect("built");
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    exporter.export(batch(10..20)).await.expect("stored");
    provider.force_flush().expect("collected");
    let value = |name, attribute| self::value(&collected, name, attribute);
    assert_eq!(value("otel.sdk.exporter.span.exported", None), Some(20));
    assert_eq!(value("otel.sdk.exporter.span.inflight", None), Some(0));
    assert_eq!(value("otel.sdk.exporter.operation.duration", None), Some(2));
    assert_eq!(value("otel_storage.breaker.state", None), Some(0));
    assert_eq!(value("otel_storage.documents", Some(("otel_storage.document", "new"))), Some(1));
    assert_eq!(value("otel_storage.documents", Some(("otel_storage.document", "known"))), Some(1));

    database.take_away().await;
    for first in (20..70).step_by(10) {
        exporter.export(batch(first..first + 10)).await.expect_err("waits in memory");
    }
    provider.force_flush().expect("collected");
    assert_eq!(value("otel.sdk.exporter.span.inflight", None), Some(50));
    assert_eq!(value("otel.sdk.exporter.operation.duration", Some(("error.type", "held"))), Some(5));
    assert_eq!(value("otel_storage.breaker.opened", None), Some(1));
    assert_ne!(value("otel_storage.breaker.state", None), Some(0));
    assert_eq!(value("otel_storage.queue.usage", None), Some(handle.status().queue_bytes));

    let health = handle.health_check().await.expect("not shut down");
    assert!(!health.store.healthy && health.exporter.waiting == 50, "{health:?}");

    database.bring_back().await;
    eventually("what waits is stored", async || handle.status().stored == 70).await;
    provider.force_flush().expect("collected");
    assert_eq!(value("otel.sdk.exporter.span.exported", None), Some(70));
    assert_eq!(value("otel_storage.breaker.state", None), Some(0));
}

/// An exporter with these settings, and where its metrics are collected.
fn measured(settings: &[(&str, String)]) -> (SpanExporter, SdkMeterProvider, InMemoryMetricExporter) {
    let collected = InMemoryMetricExporter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(collected.clone()).build()).build();
    let mut builder =
        SpanExporter::builder().with_meter_provider(&provider).with_setting("hand_over_seconds", 30);
    for (key, value) in settings {
        builder = builder.with_setting(key, value.as_str());
    }
    (builder.build().expect("built"), provider, collected)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_waits_in_the_spool_and_what_was_replayed() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (exporter, provider, collected) = measured(&[
        ("connection_string", database.url()),
        ("spool_dir", folder.path().display().to_string()),
    ]);
    let handle = exporter.handle();
    let value = |name, attribute| {
        provider.force_flush().expect("collected");
        self::value(&collected, name, attribute)
    };
    let [into, out] = ["in", "out"].map(|way| Some(("otel_storage.direction", way)));
    exporter.export(batch(0..10)).await.expect("stored");
    assert_eq!(value("otel_storage.spool.usage", None), Some(0));

    database.take_away().await;
    for first in [10, 20] {
        exporter.export(batch(first..first + 10)).await.expect("spooled");
    }
    let bytes = handle.status().spool.bytes;
    assert!(bytes > 1000, "{bytes} bytes of 20 spans");
    assert_eq!(value("otel_storage.spool.usage", None), Some(bytes));
    assert_eq!(value("otel_storage.spool.spans", into), Some(20));
    assert_eq!(value("otel_storage.spool.spans", out), Some(0));
    assert_eq!(value("otel.sdk.exporter.span.exported", None), Some(30));

    database.bring_back().await;
    eventually("the spool is replayed", async || handle.status().spool.batches == 0).await;
    assert_eq!(value("otel_storage.spool.usage", None), Some(0));
    assert_eq!(value("otel_storage.spool.spans", out), Some(20));
    assert_eq!(value("otel.sdk.exporter.span.exported", None), Some(30), "replayed, not exported again");
    assert_eq!(database.sequences().await, (0..30).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_is_rejected_and_what_is_dropped() {
    let database = TestDatabase::create().await;
    let (exporter, provider, collected) =
        measured(&[("connection_string", database.url()), ("queue_mebibytes", "1".into())]);
    let handle = exporter.handle();
    let value = |name, attribute| {
        provider.force_flush().expect("collected");
        self::value(&collected, name, attribute)
    };
    let [rejected, dropped] = ["rejected", "dropped"].map(|kind| Some(("error.type", kind)));
    exporter.export(batch(0..10)).await.expect("stored");
    let refuse =
        "ALTER TABLE otel.span_rows ADD CHECK (split_part(fillers, E'\\x1f', 1) NOT IN ('12', '17'))";
    database.execute(refuse).await;
    exporter.export(batch(10..20)).await.expect_err("two are refused");
    assert_eq!(value("otel.sdk.exporter.span.exported", None), Some(18));
    assert_eq!(value("otel.sdk.exporter.span.exported", rejected), Some(2));
    assert_eq!(value("otel.sdk.exporter.span.exported", dropped), Some(0));
    assert_eq!(value("otel.sdk.exporter.operation.duration", rejected), Some(1));

    database.take_away().await;
    let mut made = 20;
    while handle.status().dropped == 0 {
        assert!(made < 100_000, "a mebibyte is full");
        exporter.export(batch(made..made + 500)).await.expect_err("the database is away");
        made += 500;
    }
    let status = handle.status();
    assert_eq!(value("otel.sdk.exporter.span.exported", dropped), Some(status.dropped));
    assert_eq!(value("otel.sdk.exporter.operation.duration", dropped), Some(1));
    assert_eq!(value("otel.sdk.exporter.span.inflight", None), Some(made as u64 - 20 - status.dropped));
    assert_eq!(value("otel_storage.queue.usage", None), Some(status.queue_bytes));
}

/// Events of this crate, as `name` or, at the log's usual levels, `LEVEL name fields`.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Recorded {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "opentelemetry-pgvector"
            || *event.metadata().level() > tracing::Level::INFO
        {
            return;
        }
        let mut text = format!("{} {}", event.metadata().level(), event.metadata().name());
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            let _ = write!(text, " {field}={value:?}");
        });
        self.0.lock().expect("no panic").push(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_logged_once_and_so_is_its_end() {
    let database = TestDatabase::create().await;
    let recorded = Recorded::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(recorded.clone()))
        .expect("the only subscriber of this process");
    let mut settings = database.settings();
    // The other test of this file has outages of its own.
    settings.connection_string = format!("{} application_name=logged", settings.connection_string);
    let exporter = SpanExporter::from_settings(settings).expect("built");
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    database.take_away().await;
    for _ in 0..50 {
        exporter.export(batch(0..10)).await.expect_err("waits in memory");
    }
    database.bring_back().await;
    eventually("what waits is stored", async || handle.status().waiting == 0).await;
    let log = recorded.0.lock().expect("no panic").clone();
    let of_this_database = |name: &str| {
        log.iter().filter(|event| event.contains(name) && event.contains(database.name())).count()
    };
    assert_eq!(of_this_database("SpanExporter.OutageBegan"), 1, "{log:#?}");
    assert!(log.iter().any(|event| event.contains("INFO SpanExporter.OutageEnded")), "{log:#?}");
    assert!(of_this_database("") < 5, "50 failed batches: {log:#?}");
}

//! An exporter that sends spans by OTLP, and counts those that the receiver acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// The official exporter, OTLP/HTTP with protobuf. It does not send again what was refused.
#[derive(Debug)]
pub struct Sender {
    exporter: opentelemetry_otlp::SpanExporter,
    acknowledged: Arc<AtomicU64>,
}

impl Sender {
    /// Sends to a URL such as `http://127.0.0.1:4318/v1/traces`.
    pub fn new(url: &str) -> Result<Self, ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build()?;
        Ok(Sender { exporter, acknowledged: Arc::default() })
    }

    /// How many spans were acknowledged so far.
    pub fn acknowledged(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.acknowledged)
    }
}

impl SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        if result.is_ok() {
            self.acknowledged.fetch_add(spans, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

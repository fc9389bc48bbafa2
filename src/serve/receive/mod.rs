//! Receiving OTLP: through the exporter's own delivery, so that success means committed or spooled.
//!
//! A batch is known by what is in it. Sent again within 15 minutes, as senders do that heard no answer, it has the id that it
//! had, and the ledger stores it once. Where its spans have just ended, it has that id in every process.

pub(super) mod answer;
pub(super) mod grpc;
pub(super) mod http;
mod stall;
mod weigh;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use moka::sync::Cache;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use opentelemetry_sdk::trace::SpanExporter as _;
use prost::Message;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use self::answer::Refusal;
use super::Limits;
use crate::error::{Error, Result};
use crate::exporter::{ExporterHandle, SpanExporter};
use crate::settings::Settings;
use crate::store::{new_batch_id, received_batch_id};

/// How long, and how many, batches are known by their content. At 100 B each, they take a few megabytes.
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);
const KNOWN: u64 = 64 * 1024;

/// How many times its limit a request may weigh when it is decoded. Spans with nothing but ids, a name and times weigh 15
/// times their bytes.
const MOST_WEIGHT: usize = 16;
/// The unit in which room is taken.
const KIB: usize = 1024;

/// Takes spans from senders.
pub(super) struct Receiver {
    exporter: SpanExporter,
    known: Cache<[u8; 32], Uuid>,
    slots: Arc<Semaphore>,
    /// What requests may weigh together, in KiB.
    room: Semaphore,
    limits: Limits,
}

/// What was received but for the spans that can never be stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub rejected: usize,
    /// Why the first of them was rejected.
    pub reason: String,
}

impl Receiver {
    /// # Errors
    /// As [`SpanExporter::from_settings`]; [`Error::Input`] where the setting `enabled` is off: what is acknowledged is kept.
    pub(super) fn new(settings: Settings, limits: Limits) -> Result<Self> {
        if !settings.enabled {
            return Err(Error::Input {
                origin: "receiving".into(),
                reason: "the setting `enabled` is off, so nothing would be stored".into(),
            });
        }
        Ok(Receiver {
            exporter: SpanExporter::from_settings(settings)?,
            known: Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build(),
            slots: Arc::new(Semaphore::new(limits.receiving)),
            room: Semaphore::new(room(limits)),
            limits,
        })
    }

    /// What tells what became of all that was received.
    pub(super) fn handle(&self) -> ExporterHandle {
        self.exporter.handle()
    }

    /// Room for a request of that weight, until it is dropped.
    fn room(&self, weight: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let most = self.limits.request_bytes.saturating_mul(MOST_WEIGHT);
        if weight > most {
            return Err(Refusal::too_heavy(most));
        }
        let units = u32::try_from(weight.div_ceil(KIB)).map_err(|_| Refusal::too_heavy(most))?;
        self.room.try_acquire_many(units).map_err(|_| Refusal::busy())
    }

    /// Stores or spools an `ExportTraceServiceRequest`.
    async fn receive_protobuf(&self, bytes: Bytes) -> Result<Received, Refusal> {
        let _room = self.room(weigh::protobuf(&bytes))?;
        let message = ExportTraceServiceRequest::decode(bytes).map_err(Refusal::malformed)?;
        self.receive(message.resource_spans).await.map_err(|error| Refusal::unavailable(&error))
    }

    /// Stores or spools spans.
    ///
    /// # Errors
    /// Whatever it is, they are to be sent again.
    async fn receive(&self, mut resource_spans: Vec<ResourceSpans>) -> Result<Received> {
        let mut received = Received::default();
        let mut spans = 0;
        for scope in resource_spans.iter_mut().flat_map(|message| &mut message.scope_spans) {
            scope.spans.retain(|span| match unreadable(span) {
                Some(reason) => {
                    if received.rejected == 0 {
                        received.reason = reason;
                    }
                    received.rejected += 1;
                    false
                }
                None => {
                    spans += 1;
                    true
                }
            });
        }
        if spans == 0 {
            return Ok(received);
        }
        let content = hash(&resource_spans);
        let id = self.known.get_with(content, || {
            received_batch_id(&content, ended(&resource_spans)).unwrap_or_else(new_batch_id)
        });
        let traces = TracesData { resource_spans };
        match self.exporter.export_received(id, traces, spans).await {
            Ok(()) => Ok(received),
            Err(Error::Rejected { spans, reason, .. }) => {
                received.rejected += spans;
                received.reason = reason;
                Ok(received)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores or spools what waits; later requests are refused.
    ///
    /// # Errors
    /// [`Error::Io`] where spans are lost.
    pub(super) async fn shut_down(self: Arc<Self>, timeout: Duration) -> Result<()> {
        let end = move || self.exporter.shutdown_with_timeout(timeout);
        let failed = |source| Error::Io { doing: "ending what was received".into(), source };
        tokio::task::spawn_blocking(end)
            .await
            .map_err(|error| failed(error.into()))?
            .map_err(|error| failed(std::io::Error::other(error)))
    }
}

/// By all that is in them: spans with the ids and times of others may have other attributes, or another service.
fn hash(resource_spans: &[ResourceSpans]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for message in resource_spans {
        bytes.clear();
        // Memory takes all there is to write.
        let _ = message.encode_length_delimited(&mut bytes);
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}

/// When the last of the spans ended.
fn ended(resource_spans: &[ResourceSpans]) -> SystemTime {
    let scopes = resource_spans.iter().flat_map(|message| &message.scope_spans);
    let times = scopes.flat_map(|scope| &scope.spans).map(|span| span.end_time_unix_nano);
    UNIX_EPOCH + Duration::from_nanos(times.max().unwrap_or_default())
}

/// As much as requests may have bytes together, and enough for the heaviest by itself.
fn room(limits: Limits) -> usize {
    let requests = limits.receiving.max(MOST_WEIGHT);
    limits.request_bytes.saturating_mul(requests).div_ceil(KIB).min(Semaphore::MAX_PERMITS)
}

/// Why a span cannot be one.
fn unreadable(span: &opentelemetry_proto::tonic::trace::v1::Span) -> Option<String> {
    let is_wrong = |id: &[u8], length: usize| !id.is_empty() && id.len() != length;
    let wrong = |field: &str, id: &[u8], length: usize| {
        is_wrong(id, length).then(|| format!("{field} has {} bytes instead of {length}", id.len()))
    };
    wrong("traceId", &span.trace_id, 16)
        .or_else(|| wrong("spanId", &span.span_id, 8))
        .or_else(|| wrong("parentSpanId", &span.parent_span_id, 8))
        .or_else(|| {
            span.links.iter().find_map(|link| {
                wrong("traceId of a link", &link.trace_id, 16)
                    .or_else(|| wrong("spanId of a link", &link.span_id, 8))
            })
        })
}

//! A batch on its way, kept until it is stored: after a failure it is split again.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceId};
#[cfg(feature = "serve")]
use opentelemetry_proto::tonic::trace::v1::TracesData;
use opentelemetry_sdk::trace::SpanData;
use uuid::Uuid;

use super::parcel::Parcel;
use crate::error::{Error, Result};
#[cfg(feature = "serve")]
use crate::span::spans_from_otlp;
use crate::span::{Resource, Scopes, Span, span_from_sdk};
use crate::store::{Batch, TraceStore, new_batch_id};

/// The spans of a batch, as the SDK handed them over or as they waited.
pub(super) enum Source {
    Sdk {
        id: Uuid,
        spans: Vec<SpanData>,
        resource: Arc<Resource>,
    },
    Parcel(Parcel),
    /// As a server received them. Their number is known: all can be read.
    #[cfg(feature = "serve")]
    Received {
        id: Uuid,
        traces: TracesData,
        spans: usize,
    },
}

impl Source {
    /// A batch with an id of its own. It is version 7: its time lets the ledger be pruned, and keeps its index dense.
    pub(super) fn new(spans: Vec<SpanData>, resource: Arc<Resource>) -> Self {
        Source::Sdk { id: new_batch_id(), spans, resource }
    }

    pub(super) fn id(&self) -> Uuid {
        match self {
            Source::Sdk { id, .. } => *id,
            Source::Parcel(parcel) => parcel.id,
            #[cfg(feature = "serve")]
            Source::Received { id, .. } => *id,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Source::Sdk { spans, .. } => spans.len(),
            Source::Parcel(parcel) => parcel.spans as usize,
            #[cfg(feature = "serve")]
            Source::Received { spans, .. } => *spans,
        }
    }

    /// Whether somebody else still has the batch, and sends it again where it is refused.
    pub(super) fn is_kept_by_its_sender(&self) -> bool {
        match self {
            Source::Sdk { .. } | Source::Parcel(_) => false,
            #[cfg(feature = "serve")]
            Source::Received { .. } => true,
        }
    }

    /// How long a batch has waited, by its id; `None` when it comes from the SDK.
    pub(super) fn age(&self) -> Option<Duration> {
        let Source::Parcel(parcel) = self else { return None };
        let (seconds, nanoseconds) = parcel.id.get_timestamp()?.to_unix();
        Some((SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)).elapsed().unwrap_or_default())
    }

    /// The ids of the spans of a batch that has waited.
    pub(super) fn span_ids(&self) -> Result<Vec<(TraceId, SpanId)>> {
        let Source::Parcel(parcel) = self else { return Ok(Vec::new()) };
        let traces = parcel.traces()?;
        Ok(traces.spans()?.iter().map(|span| (span.trace_id, span.span_id)).collect())
    }

    /// Some spans of a batch that has waited, as the batch `id`.
    pub(super) fn only(&self, id: Uuid, at: &[usize]) -> Result<Source> {
        let Source::Parcel(parcel) = self else {
            return Err(Error::Corrupt(format!("batch {id} has not waited")));
        };
        let traces = parcel.traces()?;
        let spans = traces.spans()?;
        let spans: Vec<Span<'_>> = at.iter().filter_map(|&at| spans.get(at).cloned()).collect();
        Ok(Source::Parcel(Parcel::new(id, &spans)))
    }

    /// Splits some of the spans.
    pub(super) fn split(&self, store: &TraceStore, range: Range<usize>) -> Result<Batch> {
        self.with(store, range, |spans| store.split(spans))?
    }

    /// Some of the spans, in the form in which they wait.
    pub(super) fn parcel(&self, store: &TraceStore, id: Uuid, range: Range<usize>) -> Result<Parcel> {
        match self {
            Source::Parcel(parcel) if range.len() == self.len() => Ok(parcel.clone()),
            _ => self.with(store, range, |spans| Parcel::new(id, spans)),
        }
    }

    fn with<T>(
        &self,
        store: &TraceStore,
        range: Range<usize>,
        act: impl FnOnce(&[Span<'_>]) -> T,
    ) -> Result<T> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        match self {
            Source::Sdk { spans, resource, .. } => {
                let mut scopes = Scopes::default();
                let mut spans: Vec<Span<'_>> = spans
                    .get(range)
                    .unwrap_or_default()
                    .iter()
                    .map(|data| span_from_sdk(data, resource, &mut scopes))
                    .collect();
                // What is packed has been scrubbed; it is not done twice.
                store.scrub(&mut spans);
                Ok(act(&spans))
            }
            Source::Parcel(parcel) => {
                let traces = parcel.traces()?;
                Ok(act(traces.spans()?.get(range).unwrap_or_default()))
            }
            #[cfg(feature = "serve")]
            Source::Received { traces, .. } => {
                let all = traces.resource_spans.iter().flat_map(spans_from_otlp);
                let mut all = all.collect::<Result<Vec<_>, _>>().map_err(Error::Corrupt)?;
                let spans = all.get_mut(range).unwrap_or_default();
                store.scrub(spans);
                Ok(act(spans))
            }
        }
    }
}

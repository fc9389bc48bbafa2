//! A batch in the form in which it waits, in memory or on disk.

use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::span::{Span, spans_from_otlp, spans_to_otlp};

/// A batch as OTLP. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parcel {
    /// The batch's id in the ledger.
    pub(crate) id: Uuid,
    /// How many spans it holds.
    pub(crate) spans: u32,
    /// A `TracesData` message as protobuf.
    pub(crate) otlp: Bytes,
}

impl Parcel {
    /// Packs spans. Times that OTLP cannot hold (before 1970, after 2554) are limited to what it can.
    pub(crate) fn new(id: Uuid, spans: &[Span<'_>]) -> Parcel {
        Parcel {
            id,
            spans: u32::try_from(spans.len()).unwrap_or(u32::MAX),
            otlp: spans_to_otlp(spans).encode_to_vec().into(),
        }
    }

    /// Unpacks the message, from which [`Traces::spans`] borrows.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is no `TracesData`, or values are nested deeper than protobuf allows.
    pub(crate) fn traces(&self) -> Result<Traces> {
        TracesData::decode(self.otlp.clone())
            .map(Traces)
            .map_err(|error| Error::Corrupt(format!("batch {} as OTLP: {error}", self.id)))
    }

    /// The size of the message in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.otlp.len()
    }
}

/// An unpacked parcel.
pub(crate) struct Traces(TracesData);

impl Traces {
    /// The spans: those of a resource and scope are together, in the order of their first span.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where an id has the wrong length.
    pub(crate) fn spans(&self) -> Result<Vec<Span<'_>>> {
        let spans = self.0.resource_spans.iter().flat_map(spans_from_otlp).collect::<Result<_, _>>();
        spans.map_err(Error::Corrupt)
    }
}

//! What must not be stored is taken out of spans first.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::otel_debug;

use super::{Batch, TraceStore};
use crate::error::Result;
use crate::span::{Scrubbed, Span};

/// What was taken out since the store was made.
#[derive(Default)]
pub(super) struct Counters {
    attributes_redacted: AtomicU64,
    attributes_dropped: AtomicU64,
    attributes_truncated: AtomicU64,
    events_dropped: AtomicU64,
    links_dropped: AtomicU64,
}

impl Counters {
    fn add(&self, scrubbed: &Scrubbed) {
        for (counter, count) in [
            (&self.attributes_redacted, scrubbed.attributes_redacted),
            (&self.attributes_dropped, scrubbed.attributes_dropped),
            (&self.attributes_truncated, scrubbed.attributes_truncated),
            (&self.events_dropped, scrubbed.events_dropped),
            (&self.links_dropped, scrubbed.links_dropped),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn total(&self) -> Scrubbed {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Scrubbed {
            attributes_redacted: of(&self.attributes_redacted),
            attributes_dropped: of(&self.attributes_dropped),
            attributes_truncated: of(&self.attributes_truncated),
            events_dropped: of(&self.events_dropped),
            links_dropped: of(&self.links_dropped),
        }
    }
}

impl TraceStore {
    /// Redacts spans and keeps them within the limits, by the store's settings.
    ///
    /// Whatever leaves the process has been here; being here twice changes nothing. The counts are of what was done, so
    /// a batch that is made anew for another attempt counts again.
    pub(crate) fn scrub(&self, spans: &mut [Span<'_>]) {
        let scrubbed = self.inner.scrubber.scrub(spans);
        if scrubbed == Scrubbed::default() {
            return;
        }
        self.inner.scrubbed.add(&scrubbed);
        otel_debug!(
            name: "SpanExporter.Scrubbed",
            attributes_redacted = scrubbed.attributes_redacted,
            attributes_dropped = scrubbed.attributes_dropped,
            attributes_truncated = scrubbed.attributes_truncated,
            events_dropped = scrubbed.events_dropped,
            links_dropped = scrubbed.links_dropped
        );
    }

    /// Scrubs spans that belong to somebody else, and splits them.
    pub(super) fn scrub_and_split(&self, spans: &[Span<'_>]) -> Result<Batch> {
        if self.inner.scrubber.is_idle() {
            return self.split(spans);
        }
        let mut spans: Vec<Span<'_>> = spans.iter().map(Span::reborrow).collect();
        self.scrub(&mut spans);
        self.split(&spans)
    }
}

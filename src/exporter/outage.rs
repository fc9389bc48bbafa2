//! What the log says while batches cannot be stored: once at the beginning, a summary from time to time, once at the end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{otel_info, otel_warn};

use super::delivery::Summary;
use crate::error::Error;

/// Between summaries.
const INTERVAL: Duration = Duration::from_secs(60);

/// Whether there is an outage, and what was said of it.
#[derive(Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    told: Option<Instant>,
    reason: Option<String>,
    /// When it was last said that spans are lost, and how many since.
    drop_told: Option<Instant>,
    dropped: u64,
}

impl Outage {
    /// A batch could not be stored.
    pub(super) fn failed(&self, error: &Error, summary: impl FnOnce() -> Summary) {
        let mut state = self.state();
        let now = Instant::now();
        // An open circuit breaker is the consequence, not the reason.
        if !matches!(error, Error::CircuitOpen { .. }) {
            state.reason = Some(error.to_string());
        }
        let reason = state.reason.clone().unwrap_or_else(|| error.to_string());
        let Some(since) = state.since else {
            (state.since, state.told) = (Some(now), Some(now));
            otel_warn!(name: "SpanExporter.OutageBegan", reason = reason.as_str());
            return;
        };
        if state.told.is_none_or(|told| now - told >= INTERVAL) {
            state.told = Some(now);
            let summary = summary();
            otel_warn!(
                name: "SpanExporter.OutageContinues",
                seconds = (now - since).as_secs(),
                spans_in_memory = summary.waiting,
                spans_in_spool = summary.spooled,
                spans_dropped = summary.dropped,
                reason = reason.as_str()
            );
        }
    }

    /// A batch was stored.
    pub(super) fn ended(&self, summary: impl FnOnce() -> Summary) {
        let mut state = self.state();
        let Some(since) = state.since.take() else { return };
        state.reason = None;
        let summary = summary();
        otel_info!(
            name: "SpanExporter.OutageEnded",
            seconds = since.elapsed().as_secs(),
            spans_in_memory = summary.waiting,
            spans_in_spool = summary.spooled,
            spans_dropped = summary.dropped
        );
    }

    /// Spans are lost.
    pub(super) fn dropped(&self, spans: u64, reason: &str) {
        let mut state = self.state();
        state.dropped += spans;
        if state.drop_told.is_none_or(|told| told.elapsed() >= INTERVAL) {
            state.drop_told = Some(Instant::now());
            let spans = std::mem::take(&mut state.dropped);
            otel_warn!(name: "SpanExporter.SpansDropped", spans = spans, reason = reason);
        }
    }

    /// Why the last batch could not be stored; none when it was.
    pub(super) fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "internal-logs"))]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// The names of this module's events.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<&'static str>>>);

    impl<S: tracing::Subscriber> Layer<S> for Log {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("no panic").push(event.metadata().name());
        }
    }

    const SUMMARY: fn() -> Summary = || Summary { waiting: 1, spooled: 2, dropped: 3 };

    /// As if nothing had been said for so long.
    fn pass(outage: &Outage, time: Duration) {
        let mut state = outage.state();
        let before = |told: Option<Instant>| told.and_then(|told| told.checked_sub(time));
        (state.told, state.drop_told) = (before(state.told), before(state.drop_told));
    }

    #[test]
    fn an_outage_is_told_once_then_once_an_interval_and_at_its_end() {
        let log = Log::default();
        let outage = Outage::default();
        let failure = || Error::Timeout { doing: "storing a batch", seconds: 1.0 };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            for _ in 0..3 {
                for _ in 0..100 {
                    outage.failed(&failure(), SUMMARY);
                    outage.dropped(5, "the queue is full");
                }
                pass(&outage, INTERVAL);
            }
            assert_eq!(outage.state().dropped, 99 * 5, "those since it was told");
            outage.ended(SUMMARY);
            outage.ended(SUMMARY);
            outage.failed(&failure(), SUMMARY);
        });
        let told = log.0.lock().expect("no panic").clone();
        let expected = [
            "SpanExporter.OutageBegan",
            "SpanExporter.SpansDropped",
            "SpanExporter.OutageContinues",
            "SpanExporter.SpansDropped",
            "SpanExporter.OutageContinues",
            "SpanExporter.SpansDropped",
            "SpanExporter.OutageEnded",
            "SpanExporter.OutageBegan",
        ];
        assert_eq!(told, expected);
    }
}

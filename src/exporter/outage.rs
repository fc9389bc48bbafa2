//! What the log says while batches cannot be stored: once at the beginning, a summary from time to time, once at the end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{otel_info, otel_warn};

use super::delivery::Summary;
use crate::error::Error;

/// Between summaries, and between events that say the same. What begins so soon after an outage is the same one.
const INTERVAL: Duration = Duration::from_secs(60);

/// Whether there is an outage, and what was said of it.
#[derive(Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the outage began, or the last one did.
    since: Option<Instant>,
    /// When it ended.
    ended: Option<Instant>,
    /// When something was said of it, and whether that was not its end.
    told: Option<Instant>,
    is_end_due: bool,
    reason: Option<String>,
    /// Spans that are lost; spans that are refused, and how many of these are lost; failures of the spool; batches that
    /// fail by themselves.
    dropped: Repeated<1>,
    rejected: Repeated<2>,
    spool_failures: Repeated<1>,
    passed_over: Repeated<1>,
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
        let is_over = state.ended.take().is_some_and(|ended| now - ended >= INTERVAL);
        let Some(since) = state.since.filter(|_| !is_over) else {
            (state.since, state.told, state.is_end_due) = (Some(now), Some(now), true);
            otel_warn!(name: "SpanExporter.OutageBegan", reason = reason.as_str());
            return;
        };
        if state.told.is_none_or(|told| now - told >= INTERVAL) {
            (state.told, state.is_end_due) = (Some(now), true);
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
        let Some(since) = state.since.filter(|_| state.ended.is_none()) else { return };
        state.reason = None;
        state.ended = Some(Instant::now());
        if !std::mem::take(&mut state.is_end_due) {
            return;
        }
        state.tell_the_rest();
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
        if spans > 0 {
            self.state().dropped.happened([spans], reason, tell_dropped);
        }
    }

    /// PostgreSQL refused spans; those that could not be set aside are lost.
    pub(super) fn rejected(&self, spans: u64, lost: u64, reason: &str) {
        self.state().rejected.happened([spans, lost], reason, tell_rejected);
    }

    /// The spool could not be read or written.
    pub(super) fn spool_failed(&self, reason: &str) {
        self.state().spool_failures.happened([1], reason, tell_spool_failures);
    }

    /// A batch fails again and again while others are stored.
    pub(super) fn passed_over(&self, reason: &str) {
        self.state().passed_over.happened([1], reason, tell_passed_over);
    }

    /// Tells what has not been told yet: nothing may come after it.
    pub(super) fn tell_the_rest(&self) {
        self.state().tell_the_rest();
    }

    /// Why the last batch could not be stored; none when it was.
    pub(super) fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_the_rest(&mut self) {
        self.dropped.tell(tell_dropped);
        self.rejected.tell(tell_rejected);
        self.spool_failures.tell(tell_spool_failures);
        self.passed_over.tell(tell_passed_over);
    }
}

fn tell_dropped([spans]: [u64; 1], reason: &str) {
    otel_warn!(name: "SpanExporter.SpansDropped", spans = spans, reason = reason);
}

fn tell_rejected([spans, lost]: [u64; 2], reason: &str) {
    otel_warn!(name: "SpanExporter.SpansRejected", spans = spans, lost = lost, reason = reason);
}

fn tell_spool_failures([failures]: [u64; 1], reason: &str) {
    otel_warn!(name: "SpanExporter.SpoolFailed", failures = failures, reason = reason);
}

fn tell_passed_over([attempts]: [u64; 1], reason: &str) {
    otel_warn!(name: "SpanExporter.BatchPassedOver", attempts = attempts, reason = reason);
}

/// An event that is told at once, and then at most once in an interval, with the sums of what happened since.
struct Repeated<const N: usize> {
    told: Option<Instant>,
    sums: [u64; N],
    /// Why it happened the last time.
    reason: String,
}

impl<const N: usize> Default for Repeated<N> {
    fn default() -> Self {
        Repeated { told: None, sums: [0; N], reason: String::new() }
    }
}

impl<const N: usize> Repeated<N> {
    fn happened(&mut self, numbers: [u64; N], reason: &str, tell: impl FnOnce([u64; N], &str)) {
        for (sum, number) in self.sums.iter_mut().zip(numbers) {
            *sum += number;
        }
        reason.clone_into(&mut self.reason);
        if self.told.is_none_or(|told| told.elapsed() >= INTERVAL) {
            self.tell(tell);
        }
    }

    fn tell(&mut self, tell: impl FnOnce([u64; N], &str)) {
        let sums = std::mem::replace(&mut self.sums, [0; N]);
        if sums.iter().any(|sum| *sum > 0) {
            self.told = Some(Instant::now());
            tell(sums, &self.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_told_at_once_and_its_rest_in_the_end() {
        let mut told = Vec::new();
        let mut repeated = Repeated::default();
        for _ in 0..5 {
            repeated.happened([10], "full", |[spans], _| told.push(spans));
        }
        repeated.tell(|[spans], reason| {
            assert_eq!(reason, "full");
            told.push(spans);
        });
        repeated.tell(|[spans]: [u64; 1], _| told.push(spans));
        assert_eq!(told, [10, 40]);
    }
}

#[cfg(all(test, feature = "internal-logs"))]
mod log_tests {
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
        (state.told, state.dropped.told) = (before(state.told), before(state.dropped.told));
        state.ended = before(state.ended);
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
            assert_eq!(outage.state().dropped.sums, [99 * 5], "those since it was told");
            outage.ended(SUMMARY);
            outage.ended(SUMMARY);
            // Exports that fail and succeed in turn.
            for _ in 0..2 {
                for _ in 0..100 {
                    outage.failed(&failure(), SUMMARY);
                    outage.ended(SUMMARY);
                }
                outage.failed(&failure(), SUMMARY);
                pass(&outage, INTERVAL);
            }
            outage.ended(SUMMARY);
            pass(&outage, INTERVAL);
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
            "SpanExporter.SpansDropped",
            "SpanExporter.OutageEnded",
            "SpanExporter.OutageContinues",
            "SpanExporter.OutageEnded",
            "SpanExporter.OutageContinues",
            "SpanExporter.OutageEnded",
            "SpanExporter.OutageBegan",
        ];
        assert_eq!(told, expected);
    }
}

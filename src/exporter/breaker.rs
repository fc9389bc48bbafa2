//! The circuit breaker: a database that is down costs an export microseconds, not its whole time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::{otel_debug, otel_info};
use serde::Serialize;

use crate::error::{Error, ErrorClass, Result};

/// The first cool-down, doubling with jitter from failure to failure, up to the longest.
const FIRST_COOL_DOWN: Duration = Duration::from_secs(1);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(30);
/// A batch that probes and is never heard of again leaves the next probe to another one after this time.
const LOST_PROBE: Duration = Duration::from_secs(60);

/// Whether batches are let through to the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Every batch is let through.
    #[default]
    Closed,
    /// The database failed repeatedly, and is left alone until a cool-down is over.
    Open,
    /// The cool-down is over: one batch probes, or may.
    HalfOpen,
}

/// Closed, it lets every batch through. After `threshold` failed attempts in a row, or one that was not answered at all,
/// it opens; after a cool-down one batch may probe, and closes it or opens it for longer.
pub(super) struct Breaker {
    threshold: u32,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    /// Unless closed: until when no batch is let through.
    open_until: Option<Instant>,
    probing: bool,
    cool_downs: ExponentialBackoff,
    opened: u64,
    landed: u64,
    answered: u64,
}

impl Breaker {
    pub(super) fn new(threshold: u32) -> Self {
        let cool_downs = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_COOL_DOWN)
            .with_multiplier(2.0)
            .with_randomization_factor(0.3)
            .with_max_interval(LONGEST_COOL_DOWN)
            .with_max_elapsed_time(None)
            .build();
        let state = State {
            failures: 0,
            open_until: None,
            probing: false,
            cool_downs,
            opened: 0,
            landed: 0,
            answered: 0,
        };
        Breaker { threshold, state: Mutex::new(state) }
    }

    /// Lets a batch through, or says for how long none is.
    pub(super) fn admit(&self) -> Result<()> {
        let mut state = self.state();
        let Some(until) = state.open_until else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            return Err(Error::CircuitOpen { seconds: (until - now).as_secs_f64() });
        }
        // This batch probes; until it is back, no other one does.
        state.probing = true;
        state.open_until = Some(now + LOST_PROBE);
        otel_debug!(name: "SpanExporter.CircuitHalfOpen", failures = state.failures);
        Ok(())
    }

    /// Takes note of how an attempt ended. A failure of the data says nothing of the database.
    pub(super) fn record(&self, error: Option<&Error>) {
        match error {
            Some(error) if error.class() != ErrorClass::Data => self.failed(error, self.threshold),
            Some(_) => self.succeeded(),
            None => {
                self.state().landed += 1;
                self.succeeded();
            }
        }
    }

    /// How many attempts have stored a batch, or a part of one.
    pub(super) fn landed(&self) -> u64 {
        self.state().landed
    }

    /// How many attempts the database has answered, if only by refusing data.
    pub(super) fn answered(&self) -> u64 {
        self.state().answered
    }

    /// Takes note of a failure of a batch that fails while others land: it says little of the database, so it opens
    /// nothing. Where it was the probe, the next one comes later.
    pub(super) fn passed_over(&self, error: &Error) {
        if !self.is_closed() {
            self.failed(error, self.threshold);
        }
    }

    /// Takes note of an attempt that the database has not answered in time: the next ones are not to wait as long.
    pub(super) fn stalled(&self, error: &Error) {
        self.failed(error, 1);
    }

    fn failed(&self, error: &Error, threshold: u32) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let was_closed = state.open_until.is_none();
        // Attempts that were under way when it opened prolong nothing.
        if was_closed && state.failures < threshold || !was_closed && !state.probing {
            return;
        }
        let cool_down = state.cool_downs.next_backoff().unwrap_or(LONGEST_COOL_DOWN);
        state.open_until = Some(Instant::now() + cool_down);
        state.probing = false;
        state.opened += u64::from(was_closed);
        otel_debug!(
            name: "SpanExporter.CircuitOpened",
            failures = state.failures,
            cool_down_ms = cool_down.as_millis() as u64,
            reason = error.to_string()
        );
    }

    fn succeeded(&self) {
        let mut state = self.state();
        if state.open_until.take().is_some() {
            otel_info!(name: "SpanExporter.CircuitClosed", failures = state.failures);
        }
        state.answered += 1;
        state.failures = 0;
        state.probing = false;
        state.cool_downs.reset();
    }

    /// A batch that was let through has not been tried: if it was the probe, the next one is.
    pub(super) fn not_tried(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.probing) {
            state.open_until = Some(Instant::now());
        }
    }

    /// Ends the cool-down: the next batch may probe.
    pub(super) fn end_cool_down(&self) {
        let mut state = self.state();
        if state.open_until.is_some() && !state.probing {
            state.open_until = Some(Instant::now());
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().open_until.is_none()
    }

    /// The state, the failed attempts in a row, and how often it has opened.
    pub(super) fn status(&self) -> (BreakerState, u32, u64) {
        let state = self.state();
        let seen = match state.open_until {
            None => BreakerState::Closed,
            Some(until) if state.probing || Instant::now() >= until => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        };
        (seen, state.failures, state.opened)
    }

    /// The state is whole at every moment, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_the_threshold_and_closes_after_a_success() {
        let breaker = Breaker::new(3);
        for _ in 0..3 {
            assert_eq!(breaker.status().0, BreakerState::Closed);
            breaker.admit().expect("closed");
            breaker.record(Some(&Error::Shutdown));
        }
        assert!(matches!(breaker.admit(), Err(Error::CircuitOpen { .. })));
        assert_eq!(breaker.status(), (BreakerState::Open, 3, 1));
        breaker.record(None);
        breaker.admit().expect("closed again");
        assert_eq!(breaker.status(), (BreakerState::Closed, 0, 1));
    }

    #[test]
    fn a_bad_span_does_not_open_it() {
        let breaker = Breaker::new(3);
        for _ in 0..10 {
            breaker.record(Some(&Error::Input { origin: String::new(), reason: String::new() }));
        }
        breaker.admit().expect("closed");
    }

    #[test]
    fn a_batch_that_alone_fails_does_not_open_it_and_prolongs_what_is_open() {
        let breaker = Breaker::new(1);
        breaker.passed_over(&Error::Shutdown);
        assert_eq!(breaker.status(), (BreakerState::Closed, 0, 0));
        breaker.record(Some(&Error::Shutdown));
        breaker.end_cool_down();
        breaker.admit().expect("the probe");
        breaker.passed_over(&Error::Shutdown);
        assert_eq!(breaker.status().0, BreakerState::Open);
    }

    #[test]
    fn no_answer_opens_it_at_once() {
        let breaker = Breaker::new(20);
        breaker.stalled(&Error::Timeout { doing: "an export", seconds: 2.0 });
        assert!(breaker.admit().is_err());
    }

    #[test]
    fn after_the_cool_down_one_batch_probes() {
        let breaker = Breaker::new(1);
        breaker.record(Some(&Error::Shutdown));
        breaker.end_cool_down();
        assert_eq!(breaker.status().0, BreakerState::HalfOpen);
        breaker.admit().expect("the probe");
        assert!(breaker.admit().is_err(), "no second probe");
        breaker.record(Some(&Error::Shutdown));
        assert_eq!(breaker.status().0, BreakerState::Open);
    }

    #[test]
    fn the_cool_down_grows_with_jitter_up_to_a_cap() {
        let breaker = Breaker::new(1);
        let mut cool_downs = Vec::new();
        for _ in 0..10 {
            breaker.end_cool_down();
            breaker.admit().expect("a probe");
            let before = Instant::now();
            breaker.record(Some(&Error::Shutdown));
            cool_downs.push(breaker.state().open_until.expect("open") - before);
        }
        let within = |cool_down: Duration, seconds: f64| {
            (seconds * 0.69..seconds * 1.31).contains(&cool_down.as_secs_f64())
        };
        for (cool_down, seconds) in cool_downs.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
            assert!(within(*cool_down, seconds), "{cool_downs:?}");
        }
        assert!(within(cool_downs[9], 30.0), "{cool_downs:?}");
    }

    #[test]
    fn attempts_that_were_under_way_when_it_opened_prolong_nothing() {
        let breaker = Breaker::new(1);
        breaker.record(Some(&Error::Shutdown));
        let until = breaker.state().open_until;
        breaker.record(Some(&Error::Shutdown));
        assert_eq!(breaker.state().open_until, until);
    }
}

//! The circuit breaker: a database that is down costs an export microseconds, not its whole time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use opentelemetry::{otel_info, otel_warn};

use crate::error::{Error, Result};

/// The first cool-down, doubling with jitter from failure to failure, up to a minute.
const FIRST_COOL_DOWN: Duration = Duration::from_secs(1);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(60);

/// Closed, it lets every batch through. After `threshold` failures in a row it opens; after a cool-down one batch may
/// probe, and closes it or opens it for longer.
pub(super) struct Breaker {
    threshold: u32,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    /// While open: until when no batch is let through.
    open_until: Option<Instant>,
    cool_downs: ExponentialBackoff,
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
        Breaker { threshold, state: Mutex::new(State { failures: 0, open_until: None, cool_downs }) }
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
        state.open_until = Some(now + LONGEST_COOL_DOWN);
        Ok(())
    }

    /// Takes note of how a batch ended. Only failures that concern every batch count.
    pub(super) fn record(&self, error: Option<&Error>) {
        let mut state = self.state();
        match error {
            Some(error) if !matches!(error, Error::Input { .. } | Error::Corrupt(_)) => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= self.threshold {
                    let cool_down = state.cool_downs.next_backoff().unwrap_or(LONGEST_COOL_DOWN);
                    state.open_until = Some(Instant::now() + cool_down);
                    otel_warn!(
                        name: "SpanExporter.CircuitOpened",
                        failures = state.failures,
                        cool_down_ms = cool_down.as_millis() as u64,
                        reason = error.to_string()
                    );
                }
            }
            _ => {
                if state.open_until.is_some() {
                    otel_info!(name: "SpanExporter.CircuitClosed", failures = state.failures);
                }
                state.failures = 0;
                state.open_until = None;
                state.cool_downs.reset();
            }
        }
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
            breaker.admit().expect("closed");
            breaker.record(Some(&Error::Shutdown));
        }
        assert!(matches!(breaker.admit(), Err(Error::CircuitOpen { .. })));
        breaker.record(None);
        breaker.admit().expect("closed again");
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
    fn after_the_cool_down_one_batch_probes() {
        let breaker = Breaker::new(1);
        breaker.record(Some(&Error::Shutdown));
        breaker.state().open_until = Some(Instant::now());
        breaker.admit().expect("the probe");
        assert!(breaker.admit().is_err(), "no second probe");
    }
}

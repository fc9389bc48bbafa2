//! The courier: delivers in the background what is held.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::{Attempt, Delivery};
use super::held::Next;
use super::resting::Resting;
use super::source::Source;
use crate::error::{Error, ErrorClass};

/// After a failure that did not open the circuit breaker.
const PAUSE: Duration = Duration::from_millis(100);

/// Delivers what is held, one batch after another, for as long as the exporter lives.
pub(super) async fn run(delivery: Arc<Delivery>) {
    let mut resting = Resting::default();
    loop {
        let next = tokio::select! {
            next = delivery.held.next(&mut resting, &delivery.breaker) => next,
            () = delivery.probe.notified() => {
                resting.end();
                continue;
            }
        };
        while let Err(Error::CircuitOpen { seconds }) = delivery.breaker.admit() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
                () = delivery.probe.notified() => {}
            }
        }
        deliver(&delivery, next, &mut resting).await;
    }
}

async fn deliver(delivery: &Delivery, next: Next, resting: &mut Resting) {
    let source = Source::Parcel(next.parcel().clone());
    let id = source.id();
    let attempt = match resting.is_suspect(id, delivery.breaker.landed()) {
        true => Attempt::OfSuspect,
        false => Attempt::Usual,
    };
    match delivery.land_within(delivery.timeout, &source, attempt).await {
        Ok(landed) => {
            resting.ended(id);
            delivery.settle(next, landed).await;
        }
        // It would fail for ever.
        Err(error) if error.class() == ErrorClass::Data => {
            resting.ended(id);
            delivery.set_aside(next, &error).await;
            tokio::time::sleep(PAUSE).await;
        }
        Err(error) => {
            resting.failed(id, delivery.breaker.landed());
            delivery.held.put_back(next);
            match attempt {
                Attempt::Usual => delivery.outage.failed(&error, || delivery.summary()),
                Attempt::OfSuspect => delivery.outage.passed_over(&format!("batch {id}: {error}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

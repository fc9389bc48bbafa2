//! The courier: delivers in the background what is held.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::source::Source;
use crate::error::Error;

/// After a failure that did not open the circuit breaker.
const PAUSE: Duration = Duration::from_millis(100);

/// Delivers what is held, one batch after another, for as long as the exporter lives.
pub(super) async fn run(delivery: Arc<Delivery>) {
    loop {
        let next = delivery.held.next().await;
        while let Err(Error::CircuitOpen { seconds }) = delivery.breaker.admit() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
                () = delivery.probe.notified() => {}
            }
        }
        let source = Source::Parcel(next.parcel().clone());
        match delivery.land_within(delivery.timeout, &source).await {
            Ok(landed) => {
                let count =
                    if next.is_spooled() { &delivery.counts.replayed } else { &delivery.counts.stored };
                count.add(landed.stored);
                // The log names what is lost; nobody else waits for it.
                let _ = delivery.finish(&source, landed).await;
                delivery.held.delivered(next).await;
            }
            Err(error) => {
                delivery.held.put_back(next);
                delivery.outage.failed(&error, || delivery.summary());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

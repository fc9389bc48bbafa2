//! The courier: delivers in the background what is held.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use opentelemetry::otel_error;
use tokio::time::Instant;

use super::delivery::{Attempt, Delivery};
use super::held::Next;
use super::source::Source;
use crate::error::{Error, ErrorClass};

/// After a failure that did not open the circuit breaker.
const PAUSE: Duration = Duration::from_millis(100);

/// After a panic.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Delivers what is held for as long as the exporter lives, whatever happens.
pub(super) async fn run(delivery: Arc<Delivery>) {
    // A panic over a batch costs that batch; this is for all others, which are defects as well.
    while AssertUnwindSafe(work(&delivery)).catch_unwind().await.is_err() {
        otel_error!(name: "SpanExporter.CourierFailed", pause_s = LONG_PAUSE.as_secs());
        tokio::time::sleep(LONG_PAUSE).await;
    }
}

/// One batch after another. It never ends.
async fn work(delivery: &Delivery) {
    loop {
        let next = tokio::select! {
            next = delivery.held.next(&delivery.breaker) => next,
            () = delivery.probe.notified() => continue,
        };
        match delivery.breaker.admit() {
            Err(Error::CircuitOpen { seconds }) => {
                delivery.held.put_back(next);
                cool_down(delivery, Duration::from_secs_f64(seconds)).await;
            }
            _ => deliver(delivery, next).await,
        }
    }
}

/// Waits while the circuit breaker is open. Meanwhile what waits in memory goes to the spool, where it lasts longer.
async fn cool_down(delivery: &Delivery, time: Duration) {
    let spooled = async {
        delivery.held.evacuate(Instant::now() + delivery.timeout).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = delivery.probe.notified() => {}
        () = spooled => {}
    }
}

async fn deliver(delivery: &Delivery, next: Next) {
    let source = Source::Parcel(next.parcel().clone());
    let (id, held) = (source.id(), &delivery.held);
    let attempt = match held.resting().is_suspect(id, delivery.breaker.landed()) {
        true => Attempt::OfSuspect,
        false => Attempt::Usual,
    };
    let mut progress = held.resting().take_progress(id);
    match delivery.land_within(delivery.timeout, &source, attempt, &mut progress).await {
        Ok(landed) => {
            held.resting().ended(id);
            delivery.settle(next, landed, &progress).await;
        }
        // It would fail for ever.
        Err(error) if error.class() == ErrorClass::Data => {
            held.resting().ended(id);
            delivery.set_aside(next, &error).await;
            tokio::time::sleep(PAUSE).await;
        }
        Err(error) => {
            delivery.settle_refused(&next, &mut progress).await;
            held.resting().failed(id, delivery.breaker.landed(), next.own_spans(), progress);
            held.put_back(next);
            match attempt {
                Attempt::Usual => {
                    delivery.outage.failed(&error, || delivery.summary());
                    tokio::time::sleep(PAUSE).await;
                }
                Attempt::OfSuspect => delivery.outage.passed_over(&format!("batch {id}: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::exporter::counts::Uncounted;
    use crate::exporter::parcel::Parcel;
    use crate::settings::Settings;
    use crate::store::TraceStore;

    #[tokio::test]
    async fn a_batch_at_which_every_attempt_fails_is_set_aside_and_the_courier_goes_on() {
        for with_spool in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let settings = Settings {
                connection_string: "host=127.0.0.1 port=1 user=nobody dbname=nowhere".into(),
                spool_dir: with_spool.then(|| folder.path().to_owned()),
                ..Settings::default()
            };
            let delivery =
                Arc::new(Delivery::new(TraceStore::new(settings).expect("valid")).expect("a delivery"));
            let held = Arc::clone(&delivery.held);
            for _ in 0..3 {
                let otlp = Bytes::from_static(b"no protobuf");
                let parcel = Parcel { id: Uuid::new_v4(), spans: 5, otlp };
                Uncounted::new(&delivery.counts, 5).hand_over();
                held.enqueue(parcel, String::new());
            }
            let courier = tokio::spawn(run(Arc::clone(&delivery)));
            held.wait_until(|| held.is_memory_empty()).await;
            courier.abort();
            assert_eq!(delivery.counts.rejected.get(), 15);
            assert_eq!(held.spool_usage().rejected, if with_spool { 3 } else { 0 });
        }
    }
}

//! A server that receives counts which service calls which, so that the service map is of now.

use std::time::Duration;

use opentelemetry::otel_debug;

use crate::store::TraceStore;

const PAUSE: Duration = Duration::from_secs(60);
/// Senders send what they have within this time, as a rule; maintenance looks further back.
const LATE: Duration = Duration::from_secs(300);

/// Counts for as long as it is polled.
pub(super) async fn run(store: TraceStore) {
    loop {
        if let Err(error) = store.count_dependencies(LATE).await {
            // Tried again; who asks for the map meanwhile gets what was counted.
            otel_debug!(name: "Server.CountingFailed", reason = error.to_string());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

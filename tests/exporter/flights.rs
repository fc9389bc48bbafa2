//! How often an export waits for the server: twice, when its documents are known.
#![cfg(unix)]

use std::time::Duration;

use crate::support::database::TestDatabase;
use crate::support::load::spans;
use crate::support::proxy::{Action, Phase, Proxy, Step};
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;

/// The messages that begin and end the flights of a batch with known documents, on their way to the server.
const COPY_BEGINS: Step = Step::to_server(b'E').within(Phase::Transaction).nth(2);
/// The first answers to each flight.
const BEGUN: Step = Step::to_client(b'C').holding("BEGIN");
const COPIED: Step = Step::to_client(b'C').holding("COPY").within(Phase::Transaction);

/// Once so many faults have struck, lets everything pass that is kept back. It never ends: what it frees does.
async fn release_after(proxy: &Proxy, strikes: u32) {
    proxy.struck(strikes).await;
    loop {
        // The one that struck last may be kept back a little later.
        proxy.heal();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_known_documents_takes_two_round_trips() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address().await).await;
    let mut settings = database.settings();
    settings.connection_string = database.url_through(proxy.port());
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    // Maintenance on other connections would be taken for a part of the export.
    settings.pool_size = 1;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    // An attribute that shows more than eight values is no part of the document any more.
    for sequences in [0..20, 20..23, 23..26] {
        exporter.export(spans("known", sequences)).await.expect("stored");
    }

    // The answers to the first flight are kept back, and all of it is sent nevertheless.
    proxy.fail_once(BEGUN, Action::Stall);
    proxy.fail_once(COPY_BEGINS, Action::Delay(Duration::ZERO));
    tokio::select! {
        exported = exporter.export(spans("known", 30..33)) => exported.expect("stored"),
        () = release_after(&proxy, 2) => {}
    }

    // So are those to the second, which ends with COMMIT.
    proxy.fail_once(COPIED, Action::Stall);
    proxy.fail_once(Step::COMMIT, Action::Delay(Duration::ZERO));
    tokio::select! {
        exported = exporter.export(spans("known", 40..43)) => exported.expect("stored"),
        () = release_after(&proxy, 4) => {}
    }

    // Nothing else travels.
    let trace = proxy.trace();
    let sent = trace.lines().filter_map(|line| line.trim_start().strip_prefix("-> "));
    let kinds: String = sent.filter_map(|message| message.chars().next()).collect();
    assert!(kinds.contains("QBESBESdcSBESQ"), "{kinds} are the last messages:\n{trace}");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.spans").await, 32);
}

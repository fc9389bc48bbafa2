//! How often an export waits for the server: twice, when its documents are known.
#![cfg(unix)]

mod support;

use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use support::database::TestDatabase;
use support::load::spans;
use support::proxy::{Action, Phase, Proxy, Step};

/// The messages that begin and end the flights of a batch with known documents, on their way to the server.
const COPY_BEGINS: Step = Step::to_server(b'E').within(Phase::Transaction).nth(2);
/// The first answers to each flight.
const BEGUN: Step = Step::to_client(b'C').holding("BEGIN");
const COPIED: Step = Step::to_client(b'C').holding("COPY").within(Phase::Transaction);

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
    proxy.fail_once(COPY_BEGINS, Action::Delay(std::time::Duration::ZERO));
    let export = exporter.export(spans("known", 30..33));
    let release = async {
        proxy.struck(2).await;
        proxy.heal();
    };
    let (exported, ()) = tokio::join!(export, release);
    exported.expect("stored");

    // So are those to the second, which ends with COMMIT.
    proxy.fail_once(COPIED, Action::Stall);
    proxy.fail_once(Step::COMMIT, Action::Delay(std::time::Duration::ZERO));
    let export = exporter.export(spans("known", 40..43));
    let release = async {
        proxy.struck(4).await;
        proxy.heal();
    };
    let (exported, ()) = tokio::join!(export, release);
    exported.expect("stored");

    // Nothing else travels.
    let trace = proxy.trace();
    let sent = trace.lines().filter_map(|line| line.trim_start().strip_prefix("-> "));
    let kinds: String = sent.filter_map(|message| message.chars().next()).collect();
    assert!(kinds.contains("QBESBESdcSBESQ"), "{kinds} are the last messages:\n{trace}");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.spans").await, 32);
}

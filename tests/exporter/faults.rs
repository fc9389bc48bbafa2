//! Faults at every step of an export: what is acknowledged is in the table exactly once, and nothing hangs.
#![cfg(unix)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::database::{TestDatabase, eventually};
use crate::support::load::{Outcome, Random, Tally, letters, spans};
use crate::support::proxy::{ALWAYS, Action, CONNECT, Fault, Phase, Proxy, START_UP, Step};
use futures_util::{StreamExt, stream};
use opentelemetry_pgvector::span::{Resource, Scopes, Span, Value, span_from_sdk};
use opentelemetry_pgvector::{Settings, SpanExporter, TraceStore};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanExporter as _;

/// Time limits of the exporters here. A stalled attempt ends after `STATEMENT`, and another one follows.
const STATEMENT: u64 = 2;
const EXPORT: u64 = 5;
/// What an export may take beyond its limit on a busy machine.
const GRACE: Duration = Duration::from_secs(10);
/// How long a batch is sent again after a fault, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first number of the spans that make documents known.
const PRIMED: i64 = 1_000_000;
/// How many exporters fail at the same time in one test.
const AT_ONCE: usize = 16;

const fn outside(step: Step) -> Step {
    step.within(Phase::Outside)
}

const fn transaction(step: Step) -> Step {
    step.within(Phase::Transaction)
}

/// Every message from the first packet until the server is ready.
const START: &[Step] = &[
    Step::to_server(CONNECT),
    Step::to_server(START_UP),
    Step::to_client(b'R'),
    Step::to_server(b'p'),
    Step::to_client(b'R').nth(2),
    Step::to_server(b'p').nth(2),
    Step::to_client(b'R').nth(3),
    Step::to_client(b'R').nth(4),
    Step::to_client(b'S'),
    Step::to_client(b'K'),
    Step::to_client(b'Z'),
];

/// The check of the schema, each type of message once, and every statement before the transaction.
const PREPARATION: &[Step] = &[
    outside(Step::to_server(b'P')),
    outside(Step::to_server(b'D')),
    outside(Step::to_server(b'S')),
    outside(Step::to_client(b'1')),
    outside(Step::to_client(b't')),
    outside(Step::to_client(b'T')),
    outside(Step::to_client(b'Z').nth(2)),
    outside(Step::to_server(b'B')),
    outside(Step::to_server(b'E')),
    outside(Step::to_client(b'2')),
    outside(Step::to_client(b'D')),
    outside(Step::to_client(b'C')),
    outside(Step::to_server(b'P').holding("span_documents WHERE hash")),
    outside(Step::to_server(b'P').holding("INSERT INTO \"otel\".span_documents")),
    outside(Step::to_client(b'C').holding("INSERT 0 1")),
    outside(Step::to_server(b'P').holding("span_resources WHERE hash")),
    outside(Step::to_server(b'P').holding("INSERT INTO \"otel\".span_resources")),
    outside(Step::to_client(b'C').holding("INSERT 0 1").nth(2)),
    outside(Step::to_server(b'P').holding("batches")),
    outside(Step::to_server(b'P').holding("COPY")),
    outside(Step::to_client(b'n')),
];

/// Every message from BEGIN to the end of COMMIT.
const TRANSACTION: &[Step] = &[
    transaction(Step::to_server(b'Q').holding("BEGIN")),
    transaction(Step::to_server(b'B')),
    transaction(Step::to_server(b'E')),
    transaction(Step::to_server(b'S')),
    transaction(Step::to_server(b'B').nth(2)),
    transaction(Step::to_server(b'E').nth(2)),
    transaction(Step::to_server(b'S').nth(2)),
    transaction(Step::to_client(b'C').holding("BEGIN")),
    transaction(Step::to_client(b'C').holding("SET")),
    transaction(Step::to_client(b'Z')),
    transaction(Step::to_client(b'2')),
    transaction(Step::to_client(b'C').holding("INSERT")),
    transaction(Step::to_client(b'Z').nth(2)),
    transaction(Step::to_client(b'2').nth(2)),
    transaction(Step::to_client(b'G')),
    transaction(Step::to_server(b'd')),
    transaction(Step::to_server(b'c')),
    transaction(Step::to_server(b'S').nth(3)),
    transaction(Step::to_server(b'B').nth(3)),
    transaction(Step::to_server(b'E').nth(3)),
    transaction(Step::COMMIT),
    transaction(Step::to_client(b'C').holding("COPY")),
    transaction(Step::to_client(b'Z').nth(3)),
    transaction(Step::to_client(b'D')),
    transaction(Step::to_client(b'C').holding("SELECT")),
    transaction(Step::to_client(b'Z').nth(4)),
    transaction(Step::COMMITTED),
    transaction(Step::to_client(b'Z').nth(5)),
];

const ACTIONS: &[Action] = &[
    Action::Cut,
    Action::CutAfter,
    Action::Reset,
    Action::Truncate,
    Action::Stall,
    // Longer than an attempt: the next one runs while the first is still on its way.
    Action::Delay(Duration::from_millis(STATEMENT * 1000 + 500)),
];

/// `max_retries`, and how often a fault strikes.
fn persistence(action: Action) -> &'static [(u32, u32)] {
    match action {
        // These take seconds.
        Action::Stall | Action::Delay(_) => &[(1, 1), (10, ALWAYS)],
        _ => &[(1, 1), (10, 1), (1, ALWAYS)],
    }
}

/// Settings without embeddings: what is proven here happens before them.
fn settings(database: &TestDatabase, proxy: &Proxy, max_retries: u32) -> Settings {
    let mut settings = database.settings();
    settings.connection_string = database.url_through(proxy.port());
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    settings.connect_timeout_seconds = STATEMENT;
    settings.statement_timeout_seconds = STATEMENT;
    settings.export_timeout_seconds = EXPORT;
    settings.flush_timeout_seconds = STATEMENT;
    settings.max_retries = max_retries;
    settings.circuit_breaker_threshold = 20;
    settings
}

/// An exporter of a service of its own behind a proxy of its own.
async fn exporter(database: &TestDatabase, max_retries: u32, service: &str) -> (SpanExporter, Proxy) {
    let proxy = Proxy::start(database.address().await).await;
    let mut exporter = SpanExporter::from_settings(settings(database, &proxy, max_retries)).expect("built");
    exporter.set_resource(
        &opentelemetry_sdk::Resource::builder_empty().with_service_name(service.to_owned()).build(),
    );
    (exporter, proxy)
}

/// A database with the schema, and no connection to it.
async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
}

/// Exports spans of one name; an error is one of the exporter's, or that it hangs.
async fn export(exporter: &SpanExporter, name: &str, first: i64) -> OTelSdkResult {
    let limit = Duration::from_secs(EXPORT) + GRACE;
    match tokio::time::timeout(limit, exporter.export(spans(name, first..first + 3))).await {
        Ok(result) => result,
        Err(_) => {
            Err(OTelSdkError::InternalFailure(format!("the export hangs: it is not back after {limit:?}")))
        }
    }
}

/// One fault: an export that meets it, and one after it. Says what is not as it should be.
async fn round(
    database: &TestDatabase,
    tally: &Tally,
    number: i64,
    (fault, max_retries): (Fault, u32),
    documents: Documents,
) -> Vec<String> {
    let case = format!("case {number}, {documents:?} documents, max_retries {max_retries}: {fault}");
    let first = number * 10;
    tally.label(first, case.clone());
    let word = letters(number as u64);
    let service = format!("service {word}");
    let (exporter, proxy) = exporter(database, max_retries, &service).await;
    let mut wrong = Vec::new();
    let mut check = |is_right: bool, what: &str, result: &OTelSdkResult| {
        if !is_right {
            wrong.push(format!("{case}: {what}: {result:?}; the last messages:\n{}", proxy.trace()));
        }
    };
    if documents == Documents::Known {
        // After some values the number is no part of the document, and what follows a batch of known documents begins
        // before it is split.
        let primed = PRIMED + number * 20;
        for sequences in [primed..primed + 10, primed + 10..primed + 15, primed + 15..primed + 20] {
            let result = exporter.export(spans(&format!("step {word}"), sequences.clone())).await;
            check(result.is_ok(), "before the fault", &result);
            tally.record(sequences, Outcome::of(&result));
        }
    }
    proxy.fail(fault);
    let result = export(&exporter, &format!("step {word}"), first).await;
    check(!format!("{result:?}").contains("hangs"), "too slow", &result);
    check(proxy.strikes() > 0, "the fault never struck", &result);
    // The server holds on to the first attempt while its messages are away, and the second one waits for it.
    let passes = fault.times == 1 && !matches!(fault.action, Action::Stall | Action::Delay(_));
    check(!passes || result.is_ok(), "one fault is not survived", &result);
    let outcome = Outcome::of(&result);
    tally.record(first..first + 3, outcome);
    proxy.heal();
    let result = export(&exporter, &format!("step {word}"), first + 5).await;
    let after = Outcome::of(&result);
    check(after != Outcome::Refused, "after the fault", &result);
    tally.record(first + 5..first + 8, after);
    let before = if documents == Documents::Known { 20 } else { 0 };
    let kept = [outcome, after].iter().filter(|outcome| **outcome != Outcome::Refused).count();
    let promised = before + kept as i64 * 3;
    if outcome == Outcome::Held || after == Outcome::Held {
        let stored = format!("SELECT count(*) FROM otel.spans WHERE service = '{service}'");
        eventually(&format!("{case}: what waits in memory is stored"), async || {
            database.value::<i64>(&stored).await >= promised
        })
        .await;
    }
    wrong
}

/// Whether the exporter has seen the documents before the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Documents {
    New,
    Known,
}

async fn every_fault_at(steps: &[Step], documents: Documents) {
    let begin = Instant::now();
    let database = database().await;
    let tally = Tally::default();
    let mut cases = Vec::new();
    for &step in steps {
        for &action in ACTIONS {
            for &(max_retries, times) in persistence(action) {
                cases.push((Fault { step, action, times }, max_retries));
            }
        }
    }
    let count = cases.len();
    let rounds = (1..).zip(cases).map(|(number, case)| round(&database, &tally, number, case, documents));
    let wrong: Vec<String> =
        stream::iter(rounds).buffer_unordered(AT_ONCE).map(stream::iter).flatten().collect().await;
    assert!(wrong.is_empty(), "{} things in {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    tally.assert_stored_in_the_end(&database.config(), &tally).await;
    println!("{count} cases in {:?}: {tally}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_while_connecting_neither_loses_nor_doubles() {
    every_fault_at(START, Documents::New).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_before_the_transaction_neither_loses_nor_doubles() {
    every_fault_at(PREPARATION, Documents::New).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_the_transaction_neither_loses_nor_doubles() {
    every_fault_at(TRANSACTION, Documents::New).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_a_transaction_that_begins_before_the_split_neither_loses_nor_doubles() {
    every_fault_at(TRANSACTION, Documents::Known).await;
}

/// With a spool, no fault of the server or the network keeps an export from being acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_every_export_is_acknowledged_and_stored_once() {
    let database = database().await;
    let tally = Tally::default();
    let actions = [Action::Cut, Action::Reset, Action::Truncate, Action::Stall];
    let cases = TRANSACTION.iter().flat_map(|&step| actions.map(|action| (step, action)));
    let rounds = (1..).zip(cases).map(async |(number, (step, action))| {
        let fault = Fault { step, action, times: ALWAYS };
        let first = number * 10;
        tally.label(first, format!("case {number}: {fault}"));
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Proxy::start(database.address().await).await;
        let mut settings = settings(&database, &proxy, 1);
        settings.spool_dir = Some(folder.path().to_owned());
        settings.hand_over_seconds = 1;
        let exporter = SpanExporter::from_settings(settings).expect("built");
        let handle = exporter.handle();
        proxy.fail(fault);
        let result = export(&exporter, &format!("step {}", letters(number as u64)), first).await;
        assert!(result.is_ok(), "case {number}: {fault}: {result:?}");
        tally.record(first..first + 3, Outcome::of(&result));
        proxy.heal();
        let done = || {
            let status = handle.status();
            (status.stored + status.replayed >= 3) && status.spool.batches == 0
        };
        eventually(&format!("case {number}: {fault}: the spool is replayed"), async || done()).await;
    });
    stream::iter(rounds).buffer_unordered(AT_ONCE).collect::<()>().await;
    tally.assert_stored_in_the_end(&database.config(), &tally).await;
}

/// A store sends a batch once: after an error nothing is known, and the same batch is sent again.
async fn without_retries(database: &TestDatabase, tally: &Tally, number: i64, fault: Fault) -> bool {
    let case = format!("case {number}, no retries: {fault}");
    let first = number * 10;
    tally.label(first, case.clone());
    let word = letters(number as u64);
    let proxy = Proxy::start(database.address().await).await;
    let store = TraceStore::new(settings(database, &proxy, 1)).expect("valid settings");
    let service = ("service.name".into(), Value::String(format!("service {word}").into()));
    let resource = Arc::new(Resource { attributes: vec![service], ..Resource::default() });
    let exported = spans(&format!("step {word}"), first..first + 3);
    let mut scopes = Scopes::default();
    let batch: Vec<Span<'_>> =
        exported.iter().map(|span| span_from_sdk(span, &resource, &mut scopes)).collect();
    let id = uuid::Uuid::new_v4();
    proxy.fail(fault);
    let once = store.batch_store_with_id(id, &batch).await;
    assert!(proxy.strikes() > 0, "{case}: the fault never struck");
    proxy.heal();
    if let Err(error) = &once {
        // A busy machine may take longer than an attempt may: then it is sent once more, as a sender does.
        let deadline = Instant::now() + PATIENCE;
        while let Err(again) = store.batch_store_with_id(id, &batch).await {
            assert!(
                again.is_transient() && Instant::now() < deadline,
                "{case}: {error}, then {again}; the last messages:\n{}",
                proxy.trace()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tally.record(first..first + 3, Outcome::Acknowledged);
    once.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_a_batch_that_is_sent_again_after_a_fault_is_stored_once() {
    let begin = Instant::now();
    let database = database().await;
    let tally = Tally::default();
    let mut faults = Vec::new();
    for &step in START.iter().chain(PREPARATION).chain(TRANSACTION) {
        for action in [Action::Cut, Action::CutAfter, Action::Reset, Action::Truncate] {
            faults.push(Fault { step, action, times: 1 });
        }
    }
    // These take seconds.
    faults.extend(TRANSACTION.iter().map(|&step| Fault { step, action: Action::Stall, times: 1 }));
    let count = faults.len();
    let rounds = (1..).zip(faults).map(|(number, fault)| without_retries(&database, &tally, number, fault));
    let at_once: Vec<bool> = stream::iter(rounds).buffer_unordered(AT_ONCE).collect().await;
    tally.assert_stored_in_the_end(&database.config(), &tally).await;
    let at_once = at_once.iter().filter(|stored| **stored).count();
    println!("{count} cases in {:?}: {tally}, {at_once} at once", begin.elapsed());
}

/// An export after which there is a partition for the day, which has a COMMIT of its own.
async fn export_first(exporter: &SpanExporter, tally: &Tally) {
    export(exporter, "pay", 50).await.expect("stored");
    tally.record(50..53, Outcome::Acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_is_recognised_by_the_ledger() {
    let database = database().await;
    let tally = Tally::default();
    let (exporter, proxy) = exporter(&database, 1, "shop").await;
    export_first(&exporter, &tally).await;
    proxy.fail_once(Step::COMMITTED, Action::Cut);
    export(&exporter, "pay", 0).await.expect("the second attempt finds the batch in the ledger");
    tally.record(0..3, Outcome::Acknowledged);
    assert_eq!(proxy.strikes(), 1);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.batches").await, 2);
    tally.assert_stored(&database.config(), &"after the lost answer").await;
}

/// The first attempt is stalled with its COMMIT on the way; the second waits for its entry in the ledger.
async fn a_second_attempt_meets_the_first(end: impl AsyncFnOnce(&Proxy)) {
    let database = database().await;
    let tally = Tally::default();
    let (exporter, proxy) = exporter(&database, 1, "shop").await;
    export_first(&exporter, &tally).await;
    proxy.fail_once(Step::COMMIT, Action::Stall);
    let exporting = async { export(&exporter, "pay", 0).await };
    let interfering = async {
        proxy.struck(1).await;
        eventually("the second attempt waits for the first", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                           AND wait_event_type = 'Lock' AND query LIKE '%batches%'";
            database.value::<i64>(waiting).await == 1
        })
        .await;
        end(&proxy).await;
    };
    let (result, ()) = tokio::join!(exporting, interfering);
    result.expect("the second attempt succeeds in either case");
    tally.record(0..3, Outcome::Acknowledged);
    tally.assert_stored(&database.config(), &"at once").await;
    drop((exporter, proxy));
    tally.assert_stored_in_the_end(&database.config(), &"in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_waits_for_a_first_that_still_runs_and_commits() {
    a_second_attempt_meets_the_first(async |proxy| proxy.heal()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_waits_for_a_first_that_still_runs_and_is_rolled_back() {
    a_second_attempt_meets_the_first(async |proxy| proxy.cut_struck()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_begin_does_not_leave_the_batch_in_the_ledger_without_its_spans() {
    let database = database().await;
    let tally = Tally::default();
    let (exporter, proxy) = exporter(&database, 3, "shop").await;
    // As a cancelled or timed-out BEGIN: what follows in the same flight is then outside of a transaction.
    let begin = Step::to_server(b'Q').holding("BEGIN");
    proxy.fail_once(begin, Action::Refuse("57014"));
    let first = export(&exporter, "pay", 0).await;
    tally.record(0..3, Outcome::of(&first));
    let entered: i64 = database.value("SELECT count(*) FROM otel.batches").await;
    let stored: i64 = database.value("SELECT count(*) FROM otel.spans").await;
    assert_eq!(entered * 3, stored, "{first:?}; the last messages:\n{}", proxy.trace());
    // A server that says so of itself is tried again.
    proxy.fail_once(begin, Action::Refuse("57P03"));
    let second = export(&exporter, "pay", 10).await;
    tally.record(10..13, Outcome::of(&second));
    assert!(second.is_ok(), "{second:?}");
    tally.assert_stored(&database.config(), &"after both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_tried_again_until_the_deadline() {
    let database = database().await;
    let tally = Tally::default();
    let (exporter, proxy) = exporter(&database, 1, "shop").await;
    proxy.refuse().await;
    let begin = Instant::now();
    let result = export(&exporter, "pay", 0).await;
    let limit = Duration::from_secs(EXPORT) + GRACE;
    assert!(result.is_err() && begin.elapsed() < limit, "{result:?} after {:?}", begin.elapsed());
    tally.record(0..3, Outcome::of(&result));
    assert_eq!(proxy.connections(), 0);
    let healing = async {
        // Three attempts have failed by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.heal();
    };
    proxy.refuse().await;
    let (result, ()) = tokio::join!(export(&exporter, "pay", 10), healing);
    tally.record(10..13, Outcome::of(&result));
    assert!(Outcome::of(&result) != Outcome::Refused, "{result:?}");
    tally.assert_stored(&database.config(), &"after the refusals").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_in_the_middle_of_everything_neither_loses_nor_doubles() {
    let database = database().await;
    let tally = Tally::default();
    let (exporter, proxy) = exporter(&database, 10, "shop").await;
    let exporting = stream::iter(0..40).map(async |number| {
        let first = number * 10;
        let result = export(&exporter, &format!("step {}", letters(number as u64)), first).await;
        tally.record(first..first + 3, Outcome::of(&result));
    });
    let exporting = exporting.buffer_unordered(4).collect::<()>();
    let partitioning = async {
        for _ in 0..3 {
            let stored = "SELECT count(*) FROM otel.batches";
            let before: i64 = database.value(stored).await;
            eventually("spans come through", async || {
                database.value::<i64>(stored).await > before || tally.total() == 120
            })
            .await;
            proxy.partition();
            tokio::time::sleep(Duration::from_millis(STATEMENT * 1000 + 500)).await;
            proxy.heal();
        }
    };
    tokio::join!(exporting, partitioning);
    tally.assert_stored(&database.config(), &tally).await;
    drop((exporter, proxy));
    tally.assert_stored_in_the_end(&database.config(), &tally).await;
    assert!(tally.promised() > 60, "{tally}");
}

/// Faults at random messages while several batches are on their way; `OTEL_TEST_SEED` repeats a schedule.
#[tokio::test(flavor = "multi_thread")]
async fn a_random_schedule_of_faults_neither_loses_nor_doubles() {
    let seed = Random::seed();
    println!("OTEL_TEST_SEED={seed}");
    let database = database().await;
    let tally = Tally::default();
    let rounds =
        (0..24).map(|number| random_round(&database, &tally, seed.wrapping_add(number), number as i64));
    stream::iter(rounds).buffer_unordered(8).collect::<()>().await;
    let context = format!("OTEL_TEST_SEED={seed}: {tally}");
    tally.assert_stored_in_the_end(&database.config(), &context).await;
    println!("{context}");
}

async fn random_round(database: &TestDatabase, tally: &Tally, seed: u64, number: i64) {
    let mut random = Random::new(seed);
    let max_retries = *random.one_of(&[1, 3, 10]);
    let word = letters(number as u64);
    let service = format!("service {word}");
    let (exporter, proxy) = exporter(database, max_retries, &service).await;
    let mut faults = Vec::new();
    for _ in 0..=random.below(4) {
        let steps = *random.one_of(&[START, PREPARATION, TRANSACTION]);
        let step = random.one_of(steps).nth(1 + random.below(4) as u32);
        let action = match random.below(6) {
            0 => Action::Cut,
            1 => Action::CutAfter,
            2 => Action::Reset,
            3 => Action::Truncate,
            4 => Action::Stall,
            _ => Action::Delay(Duration::from_millis(random.below(STATEMENT * 1500))),
        };
        let fault = Fault { step, action, times: 1 + random.below(3) as u32 };
        faults.push(fault.to_string());
        proxy.fail(fault);
    }
    let context = format!("seed {seed}, max_retries {max_retries}, faults {faults:#?}");
    let first = number * 1000;
    tally.label(first, context.clone());
    let exporting = (0..8).map(|batch| {
        let (exporter, word, first) = (&exporter, &word, first + batch * 10);
        async move {
            let result = export(exporter, &format!("step {word} {}", letters(batch as u64)), first).await;
            tally.record(first..first + 3, Outcome::of(&result));
        }
    });
    stream::iter(exporting).buffer_unordered(3).collect::<()>().await;
    proxy.heal();
    let result = export(&exporter, &format!("step {word}"), first + 900).await;
    tally.record(first + 900..first + 903, Outcome::of(&result));
    assert!(
        Outcome::of(&result) != Outcome::Refused,
        "{context}: after the faults: {result:?}; the last messages:\n{}",
        proxy.trace()
    );
    let held = tally.count_from(first, Outcome::Held);
    let expected = tally.count_from(first, Outcome::Acknowledged) + held;
    if held > 0 {
        let stored = format!("SELECT count(*) FROM otel.spans WHERE service = '{service}'");
        eventually(&format!("{context}: what waits in memory is stored"), async || {
            database.value::<i64>(&stored).await >= expected as i64
        })
        .await;
    }
}

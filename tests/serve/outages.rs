//! What a server that receives says of itself while what it is sent cannot be stored, and right after.

use crate::receive::{PROTOBUF, post, request};
use crate::support::database::{TestDatabase, eventually};
use crate::support::proxy::{Action, Proxy, Step};
use crate::support::serve::{TestServer, looking, receiving};
use prost::Message;
use reqwest::StatusCode;
use serde_json::Value;

async fn health(server: &TestServer) -> (StatusCode, Value) {
    let answer = reqwest::get(server.url("/api/health")).await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// Sends a span; after how many seconds it is to be sent again, or 0.
async fn send(server: &TestServer, number: i64) -> (StatusCode, u64) {
    let answer = post(server, PROTOBUF, request(number..number + 1).encode_to_vec()).await;
    let again = answer.headers().get("retry-after").map(|seconds| seconds.to_str().expect("a number"));
    (answer.status(), again.map_or(0, |seconds| seconds.parse().expect("a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_it_is_healthy_after_an_outage_takes_spans() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    (settings.max_retries, settings.circuit_breaker_threshold) = (1, 3);
    let server = TestServer::start(receiving(settings));
    let server = &server;
    assert_eq!(send(server, 0).await.0, StatusCode::OK);

    database.take_away().await;
    eventually("the database is left alone for long", || async { send(server, 1).await.1 >= 8 }).await;
    eventually("health says so", || async { health(server).await.0 != StatusCode::OK }).await;
    database.bring_back().await;
    eventually("it is healthy", || async { health(server).await.0 == StatusCode::OK }).await;
    assert_eq!(send(server, 1).await.0, StatusCode::OK);
    assert_eq!(database.sequences().await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_what_it_is_sent_is_not_healthy_though_the_database_is() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
        .execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END $$; \
             CREATE TRIGGER full_disk BEFORE INSERT ON otel.batches FOR EACH ROW EXECUTE FUNCTION full_disk()",
        )
        .await;
    let mut settings = database.settings();
    (settings.max_retries, settings.circuit_breaker_threshold) = (1, 3);
    let folder = tempfile::tempdir().expect("a folder");
    let mut with_spool = settings.clone();
    with_spool.spool_dir = Some(folder.path().to_owned());
    let server = TestServer::start(receiving(settings));
    let with_spool = TestServer::start(receiving(with_spool));
    assert_eq!(health(&server).await.0, StatusCode::OK);
    eventually("the database is left alone for a while", || async { send(&server, 0).await.1 >= 4 }).await;
    let (status, said) = health(&server).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
    assert!(said["error"].as_str().expect("a reason").contains("no space left on device"), "{said}");
    assert_eq!(said["exporter"]["breaker"], "open");

    assert_eq!(send(&with_spool, 1).await.0, StatusCode::OK);
    let (status, said) = health(&with_spool).await;
    assert_eq!(status, StatusCode::OK, "{said}");

    // A load balancer that sends nothing meanwhile learns when it may.
    eventually("it may be tried", || async { health(&server).await.0 == StatusCode::OK }).await;
    database.execute("DROP TRIGGER full_disk ON otel.batches").await;
    eventually("it takes spans", || async { send(&server, 0).await.0 == StatusCode::OK }).await;
    eventually("the spool is replayed", || async { database.sequences().await == [0, 1] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_in_the_middle_of_a_query_is_no_fault_of_the_server() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let proxy = Proxy::start(database.address().await).await;
    let mut settings = database.settings();
    settings.connection_string = database.url_through(proxy.port());
    let server = TestServer::start(looking(settings));
    let status = async || reqwest::get(server.url("/api/stats/services")).await.expect("an answer").status();
    assert_eq!(status().await, StatusCode::OK);
    // A connection that breaks; a pooler whose server is gone; a server that ends.
    for action in [Action::Cut, Action::Refuse("08P01"), Action::Refuse("57P01")] {
        proxy.fail_once(Step::to_server(b'B'), action);
        assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE, "{action:?}");
        assert_eq!(status().await, StatusCode::OK);
    }
    proxy.fail_once(Step::to_server(b'B'), Action::Refuse("42501"));
    assert_eq!(status().await, StatusCode::INTERNAL_SERVER_ERROR);
}

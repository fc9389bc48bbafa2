//! What one client takes from the others.

use std::time::Duration;

use crate::support::database::{TestDatabase, eventually};
use crate::support::serve::{TestServer, looking};
use crate::support::spans::{call, service};
use opentelemetry_pgvector::span::Value;
use reqwest::StatusCode as Http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_page_that_has_another_name_lead_here_is_refused() {
    let database = TestDatabase::create().await;
    let mut config = looking(database.settings());
    config.allowed_hosts = vec!["traces.example".into()];
    let server = TestServer::start(config);
    for path in ["/", "/health", "/api/services", "/api/openapi.json"] {
        let asked = reqwest::Client::new().get(server.url(path)).header("host", "evil.example");
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), Http::FORBIDDEN, "{path}");
        assert!(answer.text().await.expect("text").contains("--allowed-host"), "{path}");
    }
    let asked = reqwest::Client::new().get(server.url("/api/openapi.json")).header("host", "traces.example");
    assert_eq!(asked.send().await.expect("an answer").status(), Http::OK);
    server.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answer_has_room_for_a_while_and_then_no_connection() {
    let database = TestDatabase::create().await;
    let spans: Vec<_> = (0..100_u64)
        .map(|id| {
            let mut span = call(1, id + 1, 0, &service("shop"), "large", 0, 1);
            span.attributes = vec![("note".into(), Value::String("x".repeat(60_000).into()))];
            span
        })
        .collect();
    database.store().batch_store(&spans).await.expect("stored");
    let mut config = looking(database.settings());
    config.limits.answering = 1;
    config.limits.timeout = Duration::from_secs(4);
    let server = TestServer::start(config);

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut idle = socket.connect(server.addresses.api).await.expect("a connection");
    idle.write_all(b"GET /api/v3/traces/1 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("asked");
    let mut answer = vec![0; 12];
    idle.read_exact(&mut answer).await.expect("the answer begins");
    assert_eq!(answer, b"HTTP/1.1 200");

    let status = async || reqwest::get(server.url("/api/services")).await.expect("an answer").status();
    assert_eq!(status().await, Http::TOO_MANY_REQUESTS);
    eventually("there is room again", || async { status().await == Http::OK }).await;
    // What was on its way may still come, and then nothing: the connection has ended.
    let mut rest = Vec::new();
    drop(idle.read_to_end(&mut rest).await);
    assert!(rest.len() < 5_000_000, "{}", rest.len());
    server.stop().await.expect("stopped");
}

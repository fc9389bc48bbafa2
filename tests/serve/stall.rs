//! Senders whose bodies do not come, and those whose bodies come slowly.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::receive::{PROTOBUF, post, request};
use crate::support::database::{TestDatabase, eventually};
use crate::support::serve::{TestServer, receiving};
use futures_util::stream;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::{Bytes, Service, http};
use tonic::transport::{Channel, Error};
use tonic_types::StatusExt;

/// Opens its stream, and sends nothing.
#[derive(Clone)]
struct Silent(Channel);

impl Service<http::Request<tonic::body::Body>> for Silent {
    type Response = http::Response<tonic::body::Body>;
    type Error = Error;
    type Future = <Channel as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let nothing = stream::pending::<Result<Bytes, std::convert::Infallible>>();
        self.0.call(request.map(|_| tonic::body::Body::new(axum::body::Body::from_stream(nothing))))
    }
}

async fn begin(server: &TestServer, length: usize) -> TcpStream {
    let address = server.addresses.otlp_http.expect("an address");
    let mut open = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {length}\r\n\r\n"
    );
    open.write_all(head.as_bytes()).await.expect("sent");
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_whose_bodies_do_not_come_give_up_their_room_and_are_to_come_again() {
    let database = TestDatabase::create().await;
    let mut config = receiving(database.settings());
    config.limits.receiving = 2;
    // Not by the time that a request may take.
    config.limits.timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut by_http = begin(&server, 4 << 20).await;
    by_http.write_all(&[0x0a]).await.expect("sent");
    let channel = Channel::from_shared(server.grpc()).expect("a URL").connect().await.expect("connected");
    let mut silent = TraceServiceClient::new(Silent(channel));
    let by_grpc = tokio::spawn(async move { silent.export(request(0..1)).await });
    let server = &server;
    let status = async || post(server, PROTOBUF, request(0..1).encode_to_vec()).await.status();
    eventually("another is refused", || async { status().await == StatusCode::TOO_MANY_REQUESTS }).await;
    eventually("there is room again", || async { status().await == StatusCode::OK }).await;

    let mut answer = String::new();
    by_http.read_to_string(&mut answer).await.expect("an answer, and the connection ends");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    let refused = by_grpc.await.expect("no panic").expect_err("refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some(), "otherwise a sender drops the spans");
    assert_eq!(database.sequences().await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_slowly_is_taken() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(receiving(database.settings()));
    let body = request(0..20).encode_to_vec();
    let mut open = begin(&server, body.len()).await;
    // Longer than a body may stall, altogether.
    for piece in body.chunks(body.len().div_ceil(4)) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        open.write_all(piece).await.expect("sent");
    }
    let mut answer = [0; 12];
    open.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(database.sequences().await, (0..20).collect::<Vec<_>>());
}

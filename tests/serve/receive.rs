//! Receiving OTLP: what is acknowledged is stored, what cannot be is said so, as the protocol has it.

use std::io::Write;
use std::time::Duration;

use crate::support::database::{TestDatabase, eventually};
use crate::support::serve::{TestServer, receiving};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_otlp::{Compression, WithExportConfig, WithTonicConfig};
use opentelemetry_pgvector::serve::{Credentials, Tls};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt;

/// Spans with numbers, as [`crate::support::spans::numbered`] has them.
pub fn request(sequence: std::ops::Range<i64>) -> ExportTraceServiceRequest {
    let span = |number: i64| Span {
        trace_id: uuid::Uuid::new_v4().as_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: "check out".into(),
        kind: 2,
        start_time_unix_nano: 1_767_225_600_000_000_000,
        end_time_unix_nano: 1_767_225_600_000_500_000,
        attributes: vec![KeyValue {
            key: "load.sequence".into(),
            value: Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }),
            key_strindex: 0,
        }],
        ..Span::default()
    };
    let scope_spans = ScopeSpans { spans: sequence.map(span).collect(), ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() }],
    }
}

pub async fn post(server: &TestServer, kind: &str, body: Vec<u8>) -> reqwest::Response {
    let request = reqwest::Client::new().post(server.traces()).header("content-type", kind);
    request.body(body).send().await.expect("an answer")
}

pub const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_the_official_exporters_are_stored() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let grpc = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(server.grpc())
        .with_compression(Compression::Gzip)
        .build()
        .expect("an exporter");
    let url = server.traces();
    let http = tokio::task::spawn_blocking(move || {
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build()
    });
    let http = http.await.expect("no panic").expect("an exporter");
    for (name, provider) in [
        ("by gRPC", SdkTracerProvider::builder().with_batch_exporter(grpc).build()),
        ("by HTTP", SdkTracerProvider::builder().with_batch_exporter(http).build()),
    ] {
        provider.tracer("test").in_span(name, |_| ());
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown());
        flushed.await.expect("no panic").expect("acknowledged");
    }
    let sql = "SELECT name FROM otel.spans ORDER BY name";
    let rows = database.client().await.query(sql, &[]).await.expect("the spans");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["by HTTP", "by gRPC"]);
    server.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_and_json_are_taken_packed_or_not() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let mut number = 0;
    for kind in [PROTOBUF, JSON] {
        for packing in ["identity", "gzip", "X-GZIP", "zstd", "Zstd"] {
            let message = request(number..number + 1);
            number += 1;
            let plain = match kind {
                PROTOBUF => message.encode_to_vec(),
                _ => serde_json::to_vec(&message).expect("JSON"),
            };
            let body = match packing {
                "gzip" | "X-GZIP" => gzip(&plain),
                "zstd" | "Zstd" => zstd::encode_all(&*plain, 0).expect("packed"),
                _ => plain,
            };
            let sent = reqwest::Client::new().post(server.traces()).header("content-type", kind);
            let sent = match packing {
                "identity" => sent,
                packing => sent.header("content-encoding", packing),
            };
            let answer = sent.body(body).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{kind} {packing}");
            assert_eq!(answer.headers()["content-type"], kind);
            let body = answer.bytes().await.expect("a body");
            match kind {
                PROTOBUF => assert_eq!(
                    ExportTraceServiceResponse::decode(body).expect("protobuf"),
                    ExportTraceServiceResponse::default()
                ),
                _ => assert_eq!(&body[..], b"{}"),
            }
        }
    }
    assert_eq!(database.sequences().await, (0..10).collect::<Vec<_>>());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_cannot_be_are_rejected_alone() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let with_a_wrong_id = |numbers: std::ops::Range<i64>| {
        let mut message = request(numbers);
        message.resource_spans[0].scope_spans[0].spans[1].span_id = vec![1, 2, 3];
        message
    };
    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    let answer = client.export(with_a_wrong_id(0..3)).await.expect("partial success").into_inner();
    let partial = answer.partial_success.expect("partial success");
    assert_eq!(partial.rejected_spans, 1);
    assert_eq!(partial.error_message, "spanId has 3 bytes instead of 8");

    let json = serde_json::to_string(&request(3..5)).expect("JSON");
    let json = json.replacen("\"spanId\":\"0000000000000003\"", "\"spanId\":\"xyz\"", 1);
    let answer = post(&server, JSON, json.into_bytes()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    let reason = answer["partialSuccess"]["errorMessage"].as_str().expect("a reason");
    assert!(reason.contains("xyz"), "{reason}");
    assert_eq!(database.sequences().await, [0, 2, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_traces_is_refused_for_good() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    for (kind, body, status) in [
        (PROTOBUF, b"\xff\xff\xff".to_vec(), StatusCode::BAD_REQUEST),
        (JSON, b"{".to_vec(), StatusCode::BAD_REQUEST),
        (JSON, json!({"resourceLogs": []}).to_string().into_bytes(), StatusCode::BAD_REQUEST),
        ("text/plain", b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let answer = post(&server, kind, body).await;
        assert_eq!(answer.status(), status);
        assert!(answer.headers().get("retry-after").is_none());
    }
    for path in ["/v1/logs", "/v1/metrics"] {
        let url = server.traces().replace("/v1/traces", path);
        let sent = reqwest::Client::new().post(url).header("content-type", JSON).body("{}");
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(answer["code"], 12);
        assert!(answer["message"].as_str().expect("a message").contains("traces only"), "{answer}");
    }
    let mut logs = LogsServiceClient::connect(server.grpc()).await.expect("connected");
    let refused = logs.export(tonic::Request::new(Default::default())).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("traces only"), "{refused}");
    assert!(database.sequences().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limit_is_refused_for_good_packed_or_not() {
    let database = database().await;
    let mut config = receiving(database.settings());
    config.limits.request_bytes = 64 << 10;
    let server = TestServer::start(config);
    let mut large = request(0..1);
    large.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(1 << 20);
    let plain = large.encode_to_vec();
    let answer = post(&server, PROTOBUF, plain.clone()).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let packed = gzip(&plain);
    assert!(packed.len() < 64 << 10);
    let sent = reqwest::Client::new().post(server.traces()).header("content-type", PROTOBUF);
    let answer = sent.header("content-encoding", "gzip").body(packed).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.headers().get("retry-after").is_none());
    for packing in [None, Some(tonic::codec::CompressionEncoding::Gzip)] {
        let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
        if let Some(packing) = packing {
            client = client.send_compressed(packing);
        }
        let refused = client.export(large.clone()).await.expect_err("refused");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.get_details_retry_info().is_none(), "a sender would try again for ever");
    }
    assert!(database.sequences().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_decodes_to_much_more_is_refused_for_good_and_a_full_one_is_taken() {
    let database = database().await;
    let mut config = receiving(database.settings());
    config.limits.request_bytes = 64 << 10;
    let server = TestServer::start(config);
    let mut empty = request(0..1);
    empty.resource_spans[0].scope_spans[0].spans = vec![Span::default(); 20_000];
    let spans = "{},".repeat(20_000);
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}{{}}]}}]}}]}}"#);
    for (kind, body) in [(PROTOBUF, empty.encode_to_vec()), (JSON, json.into_bytes())] {
        assert!(body.len() < 64 << 10, "small enough in bytes");
        let answer = post(&server, kind, body).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{kind}");
        assert!(answer.headers().get("retry-after").is_none());
    }
    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    let refused = client.export(empty).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_none(), "a sender would try again for ever");

    let full = request(0..720);
    assert!((56 << 10..64 << 10).contains(&full.encoded_len()), "{}", full.encoded_len());
    client.export(full).await.expect("taken");
    assert_eq!(database.sequences().await.len(), 720);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_to_be_sent_again_and_is_stored_once() {
    let database = database().await;
    let mut settings = database.settings();
    settings.max_retries = 1;
    let server = TestServer::start(receiving(settings));
    let first = request(0..10);
    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    client.export(first.clone()).await.expect("stored");

    database.take_away().await;
    let second = request(10..20);
    let refused = client.export(second.clone()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    let answer = post(&server, PROTOBUF, second.encode_to_vec()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().get("retry-after").is_some());
    database.bring_back().await;

    // Again until they are taken, and once more, as a sender does that has not heard the answer.
    let client = &client;
    eventually("the spans are taken", || async {
        let sent = client.clone().export(second.clone()).await;
        sent.is_ok()
    })
    .await;
    client.clone().export(second).await.expect("taken");
    client.clone().export(first).await.expect("taken");
    assert_eq!(database.sequences().await, (0..20).collect::<Vec<_>>());
    server.stop().await.expect("nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_again_to_another_server_is_stored_once() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let server = || {
        let mut settings = database.settings();
        settings.spool_dir = Some(folder.path().to_owned());
        TestServer::start(receiving(settings))
    };
    let just_now = |sequence| {
        let mut message = request(sequence);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        for span in &mut message.resource_spans[0].scope_spans[0].spans {
            span.start_time_unix_nano = now.as_nanos() as u64 - 2_000_000;
            span.end_time_unix_nano = now.as_nanos() as u64 - 1_000_000;
        }
        message
    };
    let (first, second) = (server(), server());
    let to_both = async |kind, body: Vec<u8>| {
        for server in [&first, &second] {
            assert_eq!(post(server, kind, body.clone()).await.status(), StatusCode::OK);
        }
    };
    to_both(PROTOBUF, just_now(0..5).encode_to_vec()).await;
    to_both(JSON, serde_json::to_vec(&just_now(5..10)).expect("JSON")).await;
    assert_eq!(database.sequences().await, (0..10).collect::<Vec<_>>());

    database.take_away().await;
    to_both(PROTOBUF, just_now(10..15).encode_to_vec()).await;
    database.bring_back().await;
    let left = || {
        std::fs::read_dir(folder.path())
            .expect("the spool")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".spool"))
    };
    eventually("the spool is replayed", || async { left().count() == 0 }).await;
    assert_eq!(database.sequences().await, (0..15).collect::<Vec<_>>());
    first.stop().await.expect("stopped");
    second.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_the_ids_and_times_of_another_is_another_where_its_spans_differ() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    let first = request(0..2);
    let mut second = first.clone();
    for (span, number) in second.resource_spans[0].scope_spans[0].spans.iter_mut().zip(2..) {
        let value = AnyValue { value: Some(any_value::Value::IntValue(number)) };
        span.attributes[0].value = Some(value);
    }
    for batch in [&first, &second, &first, &second] {
        client.export(batch.clone()).await.expect("taken");
    }
    assert_eq!(database.sequences().await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_spans_are_taken_while_the_database_is_away() {
    let database = database().await;
    let spool = tempfile::tempdir().expect("a folder");
    let mut settings = database.settings();
    settings.max_retries = 1;
    settings.spool_dir = Some(spool.path().to_owned());
    let server = TestServer::start(receiving(settings));
    database.take_away().await;
    let answer = post(&server, PROTOBUF, request(0..10).encode_to_vec()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    database.bring_back().await;
    eventually("the spool is replayed", || async { database.sequences().await.len() == 10 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spool_a_sender_waits_for_a_slow_database() {
    let database = database().await;
    let mut settings = database.settings();
    settings.hand_over_seconds = 1;
    let server = TestServer::start(receiving(settings));
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NEW; END $$; \
             CREATE TRIGGER slow BEFORE INSERT ON otel.batches FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let answer = post(&server, PROTOBUF, request(0..10).encode_to_vec()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(database.sequences().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_another_name_lead_here_sends_no_spans() {
    let database = database().await;
    let mut config = receiving(database.settings());
    config.allowed_hosts = vec!["traces.example".into()];
    let server = TestServer::start(config);
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let sends = async |host: &str, origin: Option<&str>| {
        let asked = |url: String, kind: &str| {
            let asked = reqwest::Client::new().post(url).header("content-type", kind).header("host", host);
            origin.into_iter().fold(asked, |asked, origin| asked.header("origin", origin)).body("").send()
        };
        let http = asked(server.traces(), PROTOBUF).await.expect("an answer").status();
        let grpc = asked(server.grpc() + export, "application/grpc").await.expect("an answer").status();
        assert_eq!(http, grpc, "{host} {origin:?}");
        http
    };
    for origin in ["http://evil.example:4318", "null"] {
        assert_eq!(sends("evil.example:4318", Some(origin)).await, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(sends("traces.example", Some("http://traces.example")).await, StatusCode::OK);
    assert_eq!(sends("localhost:4318", Some("http://localhost:4318")).await, StatusCode::OK);
    // Senders are no pages, and may call the server by any name.
    assert_eq!(sends("host.docker.internal:4318", None).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_to_come_again() {
    let database = database().await;
    let mut config = receiving(database.settings());
    config.limits.receiving = 1;
    let server = TestServer::start(config);
    // One request that does not come to its end.
    let mut open =
        TcpStream::connect(server.addresses.otlp_http.expect("an address")).await.expect("connected");
    let begin =
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    open.write_all(begin.as_bytes()).await.expect("sent");
    let server_ref = &server;
    eventually("another is refused", || async move {
        let answer = post(server_ref, PROTOBUF, Vec::new()).await;
        answer.status() == StatusCode::TOO_MANY_REQUESTS && answer.headers().contains_key("retry-after")
    })
    .await;
    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    let refused = client.export(request(0..1)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some(), "otherwise a sender drops the spans");
    open.write_all(b"}").await.expect("sent");
    let mut answer = [0; 12];
    open.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    client.export(request(0..1)).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_gone_without_a_word_keeps_no_connection() {
    /// POST /, as HTTP/2's static table has it, that ends the request.
    const REQUEST: &[u8] = &[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x83, 0x86, 0x84];
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let address = server.addresses.otlp_grpc.expect("an address");
    let mut gone = TcpStream::connect(address).await.expect("connected");
    gone.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS, REQUEST].concat()).await.expect("sent");
    // Pings come, and are not answered.
    let mut frames = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(90), gone.read_to_end(&mut frames)).await;
    ended.expect("the connection ends").expect("read");
    assert!(!frames.is_empty(), "the request was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_brings_the_token_is_let_in() {
    let database = database().await;
    let mut config = receiving(database.settings());
    config.credentials = Credentials::Bearer("s3cret".into());
    let server = TestServer::start(config);
    let body = request(0..1).encode_to_vec();
    let refused = post(&server, PROTOBUF, body.clone()).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers()["www-authenticate"].to_str().expect("text").starts_with("Bearer"));
    let client = reqwest::Client::new();
    let sent = client.post(server.traces()).header("content-type", PROTOBUF).bearer_auth("s3cret").body(body);
    assert_eq!(sent.send().await.expect("an answer").status(), StatusCode::OK);
    let services = server.url("/api/services");
    assert_eq!(client.get(&services).send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let looked = client.get(&services).bearer_auth("s3cret").send().await.expect("an answer");
    assert_eq!(looked.status(), StatusCode::OK);

    let mut client = TraceServiceClient::connect(server.grpc()).await.expect("connected");
    let refused = client.export(request(1..2)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut allowed = tonic::Request::new(request(1..2));
    allowed.metadata_mut().insert("authorization", "Bearer s3cret".parse().expect("a header"));
    client.export(allowed).await.expect("let in");
    assert_eq!(database.sequences().await, [0, 1]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_connections_are_encrypted() {
    let database = database().await;
    let authority = crate::support::certificates::Authority::new("authority");
    let certificate = authority.server(&["localhost"]);
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&tls.certificate, certificate.cert).expect("written");
    std::fs::write(&tls.key, certificate.key).expect("written");
    let mut config = receiving(database.settings());
    config.tls = Some(tls);
    let server = TestServer::start(config);
    let trusted = reqwest::Certificate::from_pem(authority.cert.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().add_root_certificate(trusted).build().expect("a client");
    let url = |address: std::net::SocketAddr| format!("https://localhost:{}", address.port());
    let sent = client.post(url(server.addresses.otlp_http.expect("an address")) + "/v1/traces");
    let sent = sent.header("content-type", PROTOBUF).body(request(0..1).encode_to_vec());
    assert_eq!(sent.send().await.expect("an answer").status(), StatusCode::OK);
    let looked = client.get(url(server.addresses.api) + "/api/services").send().await.expect("an answer");
    assert_eq!(looked.status(), StatusCode::OK);
    assert!(reqwest::get(server.url("/api/services")).await.is_err(), "not without encryption");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_what_is_under_way() {
    let database = database().await;
    let server = TestServer::start(receiving(database.settings()));
    let address = server.addresses.otlp_http.expect("an address");
    let mut open = TcpStream::connect(address).await.expect("connected");
    let body = request(0..1).encode_to_vec();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    open.write_all(head.as_bytes()).await.expect("sent");
    // Whoever is told to go on is under way.
    let mut told = [0; 21];
    open.read_exact(&mut told).await.expect("told");
    assert_eq!(&told, b"HTTP/1.1 100 Continue");
    let stopping = tokio::spawn(server.stop());
    eventually("no more are let in", || async { TcpStream::connect(address).await.is_err() }).await;
    open.write_all(&body).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), open.read_to_end(&mut answer))
        .await
        .expect("in time")
        .expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    stopping.await.expect("no panic").expect("stopped");
    assert_eq!(database.sequences().await, [0]);
}

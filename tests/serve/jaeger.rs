//! Jaeger's API, route by route, against answers recorded from Jaeger's documented format (tests/data/jaeger_api).

use std::sync::Arc;

use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, looking};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::span::{
    Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value,
};
use reqwest::StatusCode as Http;
use serde_json::{Value as Json, json};

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const MILLISECOND: i128 = 1_000_000;
/// 2026-01-01.
const BEGIN: i128 = 1_767_225_600_000 * MILLISECOND;

fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}

fn resource(service: &str, more: Vec<Attribute<'static>>) -> Arc<Resource> {
    let name = ("service.name".into(), text(service));
    Arc::new(Resource { attributes: std::iter::once(name).chain(more).collect(), ..Resource::default() })
}

fn payments() -> Arc<Resource> {
    resource("payments", vec![("cloud.region".into(), text("eu"))])
}

fn span(
    trace: u128,
    id: u8,
    parent: u8,
    resource: Arc<Resource>,
    name: &str,
    at: i128,
    took: i128,
) -> Span<'static> {
    Span {
        resource,
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(u64::from(id)),
        parent_span_id: SpanId::from(u64::from(parent)),
        name: name.to_owned().into(),
        start: Timestamp(BEGIN + at * MILLISECOND),
        end: Timestamp(BEGIN + (at + took) * MILLISECOND),
        ..Span::default()
    }
}

/// A cart whose payment fails, and a refund without its parent.
fn shop() -> Vec<Span<'static>> {
    let root = Span {
        scope: Arc::new(Scope { name: "http".into(), version: "1.2".into(), ..Scope::default() }),
        kind: 2,
        flags: 1,
        attributes: vec![
            ("http.response.status_code".into(), Value::Int(500)),
            ("cache.hit".into(), Value::Bool(false)),
        ],
        ..span(TRACE, 0xa1, 0, resource("frontend", Vec::new()), "GET /cart", 0, 250)
    };
    let payment = Span {
        kind: 3,
        attributes: vec![
            ("amount".into(), Value::Double(12.5)),
            ("big".into(), Value::Int(9_007_199_254_740_993)),
            ("raw".into(), Value::Bytes(vec![0, 255].into())),
            ("items".into(), Value::Array(vec![text("a"), Value::Int(2)])),
        ],
        events: vec![Event {
            time: Timestamp(BEGIN + 20 * MILLISECOND),
            name: "exception".into(),
            attributes: vec![("exception.type".into(), text("CardExpired"))],
            dropped_attributes_count: 0,
        }],
        links: vec![Link {
            trace_id: TraceId::from(0xff),
            span_id: SpanId::from(0xb1),
            trace_state: "".into(),
            flags: 0,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
        }],
        status: Status { code: StatusCode::ERROR, message: "card declined".into() },
        ..span(TRACE, 0xa2, 0xa1, payments(), "authorize card", 10, 100)
    };
    vec![root, payment, span(0xff, 0xb1, 0xb0, payments(), "refund", -60_000, 5)]
}

struct Shop {
    server: TestServer,
    store: TraceStore,
    _database: TestDatabase,
}

impl Shop {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let store = database.store();
        store.batch_store(&shop()).await.expect("stored");
        Shop { server: TestServer::start(looking(database.settings())), store, _database: database }
    }

    async fn get(&self, path: &str) -> (Http, Json) {
        let answer = reqwest::get(self.server.url(path)).await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn answers(&self, path: &str, status: Http, recorded: &str) {
        let (got, answer) = self.get(path).await;
        let file = format!("{}/tests/data/jaeger_api/{recorded}", env!("CARGO_MANIFEST_DIR"));
        let recorded: Json = serde_json::from_slice(&std::fs::read(&file).expect("recorded")).expect("JSON");
        assert_eq!((got, &answer), (status, &recorded), "{path}: {answer:#}");
    }

    /// The ids of the traces that `/api/traces` finds, without zeros at the front.
    async fn found(&self, query: &str) -> Vec<String> {
        let (status, answer) = self.get(&format!("/api/traces?{query}")).await;
        assert_eq!(status, Http::OK, "{query}: {answer}");
        let id = |trace: &Json| trace["traceID"].as_str().expect("an id").trim_start_matches('0').to_owned();
        answer["data"].as_array().expect("traces").iter().map(id).collect()
    }
}

const CART: &str = "af7651916cd43dd8448eb211c80319c";
const REFUND: &str = "ff";

#[tokio::test(flavor = "multi_thread")]
async fn each_route_answers_as_jaeger_does() {
    let shop = Shop::open().await;
    let period = "query.startTimeMin=2025-12-31T00:00:00Z&query.startTimeMax=2026-01-02T00:00:00Z";
    for (path, status, recorded) in [
        ("/api/services", Http::OK, "services.json"),
        ("/api/services/payments/operations", Http::OK, "operation_names.json"),
        ("/api/operations?service=payments", Http::OK, "operations.json"),
        ("/api/traces/0af7651916cd43dd8448eb211c80319c", Http::OK, "trace.json"),
        ("/api/traces/af7651916cd43dd8448eb211c80319c", Http::OK, "trace.json"),
        ("/api/traces?service=frontend", Http::OK, "trace.json"),
        ("/api/traces?traceID=0af7651916cd43dd8448eb211c80319c", Http::OK, "trace.json"),
        ("/api/traces/1", Http::NOT_FOUND, "not_found.json"),
        ("/api/v3/services", Http::OK, "v3_services.json"),
        ("/api/v3/operations?service=payments", Http::OK, "v3_operations.json"),
        (&format!("/api/v3/trace-summaries?{period}"), Http::OK, "v3_summaries.json"),
        ("/api/v3/traces/000000000000000000000000000000ff", Http::OK, "v3_trace.json"),
        (
            &format!("/api/v3/traces?query.serviceName=payments&query.operationName=refund&{period}"),
            Http::OK,
            "v3_trace.json",
        ),
        ("/api/v3/traces/1", Http::NOT_FOUND, "v3_not_found.json"),
    ] {
        shop.answers(path, status, recorded).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_in_jaegers_envelopes() {
    let shop = Shop::open().await;
    for (path, status, message) in [
        ("/api/traces", 400, "parameter 'service' is required"),
        ("/api/traces?service=s&tag=x", 400, "malformed 'tag' parameter, expecting key:value, received: x"),
        ("/api/traces/no-id", 400, "\"no-id\" is not up to 32 hexadecimal digits"),
        ("/api/operations", 400, "parameter 'service' is required"),
        ("/api/services/a%00/operations", 400, "malformed path: a text has no character U+0000"),
        ("/api/nothing", 404, "there is no /api/nothing"),
    ] {
        let (got, answer) = shop.get(path).await;
        assert_eq!(got.as_u16(), status, "{path}");
        assert_eq!(answer["errors"], json!([{"code": status, "msg": message}]), "{path}");
        assert_eq!(answer["data"], Json::Null);
    }
    let (got, answer) = shop.get("/api/v3/traces?query.serviceName=s").await;
    assert_eq!(got, Http::BAD_REQUEST);
    let message = "query.startTimeMin and query.startTimeMax are required";
    assert_eq!(answer, json!({"error": {"httpCode": 400, "message": message}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_postgresql_does_not_have_are_before_or_after_all_others() {
    let shop = Shop::open().await;
    for path in [
        "/?q=last:3000000d",
        "/api/search?since=-009000-01-01T00:00:00Z",
        "/api/stats/services?since=-009000-01-01T00:00:00Z",
        "/api/stats/dependencies?since=-009000-01-01T00:00:00Z",
        "/new?since=3000000d",
        "/api/new?since=-009000-01-01T00:00:00Z",
        "/api/traces?service=checkout&start=-9223372036854775808&end=9223372036854775807",
        "/api/dependencies?endTs=9223372036854775807&lookback=9223372036854775807",
        "/api/dependencies?endTs=-9223372036854775808",
        "/api/metrics/calls?service=checkout&endTs=9223372036854775807&lookback=9223372036854775807&step=9223372036854775807",
        "/api/metrics/calls?service=checkout&endTs=-9223372036854775808",
    ] {
        let answer = reqwest::get(shop.server.url(path)).await.expect("an answer");
        let status = answer.status().as_u16();
        assert!(matches!(status, 200 | 400), "{path}: {status} {}", answer.text().await.unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_match_wherever_a_span_has_them_and_whatever_their_type() {
    let shop = Shop::open().await;
    for (tag, expected) in [
        // Of the span.
        ("http.response.status_code:500", vec![CART]),
        ("http.status_code:500", vec![CART]),
        ("http.response.status_code:404", vec![]),
        ("cache.hit:false", vec![CART]),
        // Of another span than the service's.
        ("amount:12.5", vec![]),
        // Of the scope.
        ("otel.scope.name:http", vec![CART]),
        ("scope.name:grpc", vec![]),
        ("span.kind:server", vec![CART]),
        ("span.kind:client", vec![]),
        ("error:false", vec![CART]),
        ("error:true", vec![]),
    ] {
        assert_eq!(shop.found(&format!("service=frontend&tag={tag}")).await, expected, "{tag}");
    }
    for (tags, expected) in [
        (json!({"amount": "12.5"}), vec![CART]),
        (json!({"amount": "12.50"}), vec![CART]),
        (json!({"big": "9007199254740993"}), vec![CART]),
        (json!({"items": "a"}), vec![CART]),
        // Of the resource, of each of its spans.
        (json!({"cloud.region": "eu"}), vec![CART, REFUND]),
        (json!({"resource.cloud.region": "eu"}), vec![CART, REFUND]),
        (json!({"cloud.region": "us"}), vec![]),
        // Of an event.
        (json!({"exception.type": "CardExpired"}), vec![CART]),
        (json!({"exception.type": "CardStolen"}), vec![]),
        (json!({"error": "true"}), vec![CART]),
        (json!({"error": "false"}), vec![REFUND]),
        (json!({"otel.status_code": "ERROR"}), vec![CART]),
        // All of them, of one span.
        (json!({"cloud.region": "eu", "amount": "12.5", "error": "true"}), vec![CART]),
        (json!({"cloud.region": "eu", "amount": "13"}), vec![]),
    ] {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("service", "payments")
            .append_pair("tags", &tags.to_string())
            .finish();
        assert_eq!(shop.found(&query).await, expected, "{tags}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_durations_limits_and_order_are_jaegers() {
    let shop = Shop::open().await;
    let cart = BEGIN / 1000;
    for (query, expected) in [
        ("".to_owned(), vec![CART, REFUND]),
        ("&limit=1".to_owned(), vec![CART]),
        ("&operation=refund".to_owned(), vec![REFUND]),
        ("&minDuration=50ms".to_owned(), vec![CART]),
        ("&maxDuration=50ms".to_owned(), vec![REFUND]),
        ("&minDuration=100ms&maxDuration=100ms".to_owned(), vec![CART]),
        ("&minDuration=101ms".to_owned(), vec![]),
        (format!("&start={}", cart + 10_000), vec![CART]),
        (format!("&start={}", cart + 10_001), vec![]),
        (format!("&end={}", cart - 60_000_000), vec![REFUND]),
        (format!("&end={}", cart - 60_000_001), vec![]),
        (format!("&end={}&lookback=1h", cart), vec![REFUND]),
        (format!("&end={}&lookback=1s", cart), vec![]),
    ] {
        assert_eq!(shop.found(&format!("service=payments{query}")).await, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_and_a_route_find_by_meaning() {
    let shop = Shop::open().await;
    shop.store.flush().await.expect("embedded");
    let found = shop.found("service=payments&tag=search.text:credit card was refused").await;
    assert_eq!(found.first().map(String::as_str), Some(CART));
    let found = shop.found("tag=search.text:credit card was refused").await;
    assert_eq!(found.first().map(String::as_str), Some(CART), "the service may be left out");
    let (status, answer) = shop.get("/api/search?q=credit+card+was+refused&status=error").await;
    assert_eq!(status, Http::OK);
    let best = &answer["traces"][0];
    assert_eq!(best["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&best["rootService"], &best["rootName"]), (&json!("frontend"), &json!("GET /cart")));
    assert_eq!(best["spans"][0]["message"], "card declined");
    assert!(best["score"].as_f64().expect("a score") > 0.2, "{best}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_map_is_of_what_was_counted() {
    let shop = Shop::open().await;
    shop.store.count_dependencies(std::time::Duration::ZERO).await.expect("counted");
    let end = BEGIN / MILLISECOND;
    let path = format!("/api/dependencies?endTs={end}&lookback=3600000");
    shop.answers(&path, Http::OK, "dependencies.json").await;
    shop.answers(&format!("{path}&service=payments"), Http::OK, "dependencies.json").await;
    for nothing in [format!("{path}&service=other"), format!("/api/dependencies?endTs={}", end - 7_200_000)] {
        let (status, answer) = shop.get(&nothing).await;
        assert_eq!((status, &answer["data"]), (Http::OK, &json!([])), "{nothing}");
    }
    let (status, _) = shop.get("/api/dependencies?endTs=now").await;
    assert_eq!(status, Http::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_has_rates_errors_and_latencies() {
    let shop = Shop::open().await;
    // One step of ten seconds from the cart's start, and one before.
    let end = BEGIN / MILLISECOND + 10_000;
    let period =
        format!("service=payments&spanKind=client&endTs={end}&lookback=20000&step=10000&ratePer=10000");
    shop.answers(&format!("/api/metrics/calls?{period}"), Http::OK, "metrics_calls.json").await;
    shop.answers(
        &format!("/api/metrics/errors?{period}&groupByOperation=true"),
        Http::OK,
        "metrics_errors.json",
    )
    .await;
    let (status, answer) = shop.get(&format!("/api/metrics/latencies?{period}&quantile=0.95")).await;
    assert_eq!((status, &answer["name"]), (Http::OK, &json!("service_latencies")));
    let latency = &answer["metrics"][0]["metricPoints"][1]["gaugeValue"]["doubleValue"];
    let latency = latency.as_f64().expect("milliseconds");
    assert!((100.0..105.1).contains(&latency), "{latency}");
    for (path, status) in [
        ("/api/metrics/calls", 400),
        ("/api/metrics/latencies?service=payments", 400),
        ("/api/metrics/calls?service=payments&spanKind=sideways", 400),
        ("/api/metrics/calls?service=payments&step=1&lookback=3600000", 400),
        ("/api/metrics/calls?service=payments&step=0", 400),
        ("/api/metrics/moods?service=payments", 404),
    ] {
        assert_eq!(shop.get(path).await.0.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_values_and_queries_come_back_as_they_are() {
    let database = TestDatabase::create().await;
    let hostile = [
        "<script>alert(1)</script>".to_owned(),
        "'; DROP TABLE otel.span_rows; --".to_owned(),
        "\"}]}\\u0000%s%1$s".to_owned(),
        "\u{202e}drac ezirohtua\u{202c}".to_owned(),
        "../../etc/passwd%00".to_owned(),
        "x".repeat(1 << 20),
    ];
    let spans: Vec<Span<'_>> = (1..)
        .zip(&hostile)
        .map(|(id, text)| Span {
            attributes: vec![("hostile".into(), Value::String(text.as_str().into()))],
            name: text.chars().take(1000).collect::<String>().into(),
            ..span(u128::from(id), id, 0, resource("hostile <b>&\"'", Vec::new()), "", i128::from(id), 1)
        })
        .collect();
    database.store().batch_store(&spans).await.expect("stored");
    let server = TestServer::start(looking(database.settings()));
    let client = reqwest::Client::new();
    let stored = database.store().services().await.expect("services");
    for (id, text) in (1..).zip(&hostile) {
        let url = server.url(&format!("/api/traces/{id:x}"));
        let trace: Json = client.get(url).send().await.expect("an answer").json().await.expect("JSON");
        let span = &trace["data"][0]["spans"][0];
        let stored_text = text.replace('\0', "␀");
        assert_eq!(span["tags"][0]["value"], stored_text.as_str());
        assert_eq!(span["operationName"], stored_text.chars().take(1000).collect::<String>());
        // As a condition it is a value and nothing else; a megabyte of it is no URL.
        if text.len() < 1000 {
            for (name, value) in [("tags", json!({"hostile": text}).to_string()), ("operation", text.clone())]
            {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("service", &stored[0])
                    .append_pair(name, &value)
                    .finish();
                let url = server.url(&format!("/api/traces?{query}"));
                let found: Json =
                    client.get(url).send().await.expect("an answer").json().await.expect("JSON");
                let found = found["data"].as_array().expect("traces");
                assert_eq!(found.len(), 1, "{name} {value}");
                assert_eq!(found[0]["spans"][0]["tags"][0]["value"], stored_text.as_str());
            }
        }
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("spanKind", text).finish();
        if text.len() < 1000 {
            let url = server.url(&format!("/api/operations?service=x&{query}"));
            assert_eq!(client.get(url).send().await.expect("an answer").status(), Http::OK);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_no_more_spans_than_the_limit_but_a_trace_is_whole() {
    let database = TestDatabase::create().await;
    let spans: Vec<Span<'_>> = (0..30u8)
        .map(|at| span(u128::from(at % 3) + 1, at + 1, 0, payments(), "refund", i128::from(at), 1))
        .collect();
    database.store().batch_store(&spans).await.expect("stored");
    let mut config = looking(database.settings());
    config.limits.spans = 15;
    config.limits.traces = 2;
    let server = TestServer::start(config);
    let answer =
        reqwest::get(server.url("/api/traces?service=payments&limit=1500")).await.expect("an answer");
    let answer: Json = answer.json().await.expect("JSON");
    let sizes: Vec<usize> = answer["data"]
        .as_array()
        .expect("traces")
        .iter()
        .map(|trace| trace["spans"].as_array().expect("spans").len())
        .collect();
    assert_eq!(sizes, [10, 10]);
}

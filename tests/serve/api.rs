//! Our own API against its OpenAPI document: the document is one, every route is in it, and what is answered fits.

use std::collections::BTreeSet;

use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, looking, receiving};
use crate::support::spans::{call, service};
use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::serve::{Config, Credentials};
use opentelemetry_pgvector::span::{Event, Span, Status, StatusCode, Timestamp, Value};
use reqwest::StatusCode as Http;
use serde_json::{Value as Json, json};

/// A name that is anything but a name.
const HOSTILE: &str = "<script>alert(document.cookie)</script>'; DROP TABLE span_rows; --\u{202e}";

/// A checkout that calls payments, which fail.
fn spans() -> Vec<Span<'static>> {
    let (checkout, payments) = (service("checkout"), service("payments"));
    let mut spans = Vec::new();
    for trace in 1..=4 {
        spans.push(call(trace, 1, 0, &checkout, "POST /cart", 0, 200));
        let mut charge = call(trace, 2, 1, &payments, "charge card", 10, 100);
        charge.status = Status { code: StatusCode::ERROR, message: "card declined".into() };
        charge.attributes = vec![
            ("amount".into(), Value::Double(12.5)),
            ("big".into(), Value::Int(i64::MAX)),
            ("not a number".into(), Value::Double(f64::NAN)),
            ("items".into(), Value::Array(vec![Value::Int(1), Value::Bytes(vec![0, 255].into())])),
        ];
        charge.events = vec![Event {
            time: Timestamp(charge.start.0 + 1),
            name: "exception".into(),
            attributes: vec![("exception.type".into(), Value::String("CardExpired".into()))],
            dropped_attributes_count: 0,
        }];
        spans.push(charge);
    }
    spans.push(call(9, 1, 0, &service(HOSTILE), HOSTILE, 0, 5));
    spans
}

struct Api {
    server: TestServer,
    document: Json,
    _database: TestDatabase,
}

impl Api {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let store = database.store();
        store.batch_store(&spans()).await.expect("stored");
        store.flush().await.expect("embedded");
        store.count_dependencies(std::time::Duration::ZERO).await.expect("counted");
        let server = TestServer::start(looking(database.settings()));
        let document = reqwest::get(server.url("/api/openapi.json")).await.expect("an answer");
        let document = document.json().await.expect("JSON");
        Api { server, document, _database: database }
    }

    async fn get(&self, path: &str) -> (Http, Json) {
        let answer = reqwest::get(self.server.url(path)).await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// Answers a route as its document says for this status.
    async fn fits(&self, route: &str, path: &str, status: Http) -> Json {
        let (got, answer) = self.get(path).await;
        assert_eq!(got, status, "{path}: {answer}");
        let response = &self.document["paths"][route]["get"]["responses"][status.as_str()];
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{route} has no schema for {status}");
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let errors: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?} in {answer:#}");
        answer
    }
}

fn trace(number: u128) -> String {
    format!("{number:032x}")
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let api = Api::open().await;
    let found = api.fits("/api/search", "/api/search?q=payment+declined&limit=1", Http::OK).await;
    assert_eq!(found["traces"].as_array().map(Vec::len), Some(1));
    assert!(found["traces"][0]["spans"][0]["score"].as_f64() > Some(0.2));
    let next = found["next"].as_str().expect("there are more");
    let more = format!("/api/search?q=payment+declined&limit=1&page={next}");
    assert_ne!(api.fits("/api/search", &more, Http::OK).await["traces"], found["traces"]);

    for (period, expected) in
        [("last=1s", 0), ("last=1h", 5), ("last=all", 5), ("last=all&until=2020-01-01T00:00:00Z", 0)]
    {
        let found = api.fits("/api/search", &format!("/api/search?{period}"), Http::OK).await;
        assert_eq!(found["traces"].as_array().map(Vec::len), Some(expected), "{period}");
    }

    let one = trace(1);
    let spans = api.fits("/api/spans/{traceId}", &format!("/api/spans/{one}"), Http::OK).await;
    let charge = &spans["spans"][1];
    assert_eq!(charge["parentSpanId"], spans["spans"][0]["spanId"]);
    assert_eq!(
        charge["attributes"],
        json!({"amount": 12.5, "big": "9223372036854775807", "not a number": "NaN", "items": [1, "AP8="]})
    );
    assert_eq!((&charge["status"], &charge["statusMessage"]), (&json!("error"), &json!("card declined")));
    assert_eq!(charge["events"][0]["attributes"]["exception.type"], "CardExpired");

    let similar = api.fits("/api/similar/{traceId}", &format!("/api/similar/{one}?limit=2"), Http::OK).await;
    assert_eq!(similar["traces"].as_array().map(Vec::len), Some(2));
    assert_eq!((&similar["traces"][0]["score"], &similar["traces"][0]["missing"]), (&json!(1.0), &json!(0)));

    let new = api.fits("/api/new", "/api/new?last=1h", Http::OK).await;
    let names: BTreeSet<&str> =
        new["operations"].as_array().into_iter().flatten().filter_map(|new| new["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["POST /cart", "charge card", HOSTILE]));
    assert_eq!(
        api.fits("/api/new", "/api/new?last=1h&service=none", Http::OK).await["operations"],
        json!([])
    );

    let suggested = api.fits("/api/suggest", "/api/suggest?q=declined+service:pay", Http::OK).await;
    assert_eq!(suggested[0]["text"], "declined service:payments ");

    let health = api.fits("/api/health", "/api/health", Http::OK).await;
    assert_eq!((&health["healthy"], &health["spanCount"]), (&json!(true), &json!(9)));
    assert_eq!(health["exporter"], Json::Null);
}

#[tokio::test]
async fn figures_are_counted_from_the_spans() {
    let api = Api::open().await;
    let services = api.fits("/api/stats/services", "/api/stats/services?steps=4", Http::OK).await;
    assert_eq!((&services["isWhole"], &services["spanCount"]), (&json!(true), &json!(9)));
    let payments = &services["services"][2];
    assert_eq!(
        (&payments["service"], &payments["spanCount"], &payments["errorSpanCount"]),
        (&json!("payments"), &json!(4), &json!(4))
    );
    let steps = payments["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 4);
    assert_eq!(steps.iter().filter_map(|step| step["errorSpanCount"].as_u64()).sum::<u64>(), 4);
    // All took 100 ms.
    let p99: u64 = payments["p99Nanos"].as_str().expect("a text").parse().expect("a number");
    assert!((100_000_000..=105_000_000).contains(&p99), "{p99}");

    let of = "/api/stats/operations?service=payments&last=2h";
    let operations = api.fits("/api/stats/operations", of, Http::OK).await;
    let charge = &operations["operations"][0];
    assert_eq!((&charge["name"], &charge["kind"]), (&json!("charge card"), &json!("client")));
    assert_eq!((&charge["spanCount"], &operations["spanCount"]), (&json!(4), &json!(4)));
    let rate = charge["spansPerSecond"].as_f64().expect("a rate");
    assert!((rate - 4.0 / 7200.0).abs() < 1e-9, "{rate}");
    let before = format!("{of}&until=2020-01-01T00:00:00Z");
    assert_eq!(api.fits("/api/stats/operations", &before, Http::OK).await["operations"], json!([]));

    let map = api.fits("/api/stats/dependencies", "/api/stats/dependencies", Http::OK).await;
    assert_eq!(
        map["dependencies"],
        json!([{"parent": "checkout", "child": "payments", "calls": 4, "errors": 4}])
    );
}

#[tokio::test]
async fn a_service_without_a_name_has_operations_too() {
    let database = TestDatabase::create().await;
    database.store().batch_store(&[call(1, 1, 0, &service(""), "tick", 0, 5)]).await.expect("stored");
    let server = TestServer::start(looking(database.settings()));
    let answer = async |path: &str| -> Json {
        reqwest::get(server.url(path)).await.expect("an answer").json().await.expect("JSON")
    };
    assert_eq!(answer("/api/stats/services").await["services"][0]["service"], "");
    assert_eq!(answer("/api/stats/operations?service=").await["operations"][0]["name"], "tick");
}

#[tokio::test]
async fn what_cannot_be_answered_has_one_envelope() {
    let api = Api::open().await;
    let cases = [
        ("/api/search", "/api/search?limit=many", "malformed parameter limit"),
        ("/api/search", "/api/search?since=yesterday", "malformed parameter since"),
        ("/api/search", "/api/search?status=bad", "malformed parameter status"),
        ("/api/search", "/api/search?attribute=%3D", "malformed parameter attribute"),
        ("/api/search", "/api/search?page=x", "malformed parameter page"),
        ("/api/spans/{traceId}", "/api/spans/%27%3B%20DROP", "malformed parameter traceId"),
        ("/api/similar/{traceId}", "/api/similar/xyz", "malformed parameter traceId"),
        ("/api/new", "/api/new?last=0s", "malformed parameter last"),
        ("/api/stats/services", "/api/stats/services?steps=x", "malformed parameter steps"),
        ("/api/search", "/api/search?q=a%00", "malformed parameter q"),
        ("/api/search", "/api/search?service=a&attribute=k%3D%00", "malformed parameter attribute"),
        ("/api/stats/operations", "/api/stats/operations", "parameter service is required"),
        ("/api/stats/dependencies", "/api/stats/dependencies?last=9000d", "malformed parameter last"),
    ];
    for (route, path, expected) in cases {
        let answer = api.fits(route, path, Http::BAD_REQUEST).await;
        assert_eq!(answer["error"]["httpCode"], 400, "{path}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(expected), "{path}: {message}");
    }
    let unknown = format!("/api/spans/{}", trace(0xdead));
    api.fits("/api/spans/{traceId}", &unknown, Http::NOT_FOUND).await;
}

#[tokio::test]
async fn the_document_describes_all_of_the_routes() {
    let api = Api::open().await;
    let document = &api.document;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{document}");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let routes: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    for expected in [
        "/api/health",
        "/api/new",
        "/api/search",
        "/api/similar/{traceId}",
        "/api/spans/{traceId}",
        "/api/stats/dependencies",
        "/api/stats/operations",
        "/api/stats/services",
        "/api/suggest",
    ] {
        assert!(routes.iter().any(|route| *route == expected), "{expected} in {routes:?}");
    }
    for route in routes {
        let get = &document["paths"][route]["get"];
        assert!(get["summary"].as_str().is_some_and(|text| !text.is_empty()), "{route} is not described");
        for parameter in get["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{route}: {parameter}");
            assert!(parameter["schema"].is_object(), "{route}: {parameter}");
            let in_path = parameter["in"] == "path";
            let name = parameter["name"].as_str().expect("a name");
            assert_eq!(in_path, route.contains(&format!("{{{name}}}")), "{route}: {name}");
        }
        // Each is there: it answers something other than that there is no such route.
        let (status, answer) = api.get(&route.replace("{traceId}", &trace(1))).await;
        let unknown = answer["errors"][0]["msg"].as_str().is_some_and(|text| text.starts_with("there is no"));
        assert!(!unknown, "{route}: {status} {answer}");
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().expect("a reference");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    // As JSON Schema, which OpenAPI 3.1 has its schemas in, each is valid.
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        assert!(schema["description"].is_string(), "{name} is not described");
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn what_a_span_brings_is_text_and_nothing_else() {
    let api = Api::open().await;
    let services = api.fits("/api/stats/services", "/api/stats/services", Http::OK).await;
    assert_eq!(services["services"][0]["service"], HOSTILE);
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("service", HOSTILE)
        .append_pair("last", "1h")
        .finish();
    let of = format!("/api/stats/operations?{query}");
    let operations = api.fits("/api/stats/operations", &of, Http::OK).await;
    assert_eq!(operations["operations"][0]["name"], HOSTILE);
    // Nothing was dropped.
    assert_eq!(api.fits("/api/health", "/api/health", Http::OK).await["spanCount"], 9);
}

#[tokio::test]
async fn health_is_asked_without_a_database() {
    let mut settings = Settings::default();
    settings.connection_string = "postgresql://nobody:hunter2@127.0.0.1:1/none".into();
    let server = TestServer::start(looking(settings));
    let answer = reqwest::get(server.url("/api/health")).await.expect("an answer");
    assert_eq!(answer.status(), Http::SERVICE_UNAVAILABLE);
    let health = answer.text().await.expect("a body");
    assert!(health.contains("cannot connect to PostgreSQL") && !health.contains("hunter2"), "{health}");
}

#[tokio::test]
async fn a_standby_will_do_for_a_server_that_only_looks_and_for_what_is_received_elsewhere() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let (primary, mut standby) = (database.settings(), database.settings());
    standby.connection_string += " options='-c default_transaction_read_only=on' target_session_attrs=any";
    let mut elsewhere = receiving(standby.clone());
    elsewhere.receive.as_mut().expect("it receives").settings = primary;
    for (config, expected) in [
        (looking(standby.clone()), Http::OK),
        (elsewhere, Http::OK),
        (receiving(standby), Http::SERVICE_UNAVAILABLE),
    ] {
        let server = TestServer::start(config);
        let answer = reqwest::get(server.url("/api/health")).await.expect("an answer");
        assert_eq!(answer.status(), expected, "{}", answer.text().await.expect("a body"));
    }
}

#[tokio::test]
async fn health_has_what_was_received() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let server = TestServer::start(receiving(database.settings()));
    let message = json!({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [{
        "traceId": trace(7), "spanId": "00000000000000a1", "name": "work",
        "startTimeUnixNano": "1767225600000000000", "endTimeUnixNano": "1767225600000000005"}]}]}]});
    let sent = reqwest::Client::new().post(server.traces()).json(&message).send().await.expect("an answer");
    assert_eq!(sent.status(), Http::OK);
    let health: Json =
        reqwest::get(server.url("/api/health")).await.expect("an answer").json().await.expect("JSON");
    let exporter = &health["exporter"];
    assert_eq!((&exporter["received"], &exporter["acknowledged"]), (&json!(1), &json!(1)));
    assert_eq!((&exporter["breaker"], &exporter["dropped"]), (&json!("closed"), &json!(0)));
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn only_who_is_let_in_is_answered() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let credentials = Credentials::Bearer("s3cret".into());
    let server = TestServer::start(Config { credentials, ..looking(database.settings()) });
    let client = reqwest::Client::new();
    for path in ["/api/openapi.json", "/api/health", "/api/search", "/operations", "/map", "/health"] {
        let stranger = client.get(server.url(path)).send().await.expect("an answer");
        assert_eq!(stranger.status(), Http::UNAUTHORIZED, "{path}");
        assert!(stranger.headers().contains_key("www-authenticate"), "{path}");
        let known = client.get(server.url(path)).bearer_auth("s3cret").send().await.expect("an answer");
        assert_eq!(known.status(), Http::OK, "{path}");
    }
}

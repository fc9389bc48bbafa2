//! The pages for those who operate: operations, the service map, health. They are read as browsers get them.

use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, looking, receiving};
use crate::support::spans::{call, service};
use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::span::{Span, Status, StatusCode};
use reqwest::StatusCode as Http;

/// Names that would be something else than text if they were not escaped, and one of another writing direction.
const HOSTILE: &str = "<img src=x onerror=alert(document.cookie)>\"'; DROP TABLE span_rows; --\u{202e}";

/// Two services of which one fails sometimes, and a hostile one.
fn spans() -> Vec<Span<'static>> {
    let (checkout, payments, hostile) = (service("checkout"), service("payments"), service(HOSTILE));
    let mut spans = Vec::new();
    for trace in 1..=10 {
        spans.push(call(trace, 1, 0, &checkout, "POST /cart", 0, 200));
        spans.push(call(trace, 2, 1, &checkout, "render \"total\"", 5, 1));
        let mut charge = call(trace, 3, 1, &payments, "charge card", 10, 100);
        if trace > 8 {
            charge.status = Status { code: StatusCode::ERROR, message: "declined".into() };
        }
        spans.push(charge);
    }
    spans.push(call(1, 4, 3, &hostile, HOSTILE, 20, 5));
    spans
}

struct Site {
    server: TestServer,
    _database: TestDatabase,
}

impl Site {
    async fn open(spans: &[Span<'static>]) -> Self {
        let database = TestDatabase::create().await;
        let store = database.store();
        store.batch_store(spans).await.expect("stored");
        // Counts calls, and makes partitions ahead.
        store.maintain().await.expect("maintained");
        Site { server: TestServer::start(looking(database.settings())), _database: database }
    }

    async fn get(&self, path: &str) -> String {
        get(&self.server, path, Http::OK).await
    }
}

/// A page, which has to be HTML of ours alone.
async fn get(server: &TestServer, path: &str, status: Http) -> String {
    let answer = reqwest::get(server.url(path)).await.expect("an answer");
    assert_eq!(answer.status(), status, "{path}");
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8", "{path}");
    assert!(
        answer.headers()["content-security-policy"].to_str().is_ok_and(|policy| policy.contains("'none'"))
    );
    let page = answer.text().await.expect("a page");
    assert!(!page.contains("<img") && !page.contains(" style=") && !page.contains("javascript:"), "{page}");
    page
}

/// Where these texts are in a page, which is in this order.
fn in_order(page: &str, texts: &[&str]) {
    let mut rest = page;
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("no {text:?} in {rest}"));
        rest = &rest[at + text.len()..];
    }
}

#[tokio::test]
async fn services_lead_to_their_operations_and_these_to_their_spans() {
    let site = Site::open(&spans()).await;
    let services = site.get("/operations").await;
    // The most spans first.
    in_order(
        &services,
        &["31 spans", "<tbody>", "service=checkout", ">0<", "service=payments", "20 %", "</tbody>"],
    );

    let operations = site.get("/operations?service=payments&last=6h").await;
    in_order(
        &operations,
        &[
            "Operations of",
            "payments",
            "10 spans",
            "charge card",
            "client",
            ">2<",
            "20 %",
            "ms",
            "<svg class=\"spark\"",
        ],
    );
    // To the spans of just this operation, and to the failed ones.
    let query = "q=service%3Apayments+operation%3A%22charge+card%22+";
    assert!(operations.contains(&format!("href=\"/?{query}since")), "{operations}");
    assert!(operations.contains(&format!("href=\"/?{query}status%3Aerror+since")), "{operations}");
    assert!(operations.contains("10 spans, 2 errors over time"), "{operations}");
}

#[tokio::test]
async fn a_table_is_sorted_by_a_link_that_keeps_the_period() {
    let site = Site::open(&spans()).await;
    let page = site.get("/operations?service=checkout&last=6h&sort=p99").await;
    in_order(&page, &["aria-sort=\"descending\"", "p99", "<tbody>", "POST /cart", "render"]);
    assert!(page.contains("href=\"/operations?service=checkout&amp;last=6h&amp;sort=errors\""), "{page}");
    let by_name = site.get("/operations?sort=name").await;
    in_order(&by_name, &["aria-sort=\"ascending\"", "<tbody>", "onerror", "checkout", "payments"]);
    get(&site.server, "/operations?sort=color", Http::BAD_REQUEST).await;
    get(&site.server, "/operations?last=forever", Http::BAD_REQUEST).await;
}

#[tokio::test]
async fn a_period_without_spans_says_so() {
    let site = Site::open(&spans()).await;
    let page =
        site.get("/operations?service=checkout&since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z").await;
    in_order(&page, &["as linked", "0 spans", "2020-01-01 00:00:00.000 UTC", "No spans"]);
    let none = Site::open(&[]).await;
    in_order(&none.get("/operations").await, &["0 spans", "No spans"]);
    in_order(&none.get("/map").await, &["0 calls", "No calls", "otel-pgvector maintain"]);
}

#[tokio::test]
async fn the_map_shows_calls_as_a_picture_and_as_a_table() {
    let site = Site::open(&spans()).await;
    let page = site.get("/map").await;
    in_order(
        &page,
        &[
            "11 calls between 3 services",
            "<svg id=\"map\"",
            "checkout calls payments: 10 calls, 2 errors",
            "<title>checkout not called</title>",
            "<title>payments 10 calls, 20 % failing</title>",
            "<table",
            "checkout",
            "payments",
            ">10<",
            ">2<",
            "20 %",
        ],
    );
    assert!(page.contains("href=\"/operations?service=payments\""), "{page}");
    let one = site.get("/map?service=checkout&last=7d").await;
    in_order(&one, &["10 calls between 2 services", "href=\"/operations?service=payments&amp;last=7d\""]);
}

#[tokio::test]
async fn a_map_of_many_services_is_a_table() {
    let mut spans = vec![call(1, 1, 0, &service("root"), "work", 0, 10)];
    for number in 2..=110 {
        spans.push(call(1, number, 1, &service(&format!("leaf-{number:03}")), "work", 1, 1));
    }
    let site = Site::open(&spans).await;
    let page = site.get("/map").await;
    in_order(&page, &["109 calls between 110 services", "do not fit into a picture", "<table", "leaf-110"]);
    assert!(!page.contains("<svg id=\"map\""));
    assert!(site.get("/map?service=leaf-050").await.contains("<svg id=\"map\""));
}

#[tokio::test]
async fn names_are_text_whatever_they_are() {
    let site = Site::open(&spans()).await;
    let of: String = form_urlencoded::Serializer::new(String::new()).append_pair("service", HOSTILE).finish();
    for path in
        ["/operations".to_owned(), format!("/operations?{of}"), "/map".to_owned(), format!("/map?{of}")]
    {
        let page = site.get(&path).await;
        assert!(page.contains("&lt;img src=x onerror=alert(document.cookie)&gt;&quot;"), "{path}: {page}");
    }
    // Nothing was dropped.
    assert!(site.get("/operations").await.contains("31 spans"));
}

#[tokio::test]
async fn health_says_what_is_good_and_what_is_stored() {
    let site = Site::open(&spans()).await;
    let page = site.get("/health").await;
    in_order(&page, &["All is well", "good", "Database", "PostgreSQL 1", "Schema", "version", "Embeddings"]);
    in_order(&page, &["Stored", "Traces", "10", "Spans", "31", "On disk"]);
    assert!(!page.contains("Received, in spans"), "{page}");
}

#[tokio::test]
async fn health_is_a_page_without_a_database() {
    let mut settings = Settings::default();
    settings.connection_string = "postgresql://nobody:hunter2@127.0.0.1:1/none".into();
    let server = TestServer::start(looking(settings));
    let page = get(&server, "/health", Http::OK).await;
    in_order(
        &page,
        &["Something is wrong", "wrong", "Database", "cannot connect to PostgreSQL", "See whether"],
    );
    assert!(!page.contains("hunter2"));
}

#[tokio::test]
async fn health_tells_a_missing_schema_from_a_missing_database() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(looking(database.settings()));
    let page = get(&server, "/health", Http::OK).await;
    in_order(
        &page,
        &["good", "Database", "PostgreSQL 1", "wrong", "Schema", "is missing", "otel-pgvector migrate"],
    );
    let health = database.store().health_check().await;
    assert!(health.healthy, "a store migrates: {health:?}");
}

#[tokio::test]
async fn health_has_what_the_server_received() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let server = TestServer::start(receiving(database.settings()));
    let page = get(&server, "/health", Http::OK).await;
    in_order(
        &page,
        &["Circuit breaker", "Closed", "Waiting", "Lost", "No span is lost", "Received, in spans"],
    );
    server.stop().await.expect("stopped");
}

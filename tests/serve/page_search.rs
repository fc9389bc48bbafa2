//! The search page, as a browser without scripts sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, looking};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::{CountScope, Filter, SearchQuery};
use opentelemetry_pgvector::span::{Attribute, Resource, Span, Status, StatusCode, Timestamp, Value};
use regex::Regex;
use reqwest::StatusCode as Http;

const SECOND: i128 = 1_000_000_000;
/// 2026-01-01.
const BEGIN: i128 = 1_767_225_600 * SECOND;

fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}

fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource { attributes: vec![("service.name".into(), text(service))], ..Resource::default() })
}

/// A span of a millisecond that started so many seconds after the beginning.
fn span(service: &str, name: &str, trace: u128, id: u64, parent: u64, second: i128) -> Span<'static> {
    Span {
        resource: resource(service),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(id),
        parent_span_id: SpanId::from(parent),
        name: name.to_owned().into(),
        kind: 2,
        start: Timestamp(BEGIN + second * SECOND),
        end: Timestamp(BEGIN + second * SECOND + SECOND / 1000),
        ..Span::default()
    }
}

fn failed(message: &str, span: Span<'static>) -> Span<'static> {
    Span { status: Status { code: StatusCode::ERROR, message: message.to_owned().into() }, ..span }
}

fn with(attributes: Vec<Attribute<'static>>, span: Span<'static>) -> Span<'static> {
    Span { attributes, ..span }
}

/// So many carts, a minute apart; every fourth payment is declined, and takes two seconds.
fn shop(carts: u64) -> Vec<Span<'static>> {
    let cart = |number: u64| {
        let (trace, second) = (u128::from(number) + 0xca00, i128::from(number) * 60);
        let method =
            vec![("http.request.method".into(), text(if number.is_multiple_of(2) { "GET" } else { "POST" }))];
        let root = with(method, span("frontend", "put into cart", trace, 1, 0, second));
        let payment = span("payments", "authorize card", trace, 2, 1, second);
        let payment = match number % 4 {
            0 => failed("payment declined", Span { end: Timestamp(payment.start.0 + 2 * SECOND), ..payment }),
            _ => payment,
        };
        [root, payment]
    };
    (0..carts).flat_map(cart).collect()
}

struct Site {
    server: TestServer,
    store: TraceStore,
    database: TestDatabase,
}

impl Site {
    async fn with(spans: &[Span<'_>]) -> Self {
        let database = TestDatabase::create().await;
        let store = database.store();
        for batch in spans.chunks(500) {
            store.batch_store(batch).await.expect("stored");
        }
        store.flush().await.expect("embedded");
        Site { server: TestServer::start(looking(database.settings())), store, database }
    }

    async fn get(&self, path: &str) -> (Http, String) {
        let answer = reqwest::get(self.server.url(path)).await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    }

    async fn page(&self, path: &str) -> String {
        let (status, page) = self.get(path).await;
        assert_eq!(status, Http::OK, "{path}: {page}");
        page
    }

    async fn found(&self, query: &str) -> String {
        self.page(&address(query)).await
    }
}

fn address(query: &str) -> String {
    format!("/?{}", form_urlencoded::Serializer::new(String::new()).append_pair("q", query).finish())
}

/// The addresses that a page leads to, within a part of it.
fn links(page: &str) -> Vec<String> {
    let link = Regex::new(r#"<a[^>]* href="([^"]*)""#).expect("an expression");
    link.captures_iter(page).map(|found| found[1].replace("&amp;", "&")).collect()
}

/// What is between two texts.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, after) = page.split_once(from).unwrap_or_else(|| panic!("no {from} in {page}"));
    after.split_once(to).map_or(after, |(part, _)| part)
}

fn traces(page: &str) -> BTreeSet<String> {
    let trace = Regex::new("/traces/([0-9a-f]{32})").expect("an expression");
    trace.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

/// What the search box has.
fn asked(address: &str) -> String {
    let (_, query) = address.split_once('?').unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "q");
    query.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_filters_find_a_trace_and_its_span() {
    let site = Site::with(&shop(8)).await;
    let page = site.found("payment declined service:payments status:error >500ms").await;
    let cards = between(&page, r#"<ol class="traces">"#, "</ol>");
    assert_eq!(traces(cards).len(), 2, "{cards}");
    assert!(cards.contains("/traces/0000000000000000000000000000ca04?span=0000000000000002"), "{cards}");
    assert!(
        cards.contains("put into cart") && cards.contains("2 spans") && cards.contains("1 error"),
        "{cards}"
    );
    assert!(cards.contains("<mark>payment</mark> <mark>declined</mark>"), "{cards}");
    assert!(cards.contains(r#"datetime="2026-01-01T00:04:00.000Z""#), "{cards}");
    assert!(Regex::new(r#"aria-label="score 0\.\d\d""#).expect("an expression").is_match(cards), "{cards}");
    // Each filter can be taken away.
    let chips = between(&page, "Filters that hold", "</ul>");
    let left: Vec<String> = links(chips).iter().map(|link| asked(link)).collect();
    assert_eq!(left[0], "payment declined status:error >500ms");
    assert_eq!(left.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_narrow_a_search_finds_something() {
    let site = Site::with(&shop(40)).await;
    for start in ["/", "/?q=payment", "/?q=service%3Apayments", "/?q=%3E1s"] {
        let page = site.page(start).await;
        let facets = links(between(&page, "<aside", "</aside>"));
        let bars = links(between(&page, "<svg class=\"bars\"", "</svg>"));
        assert!(facets.len() > 3 && bars.len() > 4, "{start}: {facets:?} {bars:?}");
        for link in facets.iter().chain(bars.iter().step_by(7)) {
            let narrowed = site.page(link).await;
            // A bar has spans of the best operations: others may be shown before them.
            assert!(!traces(&narrowed).is_empty(), "{start} {}: {narrowed}", asked(link));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facets_count_what_the_search_is_about() {
    let site = Site::with(&shop(40)).await;
    let page = site.found("service:payments").await;
    let facets = between(&page, "<aside", "</aside>");
    let count = |facet: &str| {
        let (_, after) = facets.split_once(facet).unwrap_or_else(|| panic!("no {facet} in {facets}"));
        between(after, r#"<span class="count">"#, "<").to_owned()
    };
    assert_eq!(count("<bdi class=\"cut\">error</bdi>"), "10");
    assert_eq!(count("<bdi class=\"cut\">unset</bdi>"), "30");
    assert_eq!(count("<bdi class=\"cut\">1 s – 10 s</bdi>"), "10");
    assert!(facets.contains("Counted over 40 spans."), "{facets}");
    // What holds already is taken away again.
    let service = links(facets).into_iter().find(|link| !asked(link).contains("service:payments"));
    assert!(service.is_some(), "{facets}");
    // All bars together.
    let overview = site.store.overview(&SearchQuery::parse("service:payments").expect("a query")).await;
    let overview = overview.expect("counted").expect("in time");
    assert_eq!((overview.spans, overview.errors, overview.scope), (40, 10, CountScope::All));
    assert_eq!(overview.times.iter().map(|time| time.spans).sum::<u64>(), 40);
    let within = |from: i128, to: i128| {
        let time = |second| Timestamp(BEGIN + second * SECOND).to_system_time().expect("a time");
        SearchQuery::filtered(Filter::default().since(time(from)).until(time(to)))
    };
    let some = site.store.overview(&within(60, 180)).await.expect("counted").expect("in time");
    assert_eq!((some.spans, some.services.len()), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_spans_a_part_is_counted() {
    let site = Site::with(&shop(40)).await;
    site.database
        .execute(
            "INSERT INTO otel.span_rows (trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, \
                                         resource_id, start_ns, flags, fillers) \
             SELECT gen_random_uuid(), r.span_id, r.parent_span_id, r.start_time + number * interval '100 ms', r.duration_ns, \
                    r.document_id, r.resource_id, r.start_ns, r.flags, r.fillers \
             FROM otel.span_rows r CROSS JOIN generate_series(1, 2500) AS number",
        )
        .await;
    site.database.execute("ANALYZE otel.span_rows").await;
    let overview = site.store.overview(&SearchQuery::new("")).await.expect("counted").expect("in time");
    let CountScope::Sample(share) = overview.scope else { panic!("{overview:?}") };
    let all = overview.spans as f64 / share;
    assert!(overview.spans < 100_000 && (140_000.0..260_000.0).contains(&all), "{share} {}", overview.spans);
    let page = site.page("/?q=until:2027-01-01").await;
    assert!(page.contains("Estimated from"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other() {
    let site = Site::with(&shop(45)).await;
    let (mut path, mut seen, mut pages) = (address("service:payments"), BTreeSet::new(), 0);
    loop {
        let page = site.page(&path).await;
        let shown = traces(between(&page, r#"<ol class="traces">"#, "</ol>"));
        assert!(shown.is_disjoint(&seen), "{path}");
        seen.extend(shown);
        pages += 1;
        let Some((_, after)) = page.split_once(r#"rel="next" href=""#) else { break };
        path = after.split_once('"').expect("an address").0.replace("&amp;", "&");
    }
    assert_eq!((seen.len(), pages), (45, 3));
    // From the newest traces, too.
    let home = site.page("/").await;
    let older = links(between(&home, r#"<p class="more">"#, "</p>"));
    assert_eq!(traces(between(&site.page(&older[0]).await, r#"<ol class="traces">"#, "</ol>")).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_leads_to_what_may_be_meant() {
    let site = Site::with(&shop(4)).await;
    for (typed, meant) in [
        ("sevice:payments card", "service:payments card"),
        ("http.request.method:GET", "http.request.method=GET"),
        ("card \"declined", "card \"declined\""),
    ] {
        let page = site.found(typed).await;
        let note = between(&page, r#"role="alert""#, "</main>");
        let link = links(note).into_iter().next().unwrap_or_else(|| panic!("{typed}: {page}"));
        assert_eq!(asked(&link), meant);
        assert!(!traces(&site.page(&link).await).is_empty(), "{meant}");
    }
    for (path, said) in [
        (address("http.request.method~("), "parentheses"),
        ("/?q=card&page=x".into(), "next one"),
        (address(&"x".repeat(4_001)), "4,000 characters"),
    ] {
        assert!(site.page(&path).await.contains(said), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_finds_nothing_says_what_hides_results() {
    let site = Site::with(&shop(4)).await;
    let page = site.found("card service:payments >1h").await;
    let nothing = between(&page, "Nothing found", "</section>");
    assert!(nothing.contains("without "), "{nothing}");
    let wider = links(nothing);
    assert_eq!(asked(&wider[0]), "card service:payments");
    assert!(!traces(&site.page(&wider[0]).await).is_empty());
    let page = site.found("service:paymentz").await;
    let nothing = between(&page, "Nothing found", "</section>");
    assert!(links(nothing).iter().any(|link| asked(link) == "service:payments"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_search_there_are_the_newest_traces_and_searches_to_begin_with() {
    let empty = Site::with(&[]).await;
    assert!(empty.page("/").await.contains("No traces yet"));
    let site = Site::with(&shop(8)).await;
    let home = site.page("/").await;
    let newest = Regex::new("/traces/([0-9a-f]{32})").expect("an expression");
    assert_eq!(&newest.captures(&home).expect("a trace")[1], "0000000000000000000000000000ca07");
    let beginnings = between(&home, "Searches to begin with", "</ul>");
    let queries: Vec<String> = links(beginnings).iter().map(|link| asked(link)).collect();
    assert_eq!(queries, ["status:error", ">1s", "put into cart failed", "service:frontend"]);
    for link in links(beginnings) {
        assert!(!traces(&site.page(&link).await).is_empty(), "{link}");
    }
    // Behind a gateway whose spans are stored elsewhere no trace has a root.
    let mut rootless = shop(8);
    rootless.retain(|span| span.parent_span_id != SpanId::INVALID);
    let behind_a_gateway = Site::with(&rootless).await;
    assert!(newest.is_match(&behind_a_gateway.page("/").await));
    // The id of a trace alone leads there.
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer =
        client.get(site.server.url("/?q=0000000000000000000000000000ca07")).send().await.expect("an answer");
    assert_eq!(answer.headers()["location"], "/traces/0000000000000000000000000000ca07");
}

#[tokio::test(flavor = "multi_thread")]
async fn suggestions_are_of_what_is_stored() {
    let site = Site::with(&shop(4)).await;
    let suggestions = async |typed: &str| -> Vec<String> {
        let path = format!(
            "/api/suggest?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("q", typed).finish()
        );
        let (status, answer) = site.get(&path).await;
        assert_eq!(status, Http::OK);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let texts = answer.as_array().expect("a list").iter();
        texts.map(|suggestion| suggestion["text"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(suggestions("card service:pay").await, ["card service:payments "]);
    assert_eq!(
        suggestions("service:payments operation:").await,
        [r#"service:payments operation:"authorize card" "#]
    );
    assert_eq!(suggestions("http.req").await, ["http.request.method="]);
    assert_eq!(suggestions("http.request.method=p").await, ["http.request.method=POST "]);
    assert_eq!(suggestions("status:e").await[0], "status:error ");
    assert!(suggestions("front").await.contains(&"service:frontend ".to_owned()));
    assert!(suggestions("").await.contains(&"service:".to_owned()));
    assert_eq!(suggestions("no-such-thing").await, Vec::<String>::new());
}

/// What must reach no page but as text.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' OR 1=1; DROP TABLE otel.span_rows; --",
    "</title><svg onload=alert(1)>",
    "\u{202e}txet desrever\u{2066}",
    "javascript:alert(1)",
];

/// Everything that may run or be loaded is the server's own file.
fn is_harmless(page: &str, what: &str) {
    assert!(
        !page.contains("<img") && !page.contains("onload=alert(1)>") && !page.contains("alert(1)</script>"),
        "{what}: {page}"
    );
    assert!(!page.contains("style=\"") && !page.contains("<style"), "{what}");
    let script = Regex::new("<script([^>]*)>([^<]*)").expect("an expression");
    for found in script.captures_iter(page) {
        assert!(found[1].starts_with(" src=\"/assets/") && found[2].is_empty(), "{what}: {}", &found[0]);
    }
    let address = Regex::new(r#"(?:href|src|action)="([^"]*)""#).expect("an expression");
    for found in address.captures_iter(page) {
        assert!(found[1].starts_with(['/', '#']) || &found[1] == "data:,", "{what}: {}", &found[0]);
    }
    // A text that is written from right to left ends with what it stands in.
    let at = page.find('\u{202e}').unwrap_or(0);
    let before = page[..at].rsplit('<').next().unwrap_or_default();
    assert!(
        at == 0
            || ["bdi", "title>", "input", "a "]
                .iter()
                .any(|tag| before.starts_with(tag) || before.starts_with("mark")),
        "{what}: {before}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_stored_or_asked_runs() {
    let mut spans = Vec::new();
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let trace = number as u128 + 1;
        let attributes = vec![((*hostile).into(), text(hostile)), ("value".into(), text(hostile))];
        let root = with(attributes, failed(hostile, span(hostile, hostile, trace, 1, 0, number as i128)));
        spans.push(root);
    }
    let long = "long ".repeat(200_000);
    let attributes = vec![("value".into(), text(&long))];
    spans.push(with(attributes, failed(&long, span("large", &long, 99, 1, 0, 9))));
    let site = Site::with(&spans).await;
    let home = site.page("/").await;
    is_harmless(&home, "home");
    assert_eq!(traces(&home).len(), 7);
    assert!(home.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{home}");
    assert!(home.len() < 300_000, "a long text is cut: {}", home.len());
    let mut pages = BTreeMap::new();
    for hostile in HOSTILE {
        let quoted = hostile.replace('\\', "\\\\").replace('"', "\\\"");
        for query in [
            hostile.to_owned(),
            format!("\"{quoted}\""),
            format!("service:\"{quoted}\""),
            format!("operation:\"{quoted}\" status:error"),
            format!("\"{quoted}\"=\"{quoted}\""),
            format!("value=\"{quoted}\""),
            format!("\"{quoted}\":x"),
            format!("no:\"{quoted}\""),
        ] {
            let page = site.found(&query).await;
            is_harmless(&page, &query);
            pages.insert(query, page);
        }
        // By each of its parts the span is found, and by nothing else.
        for query in [
            format!("service:\"{quoted}\""),
            format!("\"{quoted}\"=\"{quoted}\""),
            format!("value=\"{quoted}\""),
        ] {
            assert_eq!(
                traces(between(&pages[&query], r#"<ol class="traces">"#, "</ol>")).len(),
                1,
                "{query}"
            );
        }
    }
    let (_, answer) = site.get("/api/suggest?q=service:").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer.as_array().map(Vec::len), Some(7));
    let (_, large) = site.get(&address("service:large")).await;
    is_harmless(&large, "large");
    assert!(large.len() < 300_000, "{}", large.len());
    assert_eq!(site.store.services().await.expect("services").len(), 7, "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_run_and_load_the_servers_own_files_alone() {
    let site = Site::with(&shop(4)).await;
    let answer = reqwest::get(site.server.url("/")).await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("a text").to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let page = answer.text().await.expect("a page");
    let file = Regex::new(r#""(/assets/[^"]*)""#).expect("an expression");
    let files: BTreeSet<String> = file.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        let answer = reqwest::get(site.server.url(&file)).await.expect("an answer");
        assert_eq!(answer.status(), Http::OK, "{file}");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
    assert_eq!(site.get("/assets/style.css").await.0, Http::NOT_FOUND);
}

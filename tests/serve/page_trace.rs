//! The pages of a trace, of traces like it and of what is new, as a browser without a script gets them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::support::database::TestDatabase;
use crate::support::serve::{TestServer, looking};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{
    Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value,
};
use reqwest::StatusCode as Http;
use serde_json::Value as Json;

const MILLISECOND: i128 = 1_000_000;
/// 2026-01-01.
const BEGIN: i128 = 1_767_225_600_000 * MILLISECOND;
/// Texts that would do something if they were more than text.
const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE otel.span_rows; --",
    "</template></svg></title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "\u{202e}gnp.exe\u{2066}",
    "{{7*7}}${7*7}<!--",
];

fn text(text: impl Into<String>) -> Value<'static> {
    Value::String(text.into().into())
}

/// A span of the service `shop` that starts and ends so many milliseconds after the begin of 2026.
fn span(trace: u128, id: u64, parent: u64, name: &str, from: i128, to: i128) -> Span<'static> {
    let resource =
        Resource { attributes: vec![("service.name".into(), text("shop"))], ..Resource::default() };
    Span {
        resource: Arc::new(resource),
        scope: Arc::new(Scope { name: "test".into(), ..Scope::default() }),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(id),
        parent_span_id: SpanId::from(parent),
        name: name.to_owned().into(),
        kind: 2,
        start: Timestamp(BEGIN + from * MILLISECOND),
        end: Timestamp(BEGIN + to * MILLISECOND),
        ..Span::default()
    }
}

fn event(name: &str, attributes: Vec<Attribute<'static>>) -> Event<'static> {
    let time = Timestamp(BEGIN + 15 * MILLISECOND);
    Event { time, name: name.to_owned().into(), attributes, dropped_attributes_count: 0 }
}

const STACK: &str =
    "shop.CardDeclined: no <money>\n\tat shop.Card.charge(Card.java:42)\n\tat shop.Main.main(Main.java:7)";

/// A checkout whose payment fails.
fn checkout() -> Vec<Span<'static>> {
    let declined = vec![
        ("exception.type".into(), text("shop.CardDeclined")),
        ("exception.message".into(), text("no <money>")),
        ("exception.stacktrace".into(), text(STACK)),
    ];
    let link = Link {
        trace_id: TraceId::from(2),
        span_id: SpanId::from(0xb1),
        trace_state: "".into(),
        flags: 0,
        attributes: vec![("why".into(), text("retry of"))],
        dropped_attributes_count: 0,
    };
    let pay = Span {
        attributes: vec![
            ("http.route".into(), text("/pay here")),
            ("cart.note".into(), text("x".repeat(50_000))),
        ],
        events: vec![
            event("cache miss", vec![("cache.key".into(), text("card"))]),
            event("exception", declined),
        ],
        links: vec![link],
        status: Status { code: StatusCode::ERROR, message: "card declined".into() },
        ..span(1, 0xa2, 0xa1, "charge card", 10, 60)
    };
    vec![span(1, 0xa1, 0, "POST /checkout", 0, 100), pay, span(1, 0xa3, 0xa2, "look up card", 12, 30)]
}

struct Site {
    server: TestServer,
    _database: TestDatabase,
}

impl Site {
    async fn with(spans: &[Span<'static>]) -> Self {
        let database = TestDatabase::create().await;
        database.store().batch_store(spans).await.expect("stored");
        Site { server: TestServer::start(looking(database.settings())), _database: database }
    }

    async fn get(&self, path: &str) -> (Http, String) {
        let answer = reqwest::get(self.server.url(path)).await.expect("an answer");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        (answer.status(), answer.text().await.expect("text"))
    }

    /// A page that is there.
    async fn page(&self, path: &str) -> String {
        let (status, page) = self.get(path).await;
        assert_eq!(status, Http::OK, "{path}: {page}");
        page
    }
}

/// The values of an attribute of HTML, in their order.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    page.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_there_in_each_view_and_every_part_has_its_address() {
    let site = Site::with(&checkout()).await;
    let id = TraceId::from(1);
    let page = site.page("/traces/1").await;
    for shown in
        ["POST /checkout", "charge card", "look up card", "card declined", "3 spans", "1 error", "100 ms"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    assert_eq!(values(&page, "data-key"), ["00000000000000a1", "00000000000000a2", "00000000000000a3"]);
    assert_eq!(values(&page, "aria-level"), ["1", "2", "3"]);
    assert!(
        page.contains(&format!("/traces/{id}/similar")) && page.contains(&format!("/api/v3/traces/{id}"))
    );

    let closed = site.page("/traces/1?closed=00000000000000a2").await;
    assert_eq!(values(&closed, "data-key"), ["00000000000000a1", "00000000000000a2"]);
    let found = site.page("/traces/1?find=status:error").await;
    assert_eq!(values(&found, "data-key"), ["00000000000000a1", "00000000000000a2"]);
    assert!(site.page("/traces/1?find=nowhere").await.contains("No span has"));

    let table = site.page("/traces/1?view=table&sort=self&order=descending").await;
    let place = |name: &str| table.find(&format!("<bdi>{name}</bdi></a>")).expect(name);
    assert!(place("POST /checkout") < place("charge card") && place("charge card") < place("look up card"));
    assert!(table.contains("aria-sort=\"descending\""));

    let flame = site.page("/traces/1?view=flame").await;
    assert!(flame.contains("shop charge card: 50.0 ms, 32.0 ms for itself, 1 span, 1 error"), "{flame}");
    let zoom = values(&flame, "href").into_iter().find(|link| link.contains("zoom=")).expect("a block");
    assert!(site.page(&zoom.replace("&amp;", "&")).await.contains("class=\" above\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_shown_with_all_that_it_brought() {
    let site = Site::with(&checkout()).await;
    for path in ["/traces/1?span=a2", "/traces/1/spans/a2", "/traces/1?view=table&span=00000000000000a2"] {
        let page = site.page(path).await;
        // The stack trace stands line by line, as text.
        assert!(page.contains("at shop.Card.charge(Card.java:42)\n\tat shop.Main.main"), "{path}");
        assert!(page.contains("no &lt;money&gt;") && page.contains("shop.CardDeclined"), "{path}");
        for shown in ["cache miss", "cache.<wbr>key", "50.0 ms", "32.0 ms", "retry of"] {
            assert!(page.contains(shown), "{path}: {shown}");
        }
        let links = values(&page, "href");
        let other = format!("/traces/{}?span={}#span", TraceId::from(2), SpanId::from(0xb1));
        assert!(links.contains(&other.as_str()), "{links:?}");
        assert!(links.contains(&"/?q=http.route%3D%22%2Fpay+here%22"), "{links:?}");
        assert!(links.contains(&"/?q=service%3Ashop"), "{links:?}");
        assert!(!page.contains(&"x".repeat(3_000)), "long values are cut");
    }
    let (status, whole) = site.get("/traces/1/spans/a2/attributes.1").await;
    assert_eq!((status, whole), (Http::OK, "x".repeat(50_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_and_what_cannot_be_too() {
    let site = Site::with(&checkout()).await;
    let nothing = [
        "/traces/77",
        "/traces/77/similar",
        "/traces/77/rows",
        "/traces/1/spans/77",
        "/traces/1/spans/a2/attributes.9",
        "/traces/1/spans/a2/events.7.0",
    ];
    let malformed = [
        "/traces/xyz",
        "/traces/000000000000000000000000000000001",
        "/traces/xyz/similar",
        "/traces/1?view=spiral",
        "/traces/1?span=%3Cscript%3E",
        "/traces/1?page=0",
        "/traces/1/spans/a2/..%2f..%2fetc",
        "/new?since=yesterday",
        "/traces/1%27%3B%20DROP%20TABLE%20otel.span_rows",
    ];
    let all = nothing.map(|path| (path, Http::NOT_FOUND)).into_iter();
    for (path, expected) in all.chain(malformed.map(|path| (path, Http::BAD_REQUEST))) {
        let (status, page) = site.get(path).await;
        assert_eq!(status, expected, "{path}");
        assert!(
            page.contains("class=\"reason\" role=\"alert\"") && !page.contains("<script>"),
            "{path}: {page}"
        );
    }
    // The trace is shown beside the word that the span is not there.
    let page = site.page("/traces/1?span=77").await;
    assert!(page.contains("There is no such span") && page.contains("charge card"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_spans_bring_is_text_and_nothing_else() {
    let mut spans = vec![span(1, 1, 0, "root", 0, 1000)];
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let resource = Resource {
            attributes: vec![("service.name".into(), text(*hostile)), ((*hostile).into(), text(*hostile))],
            ..Resource::default()
        };
        let attributes =
            || vec![((*hostile).into(), text(*hostile)), ("long".into(), text(hostile.repeat(100_000)))];
        let exception = vec![
            ("exception.type".into(), text(*hostile)),
            ("exception.message".into(), text(*hostile)),
            ("exception.stacktrace".into(), text(hostile.repeat(40_000))),
        ];
        spans.push(Span {
            resource: Arc::new(resource),
            scope: Arc::new(Scope {
                name: (*hostile).into(),
                version: (*hostile).into(),
                ..Scope::default()
            }),
            trace_state: (*hostile).into(),
            attributes: attributes(),
            events: vec![event(hostile, attributes()), event("exception", exception)],
            status: Status { code: StatusCode::ERROR, message: (*hostile).into() },
            ..span(1, 10 + number as u64, 1, hostile, 10, 20)
        });
    }
    spans.push(span(1, 99, 1, &"n".repeat(1_000_000), 10, 20));
    let site = Site::with(&spans).await;
    let mut paths: Vec<String> =
        ["", "?view=flame", "?view=table", "/rows", "/similar"].map(|rest| format!("/traces/1{rest}")).into();
    paths.push("/new?since=2000-01-01T00:00:00Z".into());
    paths.extend(
        (10..10 + HOSTILE.len())
            .flat_map(|id| [format!("/traces/1?span={id:x}"), format!("/traces/1/spans/{id:x}")]),
    );
    let find: String = form_urlencoded(HOSTILE[1]);
    paths.extend([format!("/traces/1?find={find}"), format!("/traces/1?view=table&find={find}")]);
    let known: HashSet<String> = elements(&site.page("/traces/1?span=1").await);
    for path in &paths {
        let page = site.page(path).await;
        assert!(page.len() < 600_000, "{path}: {} bytes", page.len());
        if path.ends_with("/rows") {
            // JSON that is never anything else; the script takes its texts for texts.
            let rows: Json = serde_json::from_str(&page).expect("JSON");
            assert_eq!(rows["rows"].as_array().map(Vec::len), Some(spans.len()));
            continue;
        }
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<!--"), "{path}");
        assert!(!page.contains("href=\"javascript"), "{path}");
        for harmful in ["onerror", "onload"] {
            assert!(values(&page, harmful).is_empty(), "{path}: {harmful}");
        }
        for element in elements(&page).difference(&known) {
            let own = [
                "table", "thead", "tbody", "tr", "th", "td", "text", "section", "pre", "article", "li",
                "form", "label", "select", "option", "p", "ul", "h3", "strong", "title", "wbr", "details",
                "summary", "bdi", "aside", "div",
            ];
            assert!(own.contains(&element.as_str()), "{path}: <{element}>");
        }
        // Each text of a span ends its own writing direction.
        let page = page.replace("<wbr>", "");
        for (at, _) in page.match_indices('\u{202e}') {
            let rest = &page[at..];
            let end = rest.find(['<', '"']).map(|end| &rest[end..]).unwrap_or_default();
            let is_isolated = ["\"", "</bdi>", "</option>"].iter().any(|mark| end.starts_with(mark));
            assert!(is_isolated, "{path}: {}", rest.chars().take(60).collect::<String>());
        }
    }
    // A value comes whole as what it is: text.
    let answer = reqwest::get(site.server.url("/traces/1/spans/a/attributes.1")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.text().await.expect("text"), HOSTILE[0].repeat(100_000));
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The names of a page's elements.
fn elements(page: &str) -> HashSet<String> {
    let name = |rest: &str| -> String { rest.chars().take_while(char::is_ascii_alphanumeric).collect() };
    page.split('<').skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_ten_thousand_spans_comes_in_pages_and_as_rows() {
    let mut spans: Vec<Span<'static>> =
        (2..=10_000).map(|id| span(1, id, (id / 4).max(1), "step", id as i128, id as i128 + 5)).collect();
    spans.push(span(1, 1, 0, "root", 0, 20_000));
    let site = Site::with(&spans).await;
    let first = site.page("/traces/1").await;
    assert!(first.contains("10,000 spans") && first.len() < 1_000_000, "{}", first.len());
    let mut keys = HashSet::new();
    let mut next = Some("/traces/1".to_owned());
    while let Some(path) = next {
        let page = site.page(&path).await;
        keys.extend(values(&page, "data-key").iter().map(|key| (*key).to_owned()));
        let link = page.split("<a class=\"button\" ").find(|link| link.contains("rel=\"next\""));
        next = link.and_then(|link| link.split('"').nth(1)).map(|link| link.replace("&amp;", "&"));
    }
    assert_eq!(keys.len(), 10_000);
    // The page with the span is shown, whatever its number is.
    let deep = site.page("/traces/1?span=270f").await;
    assert!(values(&deep, "data-key").contains(&"000000000000270f"));
    for view in ["table", "flame"] {
        let page = site.page(&format!("/traces/1?view={view}")).await;
        assert!(page.len() < 1_000_000, "{view}: {}", page.len());
    }
    let rows: Json = serde_json::from_str(&site.page("/traces/1/rows").await).expect("JSON");
    let rows = rows["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 10_000);
    assert_eq!((rows[0][0].as_str(), rows[0][1].as_u64()), (Some("0000000000000001"), Some(0)));
    // Each row is one deeper than its parent at most.
    let depths: Vec<u64> = rows.iter().map(|row| row[1].as_u64().expect("a depth")).collect();
    assert!(depths.windows(2).all(|pair| pair[1] <= pair[0] + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_with_more_spans_than_an_answer_may_have_is_cut_and_says_so() {
    let database = TestDatabase::create().await;
    let spans: Vec<_> = (1..=30).map(|id| span(1, id, id - 1, "step", id as i128, 100)).collect();
    database.store().batch_store(&spans).await.expect("stored");
    let mut config = looking(database.settings());
    config.limits.spans = 20;
    let server = TestServer::start(config);
    let page = reqwest::get(server.url("/traces/1")).await.expect("an answer").text().await.expect("text");
    assert!(page.contains("the first 20 are shown"), "{page}");
    assert_eq!(values(&page, "data-key").len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_about_a_trace_is_said() {
    let spans = [
        span(1, 2, 77, "lost its parent", 0, 50),
        span(1, 3, 2, "began before it", -20, 40),
        span(1, 3, 2, "has the same id", 10, 40),
        span(1, 4, 4, "is its own parent", 10, 5),
    ];
    let site = Site::with(&spans).await;
    let page = site.page("/traces/1").await;
    for said in [
        "Its root is not stored",
        "2 spans are without their parent",
        "1 span starts before the parent, by up to 20.0 ms",
        "1 span has an id that another span has",
        "1 span ends before the start",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert_eq!(values(&page, "data-key").len(), 4);
    let twin = site.page("/traces/1?span=3.1").await;
    assert!(twin.contains("tabindex=\"-1\"><bdi class=\"value\">has the same id</bdi>"), "{twin}");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_like_one_and_new_operations_lead_to_traces() {
    let mut spans = checkout();
    spans.extend([
        span(5, 0xc1, 0, "POST /checkout", 0, 90),
        span(5, 0xc3, 0xc1, "look up card", 12, 30),
        span(5, 0xc4, 0xc1, "send mail", 40, 50),
    ]);
    let site = Site::with(&spans).await;
    let similar = site.page("/traces/1/similar").await;
    let link = format!("/traces/{}", TraceId::from(5));
    assert!(values(&similar, "href").contains(&link.as_str()), "{similar}");
    for figure in ["2 operations in common", "1 missing here", "1 only here"] {
        assert!(similar.contains(figure), "{figure}: {similar}");
    }
    for path in ["/new", "/new?since=1h", "/new?since=2020-01-01T00:00:00Z&service=shop"] {
        let new = site.page(path).await;
        let link = format!("/traces/{}?span={}#span", TraceId::from(5), SpanId::from(0xc4));
        assert!(values(&new, "href").contains(&link.as_str()), "{path}: {new}");
        assert!(new.contains("nothing like it before"), "{path}");
    }
    assert!(site.page("/new?since=2999-01-01T00:00:00Z").await.contains("Nothing is new"));
    assert!(site.page("/new?service=none").await.contains("Nothing is new"));
}

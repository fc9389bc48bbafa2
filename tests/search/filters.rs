//! Conditions on spans: each alone, together, and on the real recordings against a count in plain SQL.

use std::time::{Duration, SystemTime};

use crate::support::database::TestDatabase;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Condition, Filter, Kind, SearchQuery, Status};
use opentelemetry_pgvector::span::{Event, Resource, Span, StatusCode, Timestamp, Value};
use opentelemetry_pgvector::{Error, TraceStore};

pub type Change = fn(&mut Span<'static>);

/// Spans of the traces 1, 2, …: a plain one, changed.
fn spans(changes: &[Change]) -> Vec<Span<'static>> {
    changes.iter().enumerate().map(|(at, change)| span(at as u128 + 1, *change)).collect()
}

pub fn span(trace: u128, change: Change) -> Span<'static> {
    let start = Timestamp::from(now() - Duration::from_secs(10 * trace as u64));
    let mut span = Span {
        resource: resource("shop", "eu"),
        scope: std::sync::Arc::default(),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(trace as u64),
        name: "GET /cart".into(),
        kind: 2,
        start,
        end: Timestamp(start.0 + 5_000_000),
        attributes: vec![("http.request.method".into(), text("GET"))],
        ..Span::default()
    };
    change(&mut span);
    span
}

pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}

fn resource(service: &str, region: &str) -> std::sync::Arc<Resource> {
    let attributes = vec![("service.name".into(), text(service)), ("cloud.region".into(), text(region))];
    std::sync::Arc::new(Resource { attributes, ..Resource::default() })
}

async fn found(store: &TraceStore, filter: Filter) -> Vec<u128> {
    let query = SearchQuery::filtered(filter).limit(1000);
    let found = store.search_traces(query).await.expect("found");
    let mut ids: Vec<u128> = found.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect();
    ids.sort_unstable();
    ids
}

fn with(condition: &str) -> Filter {
    Filter::default().attribute(condition.parse().expect(condition))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_condition_finds_its_spans() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = spans(&[
        |_| {},
        |span| span.resource = resource("payments", "us"),
        |span| span.name = "GET /users/4711".into(),
        |span| span.kind = 3,
        |span| span.status.code = StatusCode::ERROR,
        |span| span.end = Timestamp(span.start.0 + 700_000_000),
        |span| {
            span.events.push(Event {
                time: span.start,
                name: "exception".into(),
                attributes: vec![("exception.message".into(), text("no such column: total"))],
                dropped_attributes_count: 0,
            })
        },
    ]);
    store.batch_store(&spans).await.expect("stored");
    let all = Filter::default;
    for (filter, expected) in [
        (all(), vec![1, 2, 3, 4, 5, 6, 7]),
        (all().service("payments"), vec![2]),
        (all().service("payments").service("shop"), vec![1, 2, 3, 4, 5, 6, 7]),
        (all().service("nobody"), vec![]),
        (all().operation("GET /users/4711"), vec![3]),
        (all().operation("GET /users/…"), vec![3]),
        (all().operation("GET /users/1"), vec![]),
        (all().kind(Kind::Client), vec![4]),
        (all().status(Status::Error), vec![5]),
        (all().longer_than(Duration::from_millis(700)), vec![6]),
        (all().longer_than(Duration::from_millis(701)), vec![]),
        (all().shorter_than(Duration::from_millis(5)).kind(Kind::Client), vec![4]),
        (all().exception(true), vec![7]),
        (all().exception(false), vec![1, 2, 3, 4, 5, 6]),
        (all().since(now() - Duration::from_secs(20)), vec![1, 2]),
        (all().until(now() - Duration::from_secs(60)), vec![7]),
        (all().trace_id(TraceId::from(4)).trace_id(TraceId::from(5)), vec![4, 5]),
        (all().trace_id(TraceId::from(4)).status(Status::Error), vec![]),
        (all().trace_id(TraceId::from(7)).service("shop").phrase("column").exception(true), vec![7]),
        (all().resource_attribute(Condition::is("cloud.region", "us")), vec![2]),
        (all().phrase("NO SUCH column"), vec![7]),
        (all().phrase("users/4711"), vec![3]),
        (all().phrase("name"), vec![]),
        (all().phrase("payments"), vec![2]),
        (all().phrase("0000000000000006"), vec![6]),
        (all().service("shop").kind(Kind::Server).exception(false).phrase("cart"), vec![1, 5, 6]),
    ] {
        assert_eq!(found(&store, filter.clone()).await, expected, "{filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_every_type_are_compared_as_they_read() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = spans(&[
        |span| span.attributes.push(("http.status_code".into(), Value::Int(503))),
        |span| span.attributes.push(("http.response.status_code".into(), text("404"))),
        |span| span.attributes.push(("order.id".into(), text("A-17 \"x\" %1$s"))),
        |span| span.attributes.push(("order.id".into(), Value::Int(17))),
        |span| span.attributes.push(("cart.total".into(), Value::Double(12.5))),
        |span| span.attributes.push(("cart.total".into(), Value::Double(f64::NAN))),
        |span| span.attributes.push(("cart.gift".into(), Value::Bool(true))),
        |span| {
            span.attributes
                .push(("tags".into(), Value::Array(vec![text("new"), Value::Int(3), Value::Bool(true)])))
        },
        |span| span.attributes.push(("db.statement".into(), text("SELECT * FROM t WHERE id = 9"))),
        |span| span.attributes.push(("empty".into(), text(""))),
        |span| span.attributes.push(("at_us".into(), Value::Int(1_764_503_735_000_123))),
        |span| span.attributes.push(("ratio".into(), Value::Double(0.123_456_789_012_345_6))),
    ]);
    store.batch_store(&spans).await.expect("stored");
    for (condition, expected) in [
        ("http.response.status_code=503", vec![1]),
        ("http.status_code=404", vec![2]),
        ("http.status_code>=404", vec![1, 2]),
        ("http.status_code<404", vec![]),
        ("http.status_code!=503", vec![2]),
        ("order.id=A-17 \"x\" %1$s", vec![3]),
        ("order.id=17", vec![4]),
        ("order.id>16.5", vec![4]),
        ("order.id~^[A-Z]-", vec![3]),
        ("order.id!~^[A-Z]-", vec![4]),
        ("order.id", vec![3, 4]),
        ("cart.total>12", vec![5]),
        ("cart.total=12.5", vec![5]),
        ("cart.gift=true", vec![7]),
        ("tags=new", vec![8]),
        ("tags=3", vec![8]),
        ("tags=true", vec![8]),
        ("tags!=new", vec![]),
        ("tags!=3", vec![]),
        ("tags!=old", vec![8]),
        ("db.query.text=SELECT * FROM t WHERE id = 9", vec![9]),
        ("db.query.text~id = \\d$", vec![9]),
        ("db.query.text=SELECT * FROM t WHERE id = 8", vec![]),
        ("empty=", vec![10]),
        ("at_us<1764503735000124", vec![11]),
        ("at_us<=1764503735000123", vec![11]),
        ("at_us<1764503735000123", vec![]),
        ("ratio>=0.1234567890123456", vec![12]),
        ("nothing", vec![]),
        ("nothing!=x", vec![]),
    ] {
        assert_eq!(found(&store, with(condition)).await, expected, "{condition}");
    }
    let both = with("http.request.method=GET").attribute("order.id=17".parse().expect("a condition"));
    assert_eq!(found(&store, both).await, [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_know_their_attributes_are_decoded() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = spans(&[
        |span| span.attributes.push(("order.id".into(), text("A-17"))),
        |span| span.attributes.push(("tier".into(), text("gold"))),
    ]);
    store.batch_store(&spans).await.expect("stored");
    database.execute("UPDATE otel.span_documents SET attributes = NULL").await;
    assert_eq!(found(&store, with("order.id=A-17")).await, [1]);
    assert_eq!(found(&store, with("tier~^g")).await, [2]);
    assert_eq!(found(&store, with("tier>1")).await, Vec::<u128>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_span_among_a_hundred_thousand_is_found() {
    let database = TestDatabase::create().await;
    let store = database.store();
    for part in 0..20u128 {
        let spans: Vec<_> = (0..5_000u128)
            .map(|number| {
                let mut span = span(part * 5_000 + number + 1, |_| {});
                span.attributes.push(("order.id".into(), Value::Int((part * 5_000 + number) as i64)));
                span
            })
            .collect();
        store.batch_store(&spans).await.expect("stored");
    }
    assert_eq!(found(&store, with("order.id=77777")).await, [77_778]);
    assert_eq!(found(&store, Filter::default().phrase("77777")).await, [77_778]);
    let newest = store.find_traces(Filter::default()).await.expect("found");
    assert_eq!(newest[0].trace_id, TraceId::from(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_an_event_of_this_name_wherever_it_is_stored() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let event = |name: &str, attribute: &str| Event {
        time: Timestamp::from(now()),
        name: name.to_owned().into(),
        attributes: vec![("name".into(), text(attribute))],
        dropped_attributes_count: 0,
    };
    let letters =
        |number: u128| number.to_string().bytes().map(|digit| char::from(digit + 50)).collect::<String>();
    // So many names of events that the document does not hold them any more; one only calls an attribute so.
    let mut spans: Vec<_> = (1..=320)
        .map(|number| {
            let mut span = span(number, |_| {});
            span.events.push(event(&letters(number), "exception"));
            span
        })
        .collect();
    for (trace, name) in [(400, "exception"), (401, "begin")] {
        let mut span = span(trace, |_| {});
        span.events.extend([event("begin", "x"), event(name, "x")]);
        spans.push(span);
    }
    let last = spans.len() - 2;
    spans[last - 1].events[0] = event("exception", "x");
    store.batch_store(&spans).await.expect("stored");
    assert_eq!(found(&store, Filter::default().exception(true)).await, [320, 400]);
    assert_eq!(found(&store, Filter::default().exception(false)).await.len(), 320);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phrase_of_digits_is_not_found_in_what_stands_for_a_varying_value() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans: Vec<_> = (1..=300u128)
        .map(|number| {
            let mut span = span(number, |_| {});
            let values = (b'a'..=b'p').map(|key| {
                let value: String = number.to_string().bytes().map(|digit| char::from(digit + 50)).collect();
                (char::from(key).to_string().into(), text(&value))
            });
            span.attributes.extend(values);
            span
        })
        .collect();
    store.batch_store(&spans).await.expect("stored");
    let bodies = "SELECT count(*) FROM otel.span_documents WHERE body LIKE '%\\%13$s%'";
    assert!(database.value::<i64>(bodies).await > 0, "a document with so many varying values");
    let in_ids = |digits: &str| found(&store, Filter::default().phrase(digits));
    assert_eq!(in_ids("13").await, Vec::<u128>::new());
    assert_eq!(in_ids("13$s").await, Vec::<u128>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phrase_without_letters_is_found_in_what_a_span_says_and_not_between() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let event = |span: &Span<'static>, offset: i128, attributes| Event {
        time: Timestamp(span.start.0 + offset),
        name: "log".into(),
        attributes,
        dropped_attributes_count: 0,
    };
    let mut spans = spans(&[|_| {}, |_| {}, |_| {}, |_| {}, |_| {}, |_| {}]);
    spans[0].events = vec![event(&spans[0], 471_100, Vec::new()), event(&spans[0], 1, Vec::new())];
    spans[1].attributes.push(("order".into(), Value::Int(4711)));
    spans[2].attributes.push(("note".into(), text("item 4711, later")));
    spans[3].attributes.push(("k4711".into(), Value::Bool(true)));
    spans[4].events = vec![event(&spans[4], 1, vec![("order".into(), Value::Int(47_110))])];
    spans[5].name = "GET /4711".into();
    store.batch_store(&spans).await.expect("stored");
    for (phrase, expected) in [
        ("4711", &[2, 3, 4, 5, 6][..]),
        ("711,", &[3]),
        (",", &[3]),
        (":", &[]),
        ("},{", &[]),
        ("[", &[]),
        // Each of them is of kind 2.
        ("2", &[]),
    ] {
        assert_eq!(found(&store, Filter::default().phrase(phrase)).await, expected, "{phrase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_listed_by_conditions_too_each_once() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // Documents that differ in what is not part of their text.
    let spans: Vec<_> = (0..60u128)
        .map(|number| {
            let mut span = span(number + 1, |_| {});
            span.name = if number < 50 { "GET /cart".into() } else { "GET /users".into() };
            span.attributes.push(("thread.name".into(), text(&format!("worker-{}", number % 50))));
            span.kind = (number % 5) as i32 + 1;
            span
        })
        .collect();
    store.batch_store(&spans).await.expect("stored");
    let documents: i64 = database.value("SELECT count(*) FROM otel.span_documents").await;
    assert!(documents >= 10, "{documents}");
    let mut query = SearchQuery::filtered(Filter::default().service("shop")).limit(1);
    let mut names = Vec::new();
    loop {
        let page = store.search_operations(query.clone()).await.expect("a page");
        names.extend(page.iter().map(|hit| hit.example.name.clone()));
        let Some(next) = page.next else { break };
        query = query.page(next);
    }
    names.sort_unstable();
    assert_eq!(names, ["GET /cart", "GET /users"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_regular_expression_is_the_askers_error() {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.batch_store(&spans(&[|_| {}])).await.expect("stored");
    for key in ["http.request.method", "nobody.has.this"] {
        let filter = with(&format!("{key}~(")).attribute("http.route~/cart".parse().expect("a condition"));
        let error = store.find_traces(filter).await.expect_err("refused");
        assert!(
            matches!(&error, Error::Input { origin, .. } if origin == "regular expression `(`"),
            "{key}: {error}"
        );
    }
    store.find_traces(with("http.request.method=GET")).await.expect("the connection is usable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_found_whether_it_is_a_trace_s_or_an_attribute_s() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let request = "123e4567-e89b-12d3-a456-426614174000";
    let mut spans = spans(&[|_| {}, |_| {}]);
    spans[1].attributes.push(("request.id".into(), text(request)));
    store.batch_store(&spans).await.expect("stored");
    for (query, expected) in [
        ("00000000000000000000000000000001".to_owned(), 1),
        ("\"00000000-0000-0000-0000-000000000001\"".to_owned(), 1),
        (format!("\"{request}\""), 2),
        (request.to_owned(), 2),
        ("\"0000000000000002\"".to_owned(), 2),
        ("0000000000000002".to_owned(), 2),
    ] {
        let hits = store.search_traces(query.as_str()).await.expect("found");
        assert_eq!(
            hits.iter().map(|hit| hit.trace_id).collect::<Vec<_>>(),
            [TraceId::from(expected)],
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hides_results_is_told() {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.batch_store(&spans(&[|_| {}])).await.expect("stored");
    store.flush().await.expect("embedded");
    let filter = Filter::default().service("nobody").kind(Kind::Server);
    let hidden = store.what_hides(&SearchQuery::filtered(filter)).await.expect("told");
    assert_eq!(hidden.conditions, ["service"]);
    let strict = SearchQuery::new("shopping cart").similarity_threshold(0.999);
    assert!(store.search_traces(strict.clone()).await.expect("found").is_empty());
    let hidden = store.what_hides(&strict).await.expect("told");
    assert!(hidden.best_score.is_some_and(|score| (0.1..0.999).contains(&score)), "{hidden:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_operations_are_listed() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = spans(&[
        |_| {},
        |span| span.status.code = StatusCode::ERROR,
        |span| span.name = "GET /users/4711".into(),
        |span| span.resource = resource("payments", "us"),
    ]);
    store.batch_store(&spans).await.expect("stored");
    assert_eq!(store.services().await.expect("services"), ["payments", "shop"]);
    let operations = store.operations("shop").await.expect("operations");
    let described: Vec<_> = operations
        .iter()
        .map(|operation| (operation.name.as_str(), operation.kind, operation.documents, operation.fails))
        .collect();
    assert_eq!(
        described,
        [("GET /cart", Some(Kind::Server), 2, true), ("GET /users/…", Some(Kind::Server), 1, false)]
    );
    assert!(store.operations("nobody").await.expect("an answer").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn similar_traces_have_the_same_documents() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let named = |trace: u128, name: &'static str| {
        let mut span = span(trace, |_| {});
        span.name = name.into();
        span.span_id = SpanId::from(rand(trace, name));
        span
    };
    let mut stored = Vec::new();
    for (trace, names) in [
        (1, &["open", "charge", "ship"][..]),
        (2, &["open", "charge", "ship"]),
        (3, &["open", "charge"]),
        (4, &["open", "browse", "search"]),
        (5, &["unrelated"]),
    ] {
        stored.extend(names.iter().map(|name| named(trace, name)));
    }
    store.batch_store(&stored).await.expect("stored");
    let similar = store.similar_traces(TraceId::from(1), 10).await.expect("found");
    let ids: Vec<_> = similar.iter().map(|similar| similar.trace.trace_id).collect();
    assert_eq!(ids, [TraceId::from(2), TraceId::from(3), TraceId::from(4)]);
    assert_eq!(similar[0].trace.score, 1.0);
    assert_eq!((similar[1].shared, similar[1].missing, similar[1].additional), (2, 1, 0));
    assert_eq!(similar[0].trace.span_count, 3);
    assert!(store.similar_traces(TraceId::from(99), 10).await.expect("an answer").is_empty());
}

fn rand(trace: u128, name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), trace as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_comes_with_the_nearest_that_was_there() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let named = |trace: u128, name: &'static str| {
        let mut span = span(trace, |_| {});
        span.name = name.into();
        span
    };
    store.batch_store(&[named(1, "charge credit card"), named(2, "ship parcel")]).await.expect("stored");
    store.flush().await.expect("embedded");
    database.execute("UPDATE otel.span_documents SET first_seen = now() - interval '1 day'").await;
    let deploy = SystemTime::now() - Duration::from_secs(3600);
    assert!(store.new_since(deploy, None, 10).await.expect("found").is_empty());
    store
        .batch_store(&[named(3, "charge debit card"), named(4, "train neural network")])
        .await
        .expect("stored");
    store.flush().await.expect("embedded");
    let new = store.new_since(deploy, Some("shop"), 10).await.expect("found");
    assert_eq!(new.len(), 2);
    assert_eq!(new[0].operation.example.name, "train neural network", "what resembles nothing comes first");
    let nearest = new[1].nearest.as_ref().expect("a nearest one");
    assert!(nearest.text.contains("credit card") && nearest.similarity > 0.6, "{nearest:?}");
    assert!(store.new_since(deploy, Some("nobody"), 10).await.expect("found").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_find_in_a_recording_what_sql_over_decoded_spans_finds() {
    let Some(messages) = crate::support::shared::messages("datasette") else { return };
    let spans: Vec<Span<'static>> =
        crate::support::shared::spans(&messages[..40]).into_iter().map(Span::into_owned).collect();
    let database = TestDatabase::create().await;
    let store = database.store();
    for batch in spans.chunks(5_000) {
        store.batch_store(batch).await.expect("stored");
    }
    let code = "coalesce(attributes ->> 'http.status_code', attributes ->> 'http.response.status_code')";
    for (filter, sql) in [
        (with("http.status_code>=400"), format!("({code})::integer >= 400")),
        (with("http.response.status_code!=200"), format!("{code} <> '200'")),
        (
            with("http.request.method=GET"),
            "coalesce(attributes ->> 'http.method', attributes ->> 'http.request.method') = 'GET'".into(),
        ),
        (
            with("db.query.text~(?i)^with"),
            "coalesce(attributes ->> 'db.statement', attributes ->> 'db.query.text') ~* '^with'".into(),
        ),
        (with("db.statement"), "attributes ?| '{db.statement,db.query.text}'".into()),
        (
            with("http.url~\\?.*sql="),
            "coalesce(attributes ->> 'http.url', attributes ->> 'url.full') ~ '\\?.*sql='".into(),
        ),
        (Filter::default().exception(true), "events @> '[{\"name\": \"exception\"}]'".into()),
        (
            Filter::default().status(Status::Error).kind(Kind::Client),
            "status = 'error' AND kind = 'client'".into(),
        ),
        (
            Filter::default().phrase("no such column"),
            "(attributes::text || events::text || coalesce(status_message, '')) ILIKE '%no such column%'"
                .into(),
        ),
        (Filter::default().longer_than(Duration::from_millis(20)), "duration >= interval '20 ms'".into()),
    ] {
        let expected: Vec<String> = database
            .value(&format!("SELECT coalesce(array_agg(DISTINCT trace_id ORDER BY trace_id), '{{}}') FROM otel.spans WHERE {sql}"))
            .await;
        assert!(expected.len() > 1 && expected.len() < 1000, "{sql} finds {}", expected.len());
        let ids: Vec<String> =
            found(&store, filter.clone()).await.iter().map(|id| format!("{id:032x}")).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
}

/// PostgreSQL's text cannot hold U+0000: it is stored as the sign for it, and so it is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_u0000_is_found_by_it() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let changes: [Change; 2] = [
        |span| {
            span.name = "pay\0ments".into();
            span.attributes.push(("order.id".into(), text("E\0-17")));
        },
        |_| {},
    ];
    store.batch_store(&spans(&changes)).await.expect("stored");
    store.flush().await.expect("embedded");
    let named = Filter::default().operation("pay\0ments");
    assert_eq!(found(&store, named).await, [1]);
    assert_eq!(found(&store, Filter::default().phrase("E\0-17")).await, [1]);
    assert_eq!(found(&store, Filter::default().attribute(Condition::is("order.id", "E\0-17"))).await, [1]);
    let by_words = store.search_traces("pay\0ments \"E\0-17\"").await.expect("found");
    assert_eq!(by_words.len(), 1);
}

//! What must not be stored is nowhere in the database, and what remains is as it was.

use std::sync::Arc;

use crate::support::arbitrary;
use crate::support::database::TestDatabase;
use opentelemetry::trace::{SpanId, TraceId, Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_pgvector::span::{
    Attribute, Event, Link, Resource, Scope, Scrubbed, Scrubber, Span, Timestamp, Value,
};
use opentelemetry_pgvector::{Error, Settings, SpanExporter, TraceStore};
use opentelemetry_sdk::trace::SdkTracerProvider;
use proptest::prelude::*;

/// Part of every secret in these tests.
const SECRET: &str = "hunter2";

fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}

fn attribute(key: &str, value: Value<'static>) -> Attribute<'static> {
    (key.to_owned().into(), value)
}

fn scrubber(change: impl FnOnce(&mut Settings)) -> Scrubber {
    let mut settings = Settings::default();
    change(&mut settings);
    Scrubber::new(&settings).expect("valid settings")
}

fn with_rules(rules: &[&str]) -> Scrubber {
    scrubber(|settings| settings.redact = rules.iter().map(ToString::to_string).collect())
}

/// A span without events and links.
fn span(attributes: Vec<Attribute<'static>>) -> Span<'static> {
    Span {
        resource: Arc::new(Resource {
            attributes: vec![attribute("service.name", text("shop"))],
            ..Resource::default()
        }),
        trace_id: TraceId::from(uuid::Uuid::new_v4().as_u128()),
        span_id: SpanId::from(7),
        name: "log in".into(),
        kind: 2,
        start: Timestamp(1_700_000_000_000_000_000),
        end: Timestamp(1_700_000_000_001_000_000),
        attributes,
        ..Span::default()
    }
}

/// The attributes after scrubbing, and what was counted.
fn scrubbed(scrubber: &Scrubber, attributes: Vec<Attribute<'static>>) -> (Vec<Attribute<'static>>, Scrubbed) {
    let mut spans = [span(attributes)];
    let counts = scrubber.scrub(&mut spans);
    let [span] = spans;
    (span.attributes, counts)
}

/// A span with a secret in every place that rules reach.
fn secretive() -> Span<'static> {
    let secrets = || {
        vec![
            attribute("db.password", text("hunter2 in clear words")),
            attribute("http.request.header.authorization", Value::Array(vec![text("Bearer hunter2")])),
            attribute("card.number", text("hunter2 4111")),
            attribute("session.secret", Value::Bytes(b"hunter2".to_vec().into())),
            attribute("note", text("hunter2 is dropped")),
            attribute("url.full", text("https://shop.example/login?token=hunter2&step=2")),
            attribute("db.connection_string", text("postgresql://app:hunter2@db/shop")),
            attribute(
                "request",
                Value::KeyValues(vec![
                    attribute("user", text("ann")),
                    attribute(
                        "headers",
                        Value::Array(vec![Value::KeyValues(vec![attribute(
                            "x-auth-token",
                            text("hunter2"),
                        )])]),
                    ),
                ]),
            ),
        ]
    };
    let mut span = span(secrets());
    span.attributes.push(attribute("user.tier", text("gold")));
    span.resource = Arc::new(Resource {
        attributes: [vec![attribute("service.name", text("shop"))], secrets()].concat(),
        ..Resource::default()
    });
    span.scope = Arc::new(Scope { name: "login".into(), attributes: secrets(), ..Scope::default() });
    let time = span.start;
    span.events.push(Event { time, name: "sent".into(), attributes: secrets(), dropped_attributes_count: 0 });
    span.links.push(Link {
        trace_id: TraceId::from(5),
        span_id: SpanId::from(5),
        trace_state: "".into(),
        flags: 0,
        attributes: secrets(),
        dropped_attributes_count: 0,
    });
    span
}

/// Every column of every table as text, where it holds the secret as text, or as bytes in hex or base64.
async fn places_of_the_secret(database: &TestDatabase) -> Vec<String> {
    let client = database.client().await;
    let columns = client
        .query(
            "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c \
             JOIN information_schema.tables t USING (table_schema, table_name) \
             WHERE table_schema = 'otel' AND t.table_type = 'BASE TABLE'",
            &[],
        )
        .await
        .expect("the columns");
    assert!(columns.len() > 20, "{} columns", columns.len());
    let mut places = Vec::new();
    for column in &columns {
        let (table, column): (String, String) = (column.get(0), column.get(1));
        let sql = format!(
            "SELECT count(*) FROM otel.\"{table}\" \
             WHERE \"{column}\"::text ~* 'hunter2|68756e74657232|aHVudGVyM'"
        );
        if database.value::<i64>(&sql).await > 0 {
            places.push(format!("{table}.{column}"));
        }
    }
    places
}

fn with_own_rules(database: &TestDatabase) -> Settings {
    let mut settings = database.settings();
    settings.redact = ["default", r"/^card\.(number|cvc)$/=hash", "note=drop"].map(String::from).to_vec();
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_secrets_finds_them_where_nothing_is_redacted() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.redact = Vec::new();
    let store = TraceStore::new(settings).unwrap();
    let span = secretive();
    store.store_trace(std::slice::from_ref(&span)).await.unwrap();
    assert_eq!(store.get_trace(span.trace_id).await.unwrap(), [span]);
    let places = places_of_the_secret(&database).await;
    for place in ["span_rows.fillers", "span_documents.body", "span_resources.body"] {
        assert!(places.iter().any(|found| found == place), "{place} is not in {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_any_table_through_the_store() {
    let database = TestDatabase::create().await;
    let store = TraceStore::new(with_own_rules(&database)).unwrap();
    let span = secretive();
    let before = span.clone();
    store.batch_store(std::slice::from_ref(&span)).await.unwrap();
    assert_eq!(span, before, "the caller's span stays");
    assert_eq!(places_of_the_secret(&database).await, [""; 0]);

    let stored = store.get_trace(span.trace_id).await.unwrap().remove(0);
    let hash = stored.attributes[2].1.clone();
    assert!(
        matches!(&hash, Value::String(hash) if hash.starts_with("hash:") && hash.len() == 37),
        "{hash:?}"
    );
    let expected = vec![
        attribute("db.password", text("***")),
        attribute("http.request.header.authorization", text("***")),
        attribute("card.number", hash),
        attribute("session.secret", text("***")),
        attribute("url.full", text("https://shop.example/login?token=***&step=2")),
        attribute("db.connection_string", text("postgresql://app:***@db/shop")),
        attribute(
            "request",
            Value::KeyValues(vec![
                attribute("user", text("ann")),
                attribute(
                    "headers",
                    Value::Array(vec![Value::KeyValues(vec![attribute("x-auth-token", text("***"))])]),
                ),
            ]),
        ),
    ];
    assert_eq!(stored.attributes[..7], expected);
    assert_eq!(stored.attributes[7], attribute("user.tier", text("gold")));
    assert_eq!(stored.dropped_attributes_count, 1);
    assert_eq!(stored.events[0].attributes, expected);
    assert_eq!((stored.events[0].dropped_attributes_count, stored.links[0].dropped_attributes_count), (1, 1));
    assert_eq!(stored.links[0].attributes, expected);
    assert_eq!(stored.scope.attributes, expected);
    assert_eq!(stored.resource.attributes[1..], expected);

    let health = store.health_check().await;
    assert_eq!((health.attributes_redacted, health.attributes_dropped), (5 * 7, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_any_table_through_the_exporter() {
    let database = TestDatabase::create().await;
    let exporter = SpanExporter::from_settings(with_own_rules(&database)).unwrap();
    let store = exporter.store().unwrap().clone();
    let resource = opentelemetry_sdk::Resource::builder()
        .with_attribute(KeyValue::new("service.name", "shop"))
        .with_attribute(KeyValue::new("deploy.api_key", SECRET))
        .build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let scope = InstrumentationScope::builder("login").with_attributes([KeyValue::new("password", SECRET)]);
    let tracer = provider.tracer_with_scope(scope.build());
    let attributes = [
        KeyValue::new("password", SECRET),
        KeyValue::new("card.number", SECRET),
        KeyValue::new("note", SECRET),
        KeyValue::new("http.target", "/login?api_key=hunter2"),
        KeyValue::new("user.tier", "gold"),
    ];
    for _ in 0..20 {
        tracer.build(tracer.span_builder("log in").with_attributes(attributes.clone()));
    }
    provider.force_flush().unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.spans").await, 20);
    assert_eq!(places_of_the_secret(&database).await, [""; 0]);
    let tiers = "SELECT count(*) FROM otel.spans WHERE attributes ->> 'user.tier' = 'gold' \
                 AND attributes ->> 'password' = '***' AND NOT attributes ? 'note'";
    assert_eq!(database.value::<i64>(tiers).await, 20);
    let health = store.health_check().await;
    // Three of each span; resource and scope once a batch.
    assert!((62..=100).contains(&health.attributes_redacted), "{health:?}");
    assert_eq!(health.attributes_dropped, 20);
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_and_counted() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.attribute_value_length_limit = Some(10);
    settings.attribute_count_limit = Some(3);
    (settings.event_count_limit, settings.link_count_limit) = (Some(1), Some(0));
    let store = TraceStore::new(settings).unwrap();
    let long = || text("0123456789abc");
    let mut span = span(vec![
        attribute("long", long()),
        attribute(
            "list",
            Value::Array(vec![long(), text("short"), Value::KeyValues(vec![attribute("deep", long())])]),
        ),
        attribute("password", text("a secret that is long")),
        attribute("fourth", Value::Bool(true)),
        attribute("fifth", Value::Bool(true)),
    ]);
    span.dropped_attributes_count = 40;
    let time = span.start;
    let event = Event {
        time,
        name: "a name is no attribute".into(),
        attributes: span.attributes.clone(),
        dropped_attributes_count: 0,
    };
    span.events = vec![event.clone(), event.clone(), event];
    span.links = secretive().links;
    span.resource = Arc::new(Resource {
        attributes: vec![attribute("service.name", text("a service with a long name"))],
        ..Resource::default()
    });
    store.batch_store(std::slice::from_ref(&span)).await.unwrap();

    let stored = store.get_trace(span.trace_id).await.unwrap().remove(0);
    let cut = || text("012345678…");
    let expected = [
        attribute("long", cut()),
        attribute(
            "list",
            Value::Array(vec![cut(), text("short"), Value::KeyValues(vec![attribute("deep", cut())])]),
        ),
        attribute("password", text("***")),
    ];
    assert_eq!(stored.attributes, expected);
    assert_eq!(stored.dropped_attributes_count, 42);
    assert_eq!(stored.events.len(), 1);
    assert_eq!(stored.events[0].attributes, expected);
    assert_eq!(
        (stored.events[0].name.as_ref(), stored.events[0].dropped_attributes_count),
        ("a name is no attribute", 2)
    );
    assert_eq!((stored.dropped_events_count, stored.dropped_links_count, stored.links.len()), (2, 1, 0));
    assert_eq!(stored.resource, span.resource, "the specification exempts resources");
    let health = store.health_check().await;
    assert_eq!((health.attributes_truncated, health.attributes_dropped), (6, 4));
    assert_eq!((health.events_dropped, health.links_dropped), (2, 1));
}

#[test]
fn the_default_rules_find_secrets_and_nothing_else() {
    let scrubber = scrubber(|_| {});
    for key in [
        "password",
        "Password",
        "db.password",
        "user_password",
        "dbPassword",
        "DB_PASSWORD",
        "passwd",
        "PWD",
        "ssh.passphrase",
        "secret",
        "client_secret",
        "clientSecret",
        "jwt.secret",
        "authorization",
        "Authorization",
        "http.request.header.authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "http.response.header.set_cookie",
        "http.request.header.cookie",
        "http.request.cookies",
        "token",
        "x-auth-token",
        "access_token",
        "refreshToken",
        "accesstoken",
        "csrf_token",
        "github.token",
        "api_key",
        "apiKey",
        "apikey",
        "API-KEY",
        "x-api-key",
        "openai.api_key",
        "private_key",
        "aws.secret_access_key",
        "user[password]",
        "X-Amz-Signature",
        "sig",
        "Signature",
        "AWSAccessKeyId",
    ] {
        let (attributes, counts) = scrubbed(&scrubber, vec![attribute(key, text(SECRET))]);
        assert_eq!(attributes, [attribute(key, text("***"))], "{key}");
        assert_eq!(counts.attributes_redacted, 1);
    }
    for key in [
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "llm.token_count",
        "llm.token_count.prompt",
        "llm.usage.total_tokens",
        "gen_ai.request.max_tokens",
        "gen_ai.token.type",
        "llm.time_to_first_token",
        "gen_ai.server.time_per_output_token",
        "cost_per_token",
        "tokens",
        "tokenizer",
        "token_type",
        "password_changed_at",
        "secretary",
        "secret_count",
        "cookie_count",
        "authorization.result",
        "author",
        "key",
        "primary_key",
        "cache.key",
        "messaging.kafka.message.key",
        "http.request.method",
        "url.full",
        "server.address",
        "session.id",
        "user.id",
        "db.query.text",
        "code.function.signature",
        "exception.message",
        "enduser.id",
        "tokenId",
        "passenger",
        "pass",
    ] {
        for value in [text("some 42 words"), Value::Int(42)] {
            let (attributes, counts) = scrubbed(&scrubber, vec![attribute(key, value.clone())]);
            assert_eq!(attributes, [attribute(key, value)]);
            assert_eq!(counts, Scrubbed::default(), "{key}");
        }
    }
}

#[test]
fn every_type_of_value_is_masked_and_hashed() {
    let values = [
        Value::Empty,
        Value::Bool(true),
        Value::Int(7),
        Value::Double(0.5),
        text(""),
        Value::Bytes(vec![1, 2].into()),
        Value::Array(vec![text("a")]),
        Value::KeyValues(vec![attribute("a", text("b"))]),
    ];
    let mask = with_rules(&["password=mask"]);
    let hash = with_rules(&["password=hash"]);
    let mut hashes = std::collections::HashSet::new();
    for value in values {
        let (masked, _) = scrubbed(&mask, vec![attribute("password", value.clone())]);
        assert_eq!(masked, [attribute("password", text("***"))]);
        let (hashed, _) = scrubbed(&hash, vec![attribute("password", value.clone())]);
        let Value::String(hashed) = &hashed[0].1 else { panic!("a hash is text") };
        assert!(hashed.starts_with("hash:") && hashes.insert(hashed.to_string()), "{value:?}");
    }
}

#[test]
fn hashes_are_equal_where_key_and_value_are() {
    let hash = |key: &str, value: &str| {
        let scrubber = scrubber(|settings| {
            settings.redact = vec!["*=hash".into()];
            settings.redact_key = key.into();
        });
        scrubbed(&scrubber, vec![attribute("card", text(value))]).0.remove(0).1
    };
    let [one, two] = ["a key of some length", "another key of some length"];
    assert_eq!(hash(one, "4111"), text("hash:022091e352db08096a4d500d222a14a7"));
    assert_ne!(hash(one, "4111"), hash(one, "4112"));
    assert_ne!(hash(one, "4111"), hash(two, "4111"));
    assert_eq!(hash("", "4111"), hash("", "4111"), "the random key is that of the process");
    assert_ne!(hash("", "4111"), hash(one, "4111"));
}

#[test]
fn what_was_redacted_and_then_cut_is_left_alone() {
    for length in 1..70 {
        let scrubber = scrubber(|settings| {
            settings.redact = vec!["default".into(), "card=hash".into()];
            settings.attribute_value_length_limit = Some(length);
        });
        for value in ["https://u:p@h/a?token=s3cret&card=4111&sig=s3cret", "password='s 3' card=4111 host=db"]
        {
            for key in ["url.full", "db.connection_string"] {
                let (once, _) = scrubbed(&scrubber, vec![attribute(key, text(value))]);
                let (twice, counts) = scrubbed(&scrubber, once.clone());
                assert_eq!((twice, counts), (once, Scrubbed::default()));
            }
        }
    }
}

#[test]
fn ones_own_list_replaces_the_default() {
    let attributes = || vec![attribute("password", text("a")), attribute("ssn", text("b"))];
    for (rules, expected) in [
        (&["ssn=mask"][..], [Some("a"), Some("***")]),
        (&["default", "ssn=drop"], [Some("***"), None]),
        (&["default", "password=keep"], [Some("a"), Some("b")]),
        (&["none"], [Some("a"), Some("b")]),
        (&[], [Some("a"), Some("b")]),
        (&["*=drop"], [None, None]),
    ] {
        let expected: Vec<_> = ["password", "ssn"]
            .into_iter()
            .zip(expected)
            .filter_map(|(key, value)| Some(attribute(key, text(value?))))
            .collect();
        assert_eq!(scrubbed(&with_rules(rules), attributes()).0, expected, "{rules:?}");
    }
}

#[test]
fn more_keys_than_are_remembered_are_decided_all_the_same() {
    let scrubber = scrubber(|_| {});
    for _ in 0..2 {
        for batch in 0..10 {
            let mut attributes: Vec<_> =
                (0..1000).map(|key| attribute(&format!("key.{batch}.{key}"), text("x"))).collect();
            attributes.push(attribute(&format!("{batch}.password"), text(SECRET)));
            attributes.push(attribute(&format!("{}.password", "long".repeat(1000)), text(SECRET)));
            let (attributes, counts) = scrubbed(&scrubber, attributes);
            assert_eq!((attributes.len(), counts.attributes_redacted), (1002, 2));
        }
    }
}

#[test]
fn a_resource_that_spans_share_is_scrubbed_once_and_still_shared() {
    let mut spans = [secretive(), span(vec![])];
    spans[1].resource = Arc::clone(&spans[0].resource);
    let untouched = Arc::new(Scope { attributes: vec![attribute("a", text("b"))], ..Scope::default() });
    spans[1].scope = Arc::clone(&untouched);
    scrubber(|_| {}).scrub(&mut spans);
    assert!(Arc::ptr_eq(&spans[0].resource, &spans[1].resource));
    assert_eq!(spans[0].resource.attributes[1], attribute("db.password", text("***")));
    assert!(Arc::ptr_eq(&spans[1].scope, &untouched));
}

#[test]
fn a_malformed_rule_keeps_the_store_from_being_made() {
    let mut settings = Settings::default();
    settings.connection_string = "host=db".into();
    settings.redact = vec!["default".into(), "card.*:hash".into()];
    for error in [TraceStore::new(settings.clone()).unwrap_err(), Scrubber::new(&settings).unwrap_err()] {
        let Error::Setting { key, reason, .. } = error else { panic!("{error}") };
        assert_eq!(key, "redact");
        assert!(reason.contains("`card.*:hash`"), "{reason}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn spans_without_matches_are_unchanged(spans in proptest::collection::vec(arbitrary::span(), 1..4)) {
        let scrubber = with_rules(&["default", "no such key=drop"]);
        let mut after = spans.clone();
        prop_assert_eq!(scrubber.scrub(&mut after), Scrubbed::default());
        prop_assert_eq!(after, spans);
    }

    #[test]
    fn scrubbing_twice_is_scrubbing_once(mut spans in proptest::collection::vec(arbitrary::span(), 1..4), length in 1usize..30) {
        let scrubber = scrubber(|settings| {
            settings.redact = ["*s*=mask", "b=hash", "a=drop", "c=keep"].map(String::from).to_vec();
            settings.attribute_value_length_limit = Some(length);
            settings.attribute_count_limit = Some(3);
            settings.event_count_limit = Some(2);
            settings.link_count_limit = Some(1);
        });
        scrubber.scrub(&mut spans);
        let once = spans.clone();
        prop_assert_eq!(scrubber.scrub(&mut spans), Scrubbed::default());
        prop_assert_eq!(spans, once);
    }

    #[test]
    fn no_url_or_connection_string_makes_a_panic(text in "(://|[a-z]{0,3}|token=|password|[?&;#=@:/%' \"\\\\]|é){0,12}") {
        let scrubber = with_rules(&["default", "b=drop", "c=hash"]);
        let keys = ["url.full", "url.query", "http.url", "http.target", "db.connection_string"];
        scrubbed(&scrubber, keys.map(|key| attribute(key, Value::String(text.clone().into()))).to_vec());
    }
}

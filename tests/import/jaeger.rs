//! Traces of Jaeger: downloads of its UI, and its API.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::command::file;
use crate::support::database::TestDatabase;
use crate::support::fixtures::{comes_back, counts, everything, import, path, store, text, trace};
use crate::support::http::Server;
use opentelemetry::trace::SpanId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::import::{HttpSource, Imported, Importer, Input};
use opentelemetry_pgvector::span::{Attribute, StatusCode, Value};
use proptest::prelude::*;
use serde_json::json;

const CHECKOUT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn string(text: &'static str) -> Value<'static> {
    Value::String(text.into())
}

fn attribute<'a>(attributes: &'a [Attribute<'static>], key: &str) -> Option<&'a Value<'static>> {
    attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn span_id(id: u64) -> SpanId {
    SpanId::from_bytes(id.to_be_bytes())
}

#[tokio::test]
async fn a_download_of_the_ui_becomes_what_the_collector_would_make_of_it() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    assert_eq!(counts(import(&store, text("jaeger/ui_download.json")).await), (3, 0, 0));
    let spans = trace(&store, CHECKOUT).await;
    let [root, charge] = spans.as_slice() else { panic!("{spans:?}") };

    assert_eq!((root.name.as_ref(), root.kind, root.flags), ("POST /checkout", 2, 1));
    assert_eq!((root.scope.name.as_str(), root.scope.version.as_str()), ("axum", "0.8"));
    assert_eq!((root.start.0, root.end.0), (1_700_000_000_000_001_000, 1_700_000_000_250_001_000));
    assert_eq!((root.status.code, root.status.message.as_ref()), (StatusCode::ERROR, "card expired"));
    assert_eq!(root.trace_state, "congo=t61rcWkgMzE");
    let expected = [
        ("http.status_code", Value::Int(500)),
        ("http.retry", Value::Bool(false)),
        ("cart.total", Value::Double(12.5)),
        ("order.number", Value::Int(9_007_199_254_740_993)),
        ("payload", Value::Bytes(vec![0, 255, 239].into())),
        ("internal.span.format", string("otlp")),
    ]
    .map(|(key, value)| (key.into(), value));
    assert_eq!(root.attributes, expected);
    let resource = [
        ("service.name", string("checkout")),
        ("host.name", string("shop-7")),
        ("opencensus.exporterversion", string("Jaeger-Go-2.30.0")),
        ("process.pid", Value::Int(17)),
    ]
    .map(|(key, value)| (key.into(), value));
    assert_eq!(root.resource.attributes, resource);
    let [exception, attempt] = root.events.as_slice() else { panic!("{:?}", root.events) };
    assert_eq!((exception.name.as_ref(), exception.time.0), ("exception", 1_700_000_000_100_000_000));
    assert_eq!(exception.attributes.len(), 2);
    assert_eq!((attempt.name.as_ref(), attempt.attributes.len()), ("", 1));

    assert_eq!((charge.parent_span_id, charge.kind, charge.flags), (root.span_id, 3, 1));
    assert_eq!((charge.status.code, charge.status.message.as_ref()), (StatusCode::ERROR, "no such card"));
    assert_eq!(attribute(&charge.attributes, "jaeger.flags"), Some(&Value::Int(3)));
    assert!(
        matches!(attribute(&charge.attributes, "@jaeger@warnings"), Some(Value::Array(list)) if list.len() == 1)
    );
    let links: Vec<_> = charge
        .links
        .iter()
        .map(|link| (link.span_id, attribute(&link.attributes, "opentracing.ref_type")))
        .collect();
    assert_eq!(
        links,
        [
            (span_id(0xb9c7_c989_f979_18e1), Some(&string("follows_from"))),
            (span_id(0x00f0_67aa_0ba9_02b8), Some(&string("child_of"))),
        ]
    );
    let nameless = trace(&store, "5b8aa5a2d2c872e8321cf37308d69df2").await;
    assert_eq!((nameless[0].resource.attributes.len(), nameless[0].kind), (0, 5));
    assert!(attribute(&nameless[0].attributes, "@jaeger@warnings").is_some());
    comes_back(&store).await;
}

#[tokio::test]
async fn opentracings_conventions_become_opentelemetrys() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    import(&store, text("jaeger/opentracing.json")).await;
    let spans = trace(&store, "0000000000000000a3ce929d0e0e4736").await;
    let [root, load, notify] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(
        (root.span_id, root.status.code, root.scope.name.as_str()),
        (span_id(0xa1), StatusCode::ERROR, "flask")
    );
    let [event] = root.events.as_slice() else { panic!("{:?}", root.events) };
    assert_eq!(event.name, "exception");
    for (key, value) in [
        ("exception.type", "KeyError"),
        ("exception.message", "cart"),
        ("exception.stacktrace", "at cart.py:7"),
        ("level", "error"),
    ] {
        assert_eq!(attribute(&event.attributes, key), Some(&string(value)));
    }
    assert_eq!(
        (load.parent_span_id, load.links.len(), load.status.code),
        (root.span_id, 0, StatusCode::UNSET)
    );
    assert_eq!(attribute(&load.attributes, "error"), Some(&Value::Bool(false)));
    assert_eq!((notify.parent_span_id, notify.links.len()), (root.span_id, 1));
    comes_back(&store).await;
}

#[tokio::test]
async fn spans_of_elasticsearch_and_answers_of_version_3_are_read() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    import(&store, text("jaeger/elasticsearch.jsonl")).await;
    import(&store, text("jaeger/api_v3.json")).await;
    let spans = trace(&store, "00000000000000000000000000abc001").await;
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].resource.service_name(), "users");
    assert_eq!(attribute(&spans[0].attributes, "db.rows"), Some(&Value::Int(12)));
    assert_eq!(attribute(&spans[0].attributes, "db.cached"), Some(&Value::Bool(true)));
    assert_eq!(attribute(&spans[0].attributes, "db.cost"), Some(&Value::Double(0.25)));
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
    assert_eq!(trace(&store, "0000000000000000000000000000e3a1").await[0].start.0, 1_700_000_003_000_000_007);
    comes_back(&store).await;
}

#[tokio::test]
async fn every_envelope_gives_the_same_spans() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let pretty = text("jaeger/ui_download.json");
    import(&store, pretty.clone()).await;
    let document: serde_json::Value = serde_json::from_str(&pretty).expect("JSON");
    let traces = document["data"].as_array().expect("traces");
    let lines: String = traces.iter().map(|trace| format!("{trace}\n")).collect();
    let tabs = pretty.replace("  ", "\t");
    for content in
        [document.to_string(), document["data"].to_string(), lines, tabs, format!("{document}\n{document}\n")]
    {
        let imported = import(&store, content.clone()).await;
        assert_eq!((imported.stored, imported.rejected), (0, 0), "{content}");
        assert!(imported.already_there >= 3, "{content}");
    }
    assert_eq!(store.health_check().await.total_spans, 3);
}

#[tokio::test]
async fn a_trace_that_has_grown_gets_only_what_is_new() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let span = |number: u64| json!({"traceID": "7", "spanID": format!("{number:x}"), "operationName": "work", "startTime": 1_700_000_000_000_000_u64 + number, "duration": 5, "processID": "p"});
    let of = |numbers: &[u64]| {
        let spans: Vec<_> = numbers.iter().map(|number| span(*number)).collect();
        json!({"data": [{"traceID": "7", "spans": spans, "processes": {"p": {"serviceName": "a"}}}]})
            .to_string()
    };
    assert_eq!(counts(import(&store, of(&[1, 2])).await), (2, 0, 0));
    assert_eq!(counts(import(&store, of(&[2, 1, 3])).await), (1, 2, 0));
    assert_eq!(counts(import(&store, of(&[4, 4, 1])).await), (1, 2, 0));
    let (one, two) = tokio::join!(import(&store, of(&[8, 9])), import(&store, of(&[9, 8])));
    assert_eq!((one.stored + two.stored, one.already_there + two.already_there), (2, 2), "at the same time");
    assert_eq!(trace(&store, "00000000000000000000000000000007").await.len(), 6);
}

#[tokio::test]
async fn a_bad_span_is_written_aside_and_the_rest_is_stored() {
    let database = TestDatabase::create_bare().await;
    let damaged = text("jaeger/ui_download.json").replace("\"b7ad6b7169203331\"", "\"not hexadecimal\"");
    let (folder, download) = file("download.json", damaged.as_bytes());
    let rejects = folder.path().join("rejects.jsonl");
    std::fs::write(&rejects, "of an earlier import, and longer than what comes now".repeat(100))
        .expect("written");
    let run = database.run(&[
        "import",
        "jaeger",
        &download.to_string_lossy(),
        "--no-embedding",
        "--rejects",
        &rejects.to_string_lossy(),
    ]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.starts_with("stored 2 spans, 0 already there, 1 rejected (see "), "{run:?}");
    assert!(run.stderr.contains("download.json:3: record 1: spanID \"not hexadecimal\""), "{run:?}");
    let written = std::fs::read_to_string(&rejects).expect("the file");
    let reject: serde_json::Value = serde_json::from_str(&written).expect("one line");
    assert!(reject["reason"].as_str().is_some_and(|reason| reason.contains("not hexadecimal")));
    assert!(reject["origin"].as_str().is_some_and(|origin| origin.ends_with("download.json:3: record 1")));
    let mended =
        reject["record"].as_str().expect("the record").replace("not hexadecimal", "b7ad6b7169203331");
    let (_folder, again) = file("mended.json", mended.as_bytes());
    let run = database.run(&["import", "jaeger", &again.to_string_lossy(), "--no-embedding", "--json"]).ok();
    assert_eq!((run.json()["stored"].as_u64(), run.json()["already_there"].as_u64()), (Some(1), Some(0)));
}

#[tokio::test]
async fn a_folder_is_read_and_a_dry_run_needs_no_database() {
    let folder = path("jaeger").display().to_string();
    let nowhere = "postgresql://nobody@127.0.0.1:1/none";
    let run = crate::support::command::Run::of(
        crate::support::command::command(&[
            "import",
            "jaeger",
            &folder,
            "--dry-run",
            "--connection-string",
            nowhere,
        ])
        .output()
        .expect("it runs"),
    )
    .ok();
    assert!(run.stdout.starts_with("read 9 spans, stored nothing in"), "{run:?}");
}

/// Jaeger with `count` traces, a second apart, each with a span of two services.
async fn jaeger(count: i64, trouble: impl Fn(u32) -> Option<u16> + Send + Sync + 'static) -> Server {
    let requests = AtomicU32::new(0);
    Server::start(move |asked| {
        if let Some(status) = trouble(requests.fetch_add(1, Ordering::Relaxed)) {
            return (status, "try again".into());
        }
        if asked.path == "/jaeger/api/services" {
            return (200, json!({"data": ["shop", "bank"], "errors": null}).to_string());
        }
        assert_eq!(asked.path, "/jaeger/api/traces");
        let (start, end) = (asked.number("start"), asked.number("end"));
        let found = (0..count)
            .map(|number| (number, number * 1_000_000))
            .filter(|(_, at)| (start..=end).contains(at));
        let limit = asked.number("limit") as usize;
        let traces: Vec<_> = found.take(limit).map(|(number, at)| two_services(number, at)).collect();
        (200, json!({"data": traces}).to_string())
    })
    .await
}

fn two_services(number: i64, at: i64) -> serde_json::Value {
    let trace = format!("{:x}", number + 1);
    let span = |id: u8, process: &str| json!({"traceID": trace, "spanID": format!("{id:x}"), "operationName": "work", "startTime": at, "duration": 1, "processID": process});
    json!({"traceID": trace, "spans": [span(1, "p1"), span(2, "p2")],
           "processes": {"p1": {"serviceName": "shop"}, "p2": {"serviceName": "bank"}}})
}

fn source(server: &Server, until: u64) -> HttpSource {
    HttpSource::new(&format!("{}/jaeger/", server.url))
        .expect("a URL")
        .with_since(UNIX_EPOCH)
        .with_until(UNIX_EPOCH + Duration::from_secs(until))
}

async fn import_from(store: &TraceStore, source: &HttpSource) -> Imported {
    let importer = Importer::new(store.clone()).on_rejected(|error| panic!("{error}"));
    importer.jaeger(source).await.expect("an import")
}

#[tokio::test]
async fn a_running_jaeger_is_read_in_windows_until_nothing_is_left_out() {
    let server = jaeger(300, |_| None).await;
    let database = TestDatabase::create().await;
    let store = store(&database);
    let imported = import_from(&store, &source(&server, 4000).with_page_size(7)).await;
    assert_eq!(imported.stored, 600, "each trace has a span of both services, and comes with both");
    let asked = server.asked();
    assert_eq!(
        asked.iter().filter_map(|asked| asked.get("service")).collect::<HashSet<_>>(),
        HashSet::from(["shop", "bank"])
    );
    assert!(asked.len() < 400, "{} requests", asked.len());

    // Again, with other windows, and for one service.
    let imported = import_from(&store, &source(&server, 4000)).await;
    assert_eq!((imported.stored, imported.already_there), (0, 600));
    let imported = import_from(&store, &source(&server, 10).with_services(["bank".to_owned()])).await;
    assert_eq!((imported.stored, imported.already_there), (0, 22));
    assert_eq!(store.health_check().await.total_spans, 600);
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let server = jaeger(3, |number| {
        [Some(503), Some(429), None, Some(500), None].get(number as usize).copied().flatten()
    })
    .await;
    let database = TestDatabase::create().await;
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let warned = Arc::clone(&warnings);
    let source =
        source(&server, 10).on_warning(move |text| warned.lock().expect("no panic").push(text.to_owned()));
    let imported = import_from(&store(&database), &source).await;
    assert_eq!(imported.stored, 6);
    let warnings = warnings.lock().expect("no panic");
    assert!(
        matches!(warnings.as_slice(), [once] if once.contains("503") && once.contains("trying again")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn what_does_not_pass_is_told_without_secrets() {
    let server = Server::start(|asked| match asked.headers.get("authorization") {
        Some(value) if value == "Basic dXNlcjpodW50ZXIy" => (403, "this user may not".into()),
        other => (400, format!("{other:?}")),
    })
    .await;
    let url = server.url.replace("http://", "http://user:hunter2@");
    let database = TestDatabase::create_bare().await;
    let run =
        tokio::task::spawn_blocking(move || database.run(&["import", "jaeger", &url, "--no-embedding"]))
            .await
            .expect("no panic");
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("/api/services: the server answers 403 Forbidden: this user may not"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("hunter2"), "{run:?}");
    for (arguments, expected) in [
        (vec!["--header", "no colon and hunter2"], Some(2)),
        (vec!["--header", "X-Token: hunter2\u{7f}"], Some(1)),
    ] {
        let run = crate::support::command::Run::of(
            crate::support::command::command(
                &[&["import", "jaeger", "http://127.0.0.1:1", "--dry-run"], &*arguments].concat(),
            )
            .output()
            .expect("it runs"),
        );
        assert_eq!(run.code, expected, "{run:?}");
    }
}

#[tokio::test]
async fn an_answer_with_errors_is_none_without_traces() {
    let failing = |fails: &'static str| {
        Server::start(move |asked| match asked.path.ends_with(fails) {
            true => {
                (200, json!({"data": [], "errors": [{"code": 500, "msg": "storage failed"}]}).to_string())
            }
            false => (200, json!({"data": ["shop"], "errors": []}).to_string()),
        })
    };
    for fails in ["/api/services", "/api/traces"] {
        let source = source(&failing(fails).await, 10);
        let error = Importer::counting().jaeger(&source).await.expect_err("an error");
        assert!(error.to_string().contains("the answer is an error: storage failed"), "{error}");
        assert!(error.to_string().contains(fails), "{error}");
    }
    // As one answer, it is a record that is not understood.
    let url = format!("{}/api/traces?service=shop", failing("/api/traces").await.url);
    let imported = Importer::counting().jaeger(&HttpSource::new(&url).expect("a URL")).await;
    assert_eq!(imported.expect("an import").rejected, 1);
}

#[tokio::test]
async fn a_trace_that_comes_in_several_batches_is_stored_once() {
    let span = |number: u64| json!({"traceID": "7", "spanID": format!("{number:x}"), "operationName": "work", "startTime": 1, "duration": 5});
    let of = |numbers: &[u64]| {
        json!({"traceID": "7", "spans": numbers.iter().map(|number| span(*number)).collect::<Vec<_>>()})
            .to_string()
    };
    let database = TestDatabase::create().await;
    let store = store(&database);
    assert_eq!(counts(import(&store, of(&[3])).await), (1, 0, 0));
    let importer = Importer::new(store.clone()).with_batch_size(2);
    let several = [of(&[1, 2, 3]), of(&[3, 4, 1]), of(&[5, 2, 4])].join("\n");
    let input = Input::reader("test", std::io::Cursor::new(several.into_bytes()));
    assert_eq!(counts(importer.traces(input).await.expect("an import")), (4, 5, 0));
    assert_eq!(trace(&store, "00000000000000000000000000000007").await.len(), 5);
}

#[tokio::test]
async fn a_moment_with_too_many_traces_is_told() {
    let server = Server::start(|asked| {
        if asked.path.ends_with("services") {
            return (200, json!({"data": ["shop"]}).to_string());
        }
        let here = (asked.number("start")..=asked.number("end")).contains(&5);
        let traces: Vec<_> = (0..3).filter(|_| here).map(|number| two_services(number, 5)).collect();
        (200, json!({"data": traces}).to_string())
    })
    .await;
    let database = TestDatabase::create().await;
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let warned = Arc::clone(&warnings);
    let source = HttpSource::new(&server.url)
        .expect("a URL")
        .with_since(UNIX_EPOCH)
        .with_until(UNIX_EPOCH + Duration::from_secs(1))
        .with_page_size(3)
        .on_warning(move |text| warned.lock().expect("no panic").push(text.to_owned()));
    let imported = import_from(&store(&database), &source).await;
    assert_eq!(imported.stored, 6);
    let warnings = warnings.lock().expect("no panic");
    assert!(
        warnings.first().is_some_and(|text| text.contains("3 traces or more within a microsecond")),
        "{warnings:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_it_panic(
        field in prop::sample::select(vec![
            "traceID", "spanID", "parentSpanID", "flags", "operationName", "references", "startTime", "duration", "tags", "logs", "processID", "process", "warnings",
        ]),
        value in any_json(),
        raw in "[\\[\\]{}\",:0-9a-z\\\\ \n]{0,60}",
    ) {
        let mut span = json!({"traceID": "1", "spanID": "2", "operationName": "a", "startTime": 1, "duration": 1, "processID": "p"});
        span[field] = value.clone();
        let trace = json!({"traceID": "1", "spans": [span, value], "processes": {"p": value}});
        for content in [trace.to_string(), json!({"data": [trace, value]}).to_string(), value.to_string(), raw] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let input = Input::reader("test", std::io::Cursor::new(content.into_bytes()));
            let _ = runtime.block_on(Importer::counting().traces(input));
        }
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-f0-9]{0,34}".prop_map(Into::into),
    ];
    let keys = prop::sample::select(vec![
        "key",
        "type",
        "value",
        "refType",
        "timestamp",
        "fields",
        "serviceName",
        "tags",
        "traceID",
        "spanID",
    ]);
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((keys.clone(), inner), 0..4).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

#[tokio::test]
async fn a_document_larger_than_a_line_may_be_is_read_record_by_record() {
    let filler = "x".repeat(60_000);
    let traces: Vec<String> = (0..400)
        .map(|number| {
            json!({"traceID": format!("{:x}", number + 1), "spans": [{"traceID": format!("{:x}", number + 1), "spanID": "1", "operationName": filler, "startTime": 1, "duration": 1}]}).to_string()
        })
        .collect();
    let one_line = format!("{{\"data\":[{}]}}", traces.join(","));
    let database = TestDatabase::create().await;
    let store = store(&database);
    assert_eq!(counts(import(&store, one_line).await), (400, 0, 0));
    assert_eq!(everything(&store).await.len(), 400);
}

#[tokio::test]
async fn a_bad_trace_of_an_answer_is_a_rejected_record_and_the_others_are_stored() {
    let good = |number: i64| two_services(number, number).to_string();
    let valid = [good(1), "7".into(), "null".into(), "[1]".into(), good(2)];
    let first = ["\"no trace\"".into(), good(1), good(2)];
    let no_json = [good(1), r#"{"traceID": nonsense, "spans": [{}]}"#.into(), good(2)];
    let unbalanced = [good(1), good(2), r#"{"traceID": "3", "spans": [}"#.into()];
    // Where a trace ends that has no end, nobody can tell: then the whole answer is the record.
    for (traces, stored, rejected) in
        [(&valid[..], 4, 3), (&first, 4, 1), (&no_json, 4, 1), (&unbalanced, 0, 1)]
    {
        let answer = format!("{{\"data\":[{}],\"total\":0,\"errors\":null}}", traces.join(","));
        let server = Server::start(move |asked| match asked.path.ends_with("services") {
            true => (200, json!({"data": ["shop"]}).to_string()),
            false => (200, answer.clone()),
        })
        .await;
        let database = TestDatabase::create().await;
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&reasons);
        let importer = Importer::new(store(&database))
            .on_rejected(move |error| told.lock().expect("no panic").push(error.to_string()));
        let source = HttpSource::new(&server.url)
            .expect("a URL")
            .with_since(UNIX_EPOCH)
            .with_until(UNIX_EPOCH + Duration::from_millis(1));
        let imported = importer.jaeger(&source).await.expect("an import");
        assert_eq!((imported.stored, imported.rejected), (stored, rejected), "{traces:?}");
        let reasons = reasons.lock().expect("no panic");
        assert!(
            reasons.iter().all(|text| text.contains("/api/traces?service=shop&start=0&end=1000:1")),
            "{reasons:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_is_an_error_and_takes_no_memory_without_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"data\":[";
                let mut sent = stream.write_all(head.as_bytes()).await;
                let names = "\"shop\",".repeat(100_000);
                while sent.is_ok() {
                    sent = stream.write_all(names.as_bytes()).await;
                }
            });
        }
    });
    let source = HttpSource::new(&url).expect("a URL");
    for imported in [Importer::counting().jaeger(&source).await, Importer::counting().tempo(&source).await] {
        let error = imported.expect_err("no end").to_string();
        assert!(error.contains("the answer has more than 128 MiB"), "{error}");
    }
}

//! Traces of Tempo: its API's answers as files, and a running one.

use std::time::{Duration, UNIX_EPOCH};

use crate::support::command::line;
use crate::support::database::TestDatabase;
use crate::support::fixtures::{comes_back, counts, import, store, text, trace};
use crate::support::http::Server;
use opentelemetry_pgvector::import::{HttpSource, Importer};
use opentelemetry_pgvector::span::{StatusCode, spans_to_otlp};
use prost::Message;
use serde_json::json;

const CHECKOUT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn answers_of_both_versions_are_read() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    for name in ["tempo/api_v1.json", "tempo/api_v2.json"] {
        import(&store, text(name)).await;
        let compact: serde_json::Value = serde_json::from_str(&text(name)).expect("JSON");
        assert_eq!(import(&store, compact.to_string()).await.stored, 0, "{name} in one line");
    }
    let spans = trace(&store, CHECKOUT).await;
    let [root, charge] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((root.scope.name.as_str(), root.scope.version.as_str(), root.kind), ("axum", "0.8", 2));
    assert_eq!((root.status.code, root.status.message.as_ref()), (StatusCode::ERROR, "card expired"));
    assert_eq!(root.span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!((charge.parent_span_id, charge.scope.name.as_str()), (root.span_id, "tonic"));
    assert_eq!(charge.links[0].trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(charge.events[0].name, "retry");
    assert_eq!(trace(&store, "000000000000000000000000000e3a10").await.len(), 1);
    comes_back(&store).await;
}

#[tokio::test]
async fn ids_are_hexadecimal_or_base64_and_nothing_else() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let content = text("tempo/api_v2.json");
    for wrong in ["", "AAAA", "00000000000000e1ff", "not an id!"] {
        let importer = Importer::new(store.clone());
        let content = content.replace("00000000000000e1", wrong);
        let input =
            opentelemetry_pgvector::import::Input::reader("test", std::io::Cursor::new(content.into_bytes()));
        let imported = importer.traces(input).await.expect("an import");
        // An absent id is OpenTelemetry's invalid one.
        assert_eq!(imported.rejected, u64::from(!wrong.is_empty()), "{wrong}");
    }
}

/// Tempo with `count` traces, ten a second from second 1000 on.
async fn tempo(count: u64, protobuf: bool) -> Server {
    Server::start(move |asked| {
        if asked.path == "/api/search" {
            let (start, end) = (asked.number("start") as u64, asked.number("end") as u64);
            let only = asked.get("tags").is_none_or(|tags| tags == "service.name=\"the shop\"");
            let found = (0..count).filter(|number| only && (start..end).contains(&(1000 + number / 10)));
            let traces: Vec<_> = found
                .take(asked.number("limit") as usize)
                .map(|number| json!({"traceID": format!("{:x}", number + 1)}))
                .collect();
            return (200, json!({"traces": traces, "metrics": {"inspectedTraces": 1}}).to_string());
        }
        let id =
            asked.path.rsplit('/').next().and_then(|id| u32::from_str_radix(id, 16).ok()).expect("an id");
        let gone = id % 10 == 3;
        let old = asked.path.starts_with("/api/traces/");
        if gone || (!old && id % 10 != 7) || (old && id % 10 == 7) {
            return (404, "not found".into());
        }
        let document = line(id, "").replace(&format!("{:032x}", 0xabc0_0000_u32 + id), &format!("{id:032x}"));
        if protobuf {
            let spans =
                opentelemetry_pgvector::import::otlp_json::read_spans(document.as_bytes()).expect("JSON");
            let spans: Vec<_> = spans.into_iter().map(|span| span.expect("a span")).collect();
            // All of it is ASCII here.
            return (200, String::from_utf8(spans_to_otlp(&spans).encode_to_vec()).unwrap_or(document));
        }
        let document = document.replace("resourceSpans", "batches");
        (
            200,
            if old {
                document
            } else {
                format!("{{\"trace\":{}}}", document.replace("batches", "resourceSpans"))
            },
        )
    })
    .await
}

fn source(server: &Server) -> HttpSource {
    HttpSource::new(&server.url)
        .expect("a URL")
        .with_since(UNIX_EPOCH + Duration::from_millis(900_500))
        .with_until(UNIX_EPOCH + Duration::from_millis(1_020_500))
}

#[tokio::test]
async fn a_running_tempo_is_searched_in_windows_until_nothing_is_left_out() {
    for protobuf in [false, true] {
        let server = tempo(100, protobuf).await;
        let database = TestDatabase::create().await;
        let importer = Importer::new(store(&database)).on_rejected(|error| panic!("{error}"));
        let warnings = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let warned = std::sync::Arc::clone(&warnings);
        let source = source(&server)
            .with_page_size(25)
            .on_warning(move |text| warned.lock().expect("no panic").push(text.to_owned()));
        let imported = importer.tempo(&source).await.expect("an import");
        assert_eq!(counts(imported), (90, 0, 0));
        let warnings = warnings.lock().expect("no panic");
        assert_eq!(warnings.len(), 10);
        assert!(warnings.iter().all(|text| text.contains("was found, but is not there any more")));
    }
}

#[tokio::test]
async fn headers_and_services_are_sent_and_a_moment_with_too_many_traces_is_told() {
    let server = tempo(30, false).await;
    let url = server.url.clone();
    let database = TestDatabase::create_bare().await;
    let run = tokio::task::spawn_blocking(move || {
        database.run(&[
            "import",
            "tempo",
            &url,
            "--since",
            "1970-01-01T00:16:00Z",
            "--until",
            "1970-01-01T00:17:00Z",
            "--service",
            "the shop",
            "--header",
            "X-Scope-OrgID: team-a",
            "--page-size",
            "10",
            "--json",
            "--no-embedding",
        ])
    })
    .await
    .expect("no panic")
    .ok();
    assert_eq!(run.json()["stored"].as_u64(), Some(27));
    assert!(run.stderr.contains("10 traces or more in the second 1000"), "{run:?}");
    assert!(server.asked().iter().all(|asked| asked.headers["x-scope-orgid"] == "team-a"));
}

#[tokio::test]
async fn a_url_of_one_answer_is_read_as_it_is() {
    let server = tempo(30, false).await;
    let database = TestDatabase::create().await;
    let importer = Importer::new(store(&database));
    let source = HttpSource::new(&format!("{}/api/traces/{:032x}", server.url, 5)).expect("a URL");
    assert_eq!(importer.tempo(&source).await.expect("an import").stored, 1);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_bad_trace_of_an_answer_is_a_rejected_record_and_the_others_are_stored() {
    let server = Server::start(|asked| {
        if asked.path == "/api/search" {
            let traces = json!([
                {"traceID": "1"}, {"traceID": "not hexadecimal"}, {"rootServiceName": "no id"}, 7,
                {"traceID": "2"}, {"traceID": "3"}, {"traceID": "4"}, {"traceID": "5"},
            ]);
            return (200, json!({"traces": traces}).to_string());
        }
        let id =
            asked.path.rsplit('/').next().and_then(|id| u32::from_str_radix(id, 16).ok()).expect("an id");
        match id {
            2 => (200, "<html>this is no trace</html>".into()),
            // A field that no trace has, behind one that says it is protobuf.
            3 => (200, "\n\0\u{1a}".into()),
            4 => (422, "trace exceeds max size (max bytes: 5000000)".into()),
            _ => (200, line(id, "")),
        }
    })
    .await;
    let database = TestDatabase::create().await;
    let reasons = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&reasons);
    let importer = Importer::new(store(&database))
        .on_rejected(move |error| told.lock().expect("no panic").push(error.to_string()));
    let source = HttpSource::new(&server.url)
        .expect("a URL")
        .with_since(UNIX_EPOCH)
        .with_until(UNIX_EPOCH + Duration::from_secs(1));
    let imported = importer.tempo(&source).await.expect("an import");
    let reasons = reasons.lock().expect("no panic");
    assert_eq!((imported.stored, imported.rejected), (2, 6), "{reasons:?}");
    for (place, reason) in [
        ("/api/search?start=0&end=1", "not hexadecimal"),
        ("/api/search?start=0&end=1", "missing field `traceID`"),
        ("/api/traces/00000000000000000000000000000002", "is neither JSON"),
        ("/api/traces/00000000000000000000000000000003", "has the tag 0x1a"),
        ("/api/traces/00000000000000000000000000000004", "trace exceeds max size"),
    ] {
        assert!(
            reasons.iter().any(|text| text.contains(place) && text.contains(reason)),
            "{reason}: {reasons:?}"
        );
    }
}

/// Tempo with the traces 1 to 8 that fails as it is told to.
async fn failing(fails: impl Fn(u32) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        if asked.path == "/api/search" {
            let traces: Vec<_> = (1..=8).map(|id| json!({"traceID": id.to_string()})).collect();
            return (200, json!({"traces": traces}).to_string());
        }
        let id =
            asked.path.rsplit('/').next().and_then(|id| u128::from_str_radix(id, 16).ok()).expect("an id");
        match u32::try_from(id).unwrap_or(0) {
            id if fails(id) => (500, "max size of trace (50000000) exceeded while adding bytes".into()),
            0 => (404, "not found".into()),
            id => (200, line(id, "")),
        }
    })
    .await
}

#[tokio::test]
async fn a_trace_at_which_tempo_fails_is_a_rejected_record_and_the_others_are_stored() {
    // At first at everything, which says nothing of any trace; then at all that are asked for at the same time.
    let begin = std::time::Instant::now();
    let server = failing(move |id| begin.elapsed() < Duration::from_secs(7) || (1..=4).contains(&id)).await;
    let database = TestDatabase::create().await;
    let reasons = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&reasons);
    let importer = Importer::new(store(&database))
        .on_rejected(move |error| told.lock().expect("no panic").push(error.to_string()));
    let source = HttpSource::new(&server.url)
        .expect("a URL")
        .with_since(UNIX_EPOCH)
        .with_until(UNIX_EPOCH + Duration::from_secs(1));
    let imported = importer.tempo(&source).await.expect("an import");
    let reasons = reasons.lock().expect("no panic");
    assert_eq!((imported.stored, imported.rejected), (4, 4), "{reasons:?}");
    assert!(reasons[3].contains("/api/traces/00000000000000000000000000000004: the server answers 500"));
}

//! Traces out of the store, as OTLP.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::command::{database, file, line};
use crate::support::database::TestDatabase;
use crate::support::fixtures::{comes_back, store};
use crate::support::{arbitrary, shared};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::export::{Exported, Format, Selection, export};
use opentelemetry_pgvector::import::otlp_json::read_spans;
use opentelemetry_pgvector::import::{Importer, Input};
use opentelemetry_pgvector::search::Filter;
use opentelemetry_pgvector::span::{Span, spans_from_otlp, spans_to_otlp};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

async fn exported(store: &TraceStore, selection: &Selection, format: Format) -> (Exported, Vec<u8>) {
    let mut output = Vec::new();
    let exported = export(store, selection, format, &mut output).await.expect("an export");
    (exported, output)
}

/// The spans as OTLP can say them: its times begin in 1970, and like resources stand together.
fn by_otlp(spans: &[Span<'_>]) -> Vec<Span<'static>> {
    let message = spans_to_otlp(spans);
    message
        .resource_spans
        .iter()
        .flat_map(spans_from_otlp)
        .map(|span| span.expect("ids").into_owned())
        .collect()
}

#[tokio::test]
async fn arbitrary_spans_survive_an_export_and_its_import() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let mut spans = arbitrary::sample(60);
    for (number, span) in spans.iter_mut().enumerate() {
        span.trace_id = TraceId::from((number / 7) as u128 + 1);
    }
    store.batch_store(&spans).await.expect("stored");
    let (count, json) = exported(&store, &Selection::default(), Format::Json).await;
    assert_eq!((count.traces, count.spans), (9, 60));
    let key = |span: &Span<'_>| format!("{:?}", by_otlp(std::slice::from_ref(span)));
    for line in json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut read: Vec<_> =
            read_spans(line).expect("JSON").into_iter().map(|span| span.expect("a span")).collect();
        let mut expected = by_otlp(&store.get_trace(read[0].trace_id).await.expect("a trace"));
        read.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(read, expected);
    }
    comes_back(&store).await;
}

#[tokio::test]
async fn each_form_is_what_otlp_says() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let lines: String = (1..4).map(|number| line(number, "") + "\n").collect();
    let importer = Importer::new(store.clone());
    importer.otlp(Input::reader("test", Cursor::new(lines.into_bytes()))).await.expect("imported");
    let (_, message) = exported(&store, &Selection::default(), Format::Protobuf).await;
    assert_eq!(TracesData::decode(&*message).expect("one message").resource_spans.len(), 3);
    let (_, delimited) = exported(&store, &Selection::default(), Format::ProtobufDelimited).await;
    let mut rest = &*delimited;
    for _ in 0..3 {
        assert_eq!(
            TracesData::decode_length_delimited(&mut rest).expect("a message").resource_spans.len(),
            1
        );
    }
    assert!(rest.is_empty());
}

#[tokio::test]
async fn traces_are_selected_by_any_of_their_spans_and_come_whole() {
    let database = TestDatabase::create().await;
    let store = store(&database);
    let span = |trace: u32, number: u32, service: &str| {
        let text =
            line(number, "").replace(&format!("{:032x}", 0xabc0_0000_u32 + number), &format!("{trace:032x}"));
        let start = 1_700_000_000_000_000_000 + u64::from(number) * 1_000_000_000;
        text.replace("1700000000000000001", &start.to_string()).replace("checkout", service) + "\n"
    };
    let content = [span(1, 1, "a"), span(1, 2, "it's \\\\b"), span(2, 3, "a"), span(3, 4, "c")].concat();
    Importer::new(store.clone())
        .otlp(Input::reader("test", Cursor::new(content.into_bytes())))
        .await
        .expect("imported");
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    let all = Filter::default;
    for (filter, traces, spans) in [
        (all(), 3, 4),
        (all().service("a"), 2, 3),
        (all().service("it's \\b"), 1, 2),
        (all().service("a").service("c"), 3, 4),
        (all().since(at(2)), 3, 4),
        (all().since(at(2)).until(at(3)), 1, 2),
        (all().until(at(3)).service("c"), 0, 0),
        (all().trace_id(TraceId::from(3)).trace_id(TraceId::from(9)), 1, 1),
        (all().phrase("17"), 0, 0),
    ] {
        let (exported, _) = exported(&store, &filter.clone().into(), Format::Json).await;
        assert_eq!((exported.traces, exported.spans), (traces, spans), "{filter:?}");
    }
    let two = Selection { limit: Some(2), ..Selection::default() };
    assert_eq!(exported(&store, &two, Format::Json).await.0.traces, 2);
}

#[test]
fn the_command_writes_files_that_it_reads_again() {
    let database = database();
    let lines: String = (0..50).map(|number| line(number, "") + "\n").collect();
    database.run_with_input(&["import", "otlp", "-", "--no-embedding"], lines.as_bytes()).ok();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, format, magic) in [
        ("traces.jsonl", "json", &b"{\"resourceSpans\""[..]),
        ("traces.jsonl.gz", "json", &[0x1f, 0x8b]),
        ("traces.pb.zst", "protobuf", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("traces.pb", "protobuf-delimited", &[]),
    ] {
        let path = folder.path().join(name);
        let path = path.to_string_lossy();
        let run = database.run(&["export", "otlp", "-o", &path, "--format", format]).ok();
        assert!(run.stderr.starts_with("exported 50 spans in 50 traces in "), "{run:?}");
        assert!(std::fs::read(&*path).expect("the file").starts_with(magic), "{name}");
        let other = crate::support::command::database();
        let run = other.run(&["import", "otlp", &path, "--no-embedding", "--json"]).ok();
        assert_eq!(run.json()["stored"].as_u64(), Some(50), "{name}");
    }
    let run = database.run(&["export", "otlp", "--trace-id", &format!("{:032x}", 0xabc0_0007_u32)]).ok();
    assert_eq!(run.json_lines().len(), 1);
    let path = folder.path().join("traces.jsonl");
    let before = std::fs::read(&path).expect("the file");
    for (arguments, said) in [
        (["--service", "nope"], "no service `nope`; `otel-pgvector services` lists them\n"),
        (
            ["--trace-id", "0000000000000000000000000000000f"],
            "no trace 0000000000000000000000000000000f is stored\n",
        ),
    ] {
        let run =
            database.run(&[&["export", "otlp", "-o", &path.to_string_lossy()], &arguments[..]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (Some(3), said));
        assert_eq!(std::fs::read(&path).expect("the file"), before);
    }
    let run = database.run(&["export", "otlp", "--since", "1h", "--json"]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.starts_with("{\"traces\":0,\"spans\":0")), ("", true));
}

#[test]
fn zstd_is_read_as_a_file_and_as_the_collector_writes_it() {
    let database = database();
    let packed = |content: &[u8]| zstd::encode_all(content, 1).expect("memory");
    let message = |number: u32| {
        let spans = read_spans(line(number, "").as_bytes()).expect("JSON");
        let spans: Vec<_> = spans.into_iter().map(|span| span.expect("a span")).collect();
        spans_to_otlp(&spans).encode_to_vec()
    };
    let framed = |content: Vec<u8>| {
        let content = packed(&content);
        [(content.len() as u32).to_be_bytes().to_vec(), content].concat()
    };
    let lines = (line(0, "") + "\n" + &line(1, "")).into_bytes();
    for (name, content) in [
        ("a file", packed(&lines)),
        ("two frames", [packed(&lines[..100]), packed(&lines[100..])].concat()),
        ("the collector's protobuf", [framed(message(2)), framed(message(3))].concat()),
        ("the collector's JSON", [framed(line(4, "").into()), framed(line(5, "").into())].concat()),
    ] {
        let (_folder, path) = file("traces", &content);
        let run = database.run(&["import", "otlp", &path.to_string_lossy(), "--dry-run", "--json"]).ok();
        assert_eq!(run.json()["spans"].as_u64(), Some(2), "{name}");
    }
}

async fn recording_comes_back(name: &str) {
    let Some(path) = shared::recording(name) else { return };
    let database = TestDatabase::create().await;
    let store = store(&database);
    Importer::new(store.clone()).otlp(Input::open(path).expect("it opens")).await.expect("imported");
    let messages = shared::messages(name).expect("it was there");
    let mut traces: HashMap<TraceId, Vec<Span<'_>>> = HashMap::new();
    for span in shared::spans(&messages) {
        traces.entry(span.trace_id).or_default().push(span);
    }
    let (count, output) = exported(&store, &Selection::default(), Format::ProtobufDelimited).await;
    assert_eq!(count.traces, traces.len() as u64);
    let key = |span: &Span<'_>| (span.span_id.to_bytes(), span.start, span.end);
    let mut rest = &*output;
    while !rest.is_empty() {
        let message = TracesData::decode_length_delimited(&mut rest).expect("a message");
        let mut read: Vec<_> =
            message.resource_spans.iter().flat_map(spans_from_otlp).map(|span| span.expect("ids")).collect();
        let mut expected = traces.remove(&read[0].trace_id).expect("a trace of the recording");
        read.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(read, expected);
    }
    assert!(traces.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trainticket_comes_out_as_it_went_in() {
    recording_comes_back("trainticket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datasette_comes_out_as_it_went_in() {
    recording_comes_back("datasette").await;
}

#[test]
fn who_reads_only_the_beginning_gets_no_error() {
    let database = database();
    let lines: String = (0..3000).map(|number| line(number, "") + "\n").collect();
    database.run_with_input(&["import", "otlp", "-", "--no-embedding"], lines.as_bytes()).ok();
    let mut command = database.command(&["export", "otlp"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut start = [0; 10];
    child.stdout.take().expect("its output").read_exact(&mut start).expect("a beginning");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

//! Files of OTLP, by way of the library.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use crate::support::command::line;
use crate::support::database::TestDatabase;
use crate::support::spans::spool_file;
use crate::support::{arbitrary, shared};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::import::otlp_json::{read_spans, write_spans};
use opentelemetry_pgvector::import::{Imported, Importer, Input};
use opentelemetry_pgvector::span::{Span, Value, spans_from_otlp, spans_to_otlp};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

fn input(content: impl AsRef<[u8]>) -> Input {
    Input::reader("test", Cursor::new(content.as_ref().to_vec()))
}

async fn import(store: &TraceStore, content: impl AsRef<[u8]>, batch_size: usize) -> Imported {
    let importer = Importer::new(store.clone()).with_batch_size(batch_size);
    importer.otlp(input(content)).await.expect("the import succeeds")
}

fn counts(imported: Imported) -> (u64, u64, u64) {
    (imported.stored, imported.already_there, imported.rejected)
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| line(number, "") + "\n").collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn json_of(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

fn only(text: &str) -> Span<'static> {
    let mut spans = read_spans(text.as_bytes()).expect("OTLP JSON");
    assert_eq!(spans.len(), 1);
    spans.remove(0).expect("a span")
}

#[tokio::test]
async fn every_form_is_recognised_by_its_content() {
    let json = lines(0..3);
    let pretty = |text: &str| serde_json::to_string_pretty(&json_of(text)).expect("JSON");
    let spans: Vec<Span<'static>> = json.lines().map(only).collect();
    let message = spans_to_otlp(&spans);
    let delimited: Vec<u8> =
        spans.chunks(1).flat_map(|span| spans_to_otlp(span).encode_length_delimited_to_vec()).collect();
    let fixed: Vec<u8> = spans
        .chunks(1)
        .flat_map(|span| {
            let message = spans_to_otlp(span).encode_to_vec();
            [(message.len() as u32).to_be_bytes().to_vec(), message].concat()
        })
        .collect();
    let written = {
        let mut written = Vec::new();
        write_spans(&mut written, &spans).expect("memory");
        written
    };
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("JSON lines", json.clone().into_bytes()),
        (
            "JSON lines with empty ones and CRLF",
            format!("\n{}\n", json.replace('\n', "\r\n\r\n")).into_bytes(),
        ),
        ("one JSON document", written.clone()),
        ("a byte order mark", [b"\xef\xbb\xbf", &*written].concat()),
        ("pretty-printed JSON", pretty(std::str::from_utf8(&written).expect("UTF-8")).into_bytes()),
        (
            "several pretty-printed documents",
            json.lines().map(|line| pretty(line) + "\n").collect::<String>().into_bytes(),
        ),
        ("a protobuf message", message.encode_to_vec()),
        ("a stream of protobuf messages", delimited),
        ("a stream as the collector writes it", fixed),
    ];
    let database = TestDatabase::create().await;
    let store = database.store();
    for (form, content) in forms {
        for content in [gzip(&content), content] {
            let importer = Importer::new(store.clone()).on_rejected(|error| panic!("{error}"));
            let imported =
                importer.otlp(input(&content)).await.unwrap_or_else(|error| panic!("{form}: {error}"));
            assert_eq!(imported.spans, 3, "{form}");
        }
    }
    let stored = store.get_trace(spans[0].trace_id).await.expect("a trace");
    assert_eq!(stored.first(), Some(&spans[0]));
}

#[tokio::test]
async fn what_is_not_otlp_is_refused_as_a_whole() {
    let database = TestDatabase::create().await;
    for content in ["hello, world\n", "[1, 2]", "PK\u{3}\u{4}", "<html>"] {
        let error = Importer::new(database.store()).otlp(input(content)).await.expect_err(content);
        assert_eq!(
            error.to_string(),
            "test: is neither JSON of OTLP or Jaeger, nor OTLP protobuf, nor a batch of the spool"
        );
    }
    assert_eq!(counts(import(&database.store(), "", 10).await), (0, 0, 0));
}

#[tokio::test]
async fn a_batch_of_the_spool_is_stored_once_whoever_brings_it() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let spans: Vec<Span<'static>> = lines(0..25).lines().map(only).collect();
    let file = spool_file(first, &spans);
    assert_eq!(counts(import(&store, &file, 10).await), (25, 0, 0));
    assert_eq!(counts(import(&store, gzip(&file), 1000).await), (0, 25, 0));
    assert!(!store.batch_store_with_id(first, &spans).await.expect("a retry").new, "as the exporter would");

    assert!(store.batch_store_with_id(second, &spans[..3]).await.expect("stored").new);
    let third = spool_file(Uuid::new_v4(), &spans[..1]);
    let several = [file, spool_file(second, &spans[..3]), third, spool_file(Uuid::new_v4(), &[])].concat();
    assert_eq!(counts(import(&store, several, 10).await), (1, 28, 0));
    assert_eq!(store.health_check().await.total_spans, 29);
}

#[tokio::test]
async fn a_damaged_batch_of_the_spool_is_not_stored() {
    let database = TestDatabase::create().await;
    let good = spool_file(Uuid::nil(), &[only(&line(0, ""))]);
    for (damage, reason) in [
        (
            Box::new(|file: &mut Vec<u8>| file[150] ^= 1) as Box<dyn Fn(&mut Vec<u8>)>,
            "the checksum does not match",
        ),
        (Box::new(|file| file.truncate(160)), "it ends after 16 of"),
        (Box::new(|file| file[40] ^= 1), "the checksum does not match"),
        (Box::new(|file| file[143] = b' '), "the first line is damaged"),
    ] {
        let mut file = good.clone();
        damage(&mut file);
        let error = Importer::new(database.store()).otlp(input(file)).await.expect_err(reason);
        assert_eq!(error.to_string().split(": ").next(), Some("reading test after message 0"));
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert_eq!(database.store().health_check().await.total_spans, 0);
}

#[tokio::test]
async fn a_second_import_stores_nothing_twice_whatever_the_batch_size() {
    let database = TestDatabase::create().await;
    let store = database.store();
    assert_eq!(counts(import(&store, lines(0..25), 10).await), (25, 0, 0));
    for batch_size in [10, 3, 1000] {
        assert_eq!(counts(import(&store, lines(0..25), batch_size).await), (0, 25, 0), "{batch_size}");
    }
    assert_eq!(counts(import(&store, gzip(lines(0..25).as_bytes()), 7).await), (0, 25, 0));
    assert_eq!(store.health_check().await.total_spans, 25);
}

#[tokio::test]
async fn a_file_that_has_grown_goes_on_where_it_ended() {
    let database = TestDatabase::create().await;
    let store = database.store();
    import(&store, lines(0..25), 10).await;
    assert_eq!(counts(import(&store, lines(0..40), 10).await), (15, 25, 0));
    assert_eq!(counts(import(&store, lines(0..40), 10).await), (0, 40, 0));
}

#[tokio::test]
async fn files_that_only_begin_alike_are_both_stored() {
    let database = TestDatabase::create().await;
    let store = database.store();
    import(&store, lines(0..20), 10).await;
    let other = lines(0..5) + &lines(100..115);
    assert_eq!(counts(import(&store, other, 10).await), (20, 0, 0));
}

#[tokio::test]
async fn an_interrupted_import_goes_on() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // What was read before the failure is stored, whichever batch it hits.
    let broken = Input::reader("test", Cursor::new(lines(0..13)).chain(Failing));
    let error = Importer::new(store.clone()).with_batch_size(5).otlp(broken).await.expect_err("a failure");
    assert!(error.to_string().contains("reading test after line 13"), "{error}");
    assert_eq!(store.health_check().await.total_spans, 13);
    assert_eq!(counts(import(&store, lines(0..30), 5).await), (17, 13, 0));
}

#[tokio::test]
async fn equal_lines_of_one_file_are_all_stored() {
    let database = TestDatabase::create().await;
    let twice = lines(0..1).repeat(4);
    assert_eq!(counts(import(&database.store(), &twice, 2).await), (4, 0, 0));
    assert_eq!(counts(import(&database.store(), &twice, 2).await), (0, 4, 0));
}

#[tokio::test]
async fn a_bad_record_is_reported_with_its_place_and_the_rest_is_stored() {
    let database = TestDatabase::create().await;
    let short_id = line(2, "").replace("\"spanId\":\"00", "\"spanId\":\"");
    let content = [
        line(0, ""),
        line(1, "")[..80].to_owned(),
        short_id,
        "{\"foo\": 1}".to_owned(),
        "{}".to_owned(),
        line(3, ",\"links\":[{\"traceId\":\"xyz\"}]"),
        line(4, ",\"kind\":\"SPAN_KIND_NONE\"").replace("\"kind\":2,", ""),
        line(5, ""),
    ]
    .join("\n");
    let reported = Arc::new(Mutex::new(Vec::new()));
    let reporter = Arc::clone(&reported);
    let importer = Importer::new(database.store())
        .on_rejected(move |error| reporter.lock().expect("no panic").push(error.to_string()));
    let imported = importer.otlp(input(content)).await.expect("the import succeeds");
    assert_eq!(counts(imported), (2, 0, 5));
    let reported = reported.lock().expect("no panic");
    for (message, expected) in reported.iter().zip([
        "test:2: EOF while parsing",
        "test:3: spanId \"00000000000002\" is not 16 hexadecimal digits",
        "test:4: has no field resourceSpans",
        "test:6: traceId of a link \"xyz\" is not 32 hexadecimal digits",
        "test:7: invalid value: string \"SPAN_KIND_NONE\", expected a span kind",
    ]) {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_record_with_many_bad_spans_is_reported_and_written_aside_once() {
    let many = 1000;
    let span = |id: &str| format!(r#"{{"traceId":"{id}","spanId":"00000000000000a1","name":"\"a\""}}"#);
    let spans = [vec![span("b7ad6b71"); many], vec![span("4bf92f3577b34da6a3ce929d0e0e4736"); many]].concat();
    let content = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    let (reported, written) = <(Arc<Mutex<Vec<String>>>, Written)>::default();
    let reporter = Arc::clone(&reported);
    let importer = Importer::counting()
        .on_rejected(move |error| reporter.lock().expect("no panic").push(error.to_string()))
        .with_rejects(written.clone());
    let imported = importer.otlp(input(&content)).await.expect("the import succeeds");
    assert_eq!((imported.spans, imported.rejected), (many as u64, many as u64));
    let reported = reported.lock().expect("no panic");
    let [reason] = reported.as_slice() else { panic!("{} reports", reported.len()) };
    assert!(reason.starts_with("test:1: 1000 spans are not understood: traceId \"b7ad6b71\""), "{reason}");

    let (text, writes) = &*written.0.lock().expect("no panic");
    assert_eq!(*writes, 1, "a line is written at once");
    let reject = json_of(text);
    let record = reject["record"].as_str().expect("JSON");
    assert!(record.len() < content.len(), "without the spans that were accepted");
    assert_eq!(
        read_spans(record.as_bytes()).expect("OTLP").iter().filter(|span| span.is_err()).count(),
        many
    );
}

#[test]
fn a_reason_quotes_no_more_of_a_value_than_can_be_read() {
    let long = "é".repeat(100_000);
    let whole = line(1, &format!(",\"events\":\"{long}\""));
    let reason = read_spans(whole.as_bytes()).expect_err("a text is no list");
    assert!(reason.len() < 1000 && reason.contains("expected a sequence at line 1 column"), "{reason}");
    let id = line(1, &format!(",\"parentSpanId\":\"{long}\""));
    let spans = read_spans(id.as_bytes()).expect("OTLP");
    let [Err(reason)] = spans.as_slice() else { panic!("{spans:?}") };
    assert!(reason.len() < 1000 && reason.starts_with("parentSpanId"), "{reason}");
    assert!(reason.ends_with("is not 16 hexadecimal digits"), "{reason}");
}

#[tokio::test]
async fn records_within_lists_without_end_are_rejected_and_the_rest_is_read() {
    let (deep, objects) = (20_000, "{\"data\":".repeat(20_000));
    let lists = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    let envelopes = format!("{objects}1{}", "}".repeat(deep));
    // Of a record with a span that is refused the others are taken out, to write it aside.
    let refused = line(1, "").replace("\"spanId\":\"00", "\"spanId\":\"");
    let refused = refused.replacen("{\"resource\"", &format!("{{\"data\":{envelopes},\"resource\""), 1);
    let content = [line(0, ""), lists, envelopes, refused, line(2, "")].join("\n");
    let written = Written::default();
    let importer = Importer::counting().with_rejects(written.clone());
    let imported = importer.traces(input(&content)).await.expect("the import succeeds");
    assert_eq!((imported.spans, imported.rejected), (2, 3));
    assert_eq!(written.0.lock().expect("no panic").1, 3);
}

/// What was written, and in how many pieces.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<(String, usize)>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut written = self.0.lock().expect("no panic");
        written.0.push_str(std::str::from_utf8(bytes).expect("UTF-8"));
        written.1 += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_damaged_protobuf_message_does_not_take_others_with_it() {
    let database = TestDatabase::create().await;
    let message = |number| spans_to_otlp(&[only(&line(number, ""))]).encode_length_delimited_to_vec();
    let mut damaged = message(1);
    // Its length stands in front; behind it, nothing is as it was.
    damaged[2..].fill(0xff);
    let mut content = [message(0), damaged, message(2)].concat();
    assert_eq!(counts(import(&database.store(), &content, 10).await), (2, 0, 1));
    content.truncate(content.len() - 1);
    let error = Importer::new(database.store()).otlp(input(content)).await.expect_err("cut");
    assert!(error.to_string().contains("reading test after message 2"), "{error}");
}

#[tokio::test]
async fn a_damaged_message_of_the_collector_s_compressed_file_does_not_take_others_with_it() {
    let message = |number| {
        let message = spans_to_otlp(&[only(&line(number, ""))]).encode_to_vec();
        let mut packed = zstd::encode_all(&*message, 0).expect("packed");
        if number == 1 {
            let half = packed.len() / 2;
            packed[half..].fill(0xff);
        }
        [(packed.len() as u32).to_be_bytes().to_vec(), packed].concat()
    };
    let content: Vec<u8> = (0..3).flat_map(message).collect();
    let imported = Importer::counting().otlp(input(content)).await.expect("the import succeeds");
    assert_eq!((imported.spans, imported.rejected), (2, 1));
}

#[tokio::test]
async fn a_line_that_breaks_off_behind_a_record_costs_its_rest_and_no_other_line() {
    let whole = |number| format!("{{\"data\":[{}]}}", line(number, ""));
    let broken = format!("{{\"data\":[{},}}]}}", line(1, ""));
    let content = [whole(0), broken, whole(3)].join("\n");
    let written = Written::default();
    let importer = Importer::counting().with_rejects(written.clone());
    let imported = importer.otlp(input(content)).await.expect("the import succeeds");
    assert_eq!((imported.spans, imported.rejected), (3, 1));
    let reject = json_of(&written.0.lock().expect("no panic").0);
    assert!(reject["origin"].as_str().is_some_and(|origin| origin.starts_with("test:2")), "{reject}");
}

#[test]
fn json_is_read_as_tolerantly_as_protobuf_demands() {
    let attributes = r#","attributes":[
        {"key":"a","value":{"doubleValue":"NaN"}}, {"key":"b","value":{"doubleValue":"-Infinity"}},
        {"key":"c","value":{"doubleValue":"1.5"}}, {"key":"d","value":{"doubleValue":2}},
        {"key":"e","value":{"int_value":"-9223372036854775808"}}, {"key":"f","value":{"intValue":1e3}},
        {"key":"g","value":{"bytesValue":"_-8"}}, {"key":"h","value":{"bytesValue":"/+8="}},
        {"key":"i","value":{"arrayValue":{"values":[{},{"boolValue":true}]}}}, {"key":"j","value":{"arrayValue":{}}},
        {"key":"k","value":{"doubleValue":null}}, {"key":"l","value":null}, {"key":"m"},
        {"key":"n","value":{"future":{"x":[1]}}}],"events":null,"extra":1"#;
    let text = line(1, attributes)
        .replace("\"kind\":2", "\"kind\":\"SPAN_KIND_CLIENT\"")
        .replace("\"status\":{}", "\"status\":{\"code\":\"STATUS_CODE_ERROR\"}")
        .replace(
            "\"startTimeUnixNano\":\"1700000000000000001\"",
            "\"start_time_unix_nano\":1700000000000000001",
        );
    let span = only(&text);
    let bytes = || Value::Bytes(vec![0xff, 0xef].into());
    let values: Vec<&Value<'_>> = span.attributes.iter().map(|(_, value)| value).collect();
    let expected = [
        Value::Double(f64::NAN),
        Value::Double(f64::NEG_INFINITY),
        Value::Double(1.5),
        Value::Double(2.0),
        Value::Int(i64::MIN),
        Value::Int(1000),
        bytes(),
        bytes(),
        Value::Array(vec![Value::Empty, Value::Bool(true)]),
        Value::Array(vec![]),
        Value::Double(f64::NAN),
        Value::Empty,
        Value::Empty,
        Value::Empty,
    ];
    assert_eq!(values, expected.iter().collect::<Vec<_>>());
    assert_eq!((span.kind, span.is_error(), span.start.0), (3, true, 1_700_000_000_000_000_001));
    assert_eq!(only(&line(7, "").replace("abc00007", "ABC00007")).trace_id, only(&line(7, "")).trace_id);
}

#[tokio::test]
async fn half_a_character_is_replaced_and_the_rest_is_read() {
    let cut =
        line(1, r#","attributes":[{"key":"a","value":{"stringValue":"C:\\ud83d \ud83d\ude00 cut \ud83d"}}]"#);
    let expected = Value::String("C:\\ud83d \u{1f600} cut \u{fffd}".into());
    assert_eq!(only(&cut).attributes, [("a".into(), expected)]);
    let jaeger =
        r#"{"traceID":"7","spans":[{"spanID":"1","tags":[{"key":"a","value":"\ud83d"}]},{"spanID":"2"}]}"#;
    for content in [cut.clone(), format!("[{cut}]"), jaeger.to_owned(), format!(r#"{{"data":[{jaeger}]}}"#)] {
        let importer = Importer::counting().on_rejected(|error| panic!("{error}"));
        assert_ne!(importer.traces(input(&content)).await.expect("an import").spans, 0, "{content}");
    }
}

#[test]
fn depth_without_end_is_an_error() {
    let deep = "{\"arrayValue\":{\"values\":[".repeat(100_000);
    assert!(
        read_spans(line(1, &format!(",\"attributes\":[{{\"key\":\"a\",\"value\":{deep}")).as_bytes())
            .is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_span_survives_json(spans in proptest::collection::vec(arbitrary::span(), 1..4)) {
        let mut text = Vec::new();
        write_spans(&mut text, &spans).expect("memory");
        let read: Vec<Span<'_>> = read_spans(&text).expect("JSON").into_iter().map(|span| span.expect("a span")).collect();
        // What OTLP can say of the spans: its times begin in 1970, and like resources stand together.
        let message = spans_to_otlp(&spans);
        let expected: Vec<Span<'_>> = message.resource_spans.iter().flat_map(spans_from_otlp).map(|span| span.expect("a span")).collect();
        prop_assert_eq!(read, expected);
    }
}

async fn recording_comes_back(name: &str) {
    let Some(path) = shared::recording(name) else { return };
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    // Meaning is not what this is about, and embedding takes its time.
    settings.embedding_model = "/no/such/model".into();
    let store = TraceStore::new(settings).expect("valid settings");
    let imported =
        Importer::new(store.clone()).otlp(Input::open(path).expect("it opens")).await.expect("imported");

    let messages = shared::messages(name).expect("it was there");
    let mut traces: HashMap<TraceId, Vec<Span<'_>>> = HashMap::new();
    for span in shared::spans(&messages) {
        traces.entry(span.trace_id).or_default().push(span);
    }
    assert_eq!(counts(imported), (traces.values().map(Vec::len).sum::<usize>() as u64, 0, 0));
    let key = |span: &Span<'_>| (span.span_id.to_bytes(), span.start, span.end);
    stream::iter(traces)
        .for_each_concurrent(8, |(id, mut expected)| {
            let store = store.clone();
            async move {
                let mut stored = store.get_trace(id).await.expect("the trace is read");
                stored.sort_by_key(key);
                expected.sort_by_key(key);
                assert_eq!(stored, expected);
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_of_trainticket_comes_back_as_it_went_in() {
    recording_comes_back("trainticket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_of_datasette_comes_back_as_it_went_in() {
    recording_comes_back("datasette").await;
}

/// Fails, as a disk does.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is on fire"))
    }
}

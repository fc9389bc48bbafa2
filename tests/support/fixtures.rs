//! Files of other tools' formats, in `tests/data/`.

use std::path::PathBuf;

use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::export::{Format, Selection, export};
use opentelemetry_pgvector::import::otlp_json::{read_spans, write_spans};
use opentelemetry_pgvector::import::{Imported, Importer, Input};
use opentelemetry_pgvector::span::Span;

use super::database::TestDatabase;

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect("a fixture")
}

/// A store without a model, since meaning is not what these tests are about.
pub fn store(database: &TestDatabase) -> TraceStore {
    let mut settings = database.settings();
    settings.embedding_model = "/no/such/model".into();
    TraceStore::new(settings).expect("valid settings")
}

/// Imports traces; nothing may be rejected.
pub async fn import(store: &TraceStore, content: impl Into<Vec<u8>>) -> Imported {
    let importer = Importer::new(store.clone()).on_rejected(|error| panic!("{error}"));
    let input = Input::reader("fixture", std::io::Cursor::new(content.into()));
    importer.traces(input).await.expect("the import succeeds")
}

pub fn counts(imported: Imported) -> (u64, u64, u64) {
    (imported.stored, imported.already_there, imported.rejected)
}

pub fn id(text: &str) -> TraceId {
    TraceId::from_hex(text).expect("an id")
}

pub async fn trace(store: &TraceStore, id: &str) -> Vec<Span<'static>> {
    store.get_trace(self::id(id)).await.expect("a trace")
}

/// Each span that is stored as OTLP JSON, in an order of their own.
pub async fn everything(store: &TraceStore) -> Vec<String> {
    let mut output = Vec::new();
    export(store, &Selection::default(), Format::Json, &mut output).await.expect("an export");
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let spans = lines.flat_map(|line| read_spans(line).expect("JSON")).map(|span| {
        let mut text = Vec::new();
        write_spans(&mut text, &[span.expect("a span")]).expect("memory");
        String::from_utf8(text).expect("UTF-8")
    });
    let mut spans: Vec<String> = spans.collect();
    spans.sort();
    spans
}

/// Exports everything in each form and imports it into another database: there it is the same.
pub async fn comes_back(store: &TraceStore) {
    let expected = everything(store).await;
    assert!(!expected.is_empty());
    for format in [Format::Json, Format::Protobuf, Format::ProtobufDelimited] {
        let mut output = Vec::new();
        let exported = export(store, &Selection::default(), format, &mut output).await.expect("an export");
        let database = TestDatabase::create().await;
        let other = self::store(&database);
        let importer = Importer::new(other.clone()).on_rejected(|error| panic!("{error}"));
        let input = Input::reader("export", std::io::Cursor::new(output));
        assert_eq!(importer.otlp(input).await.expect("an import").stored, exported.spans);
        let back = everything(&other).await;
        assert_eq!(back.len(), expected.len(), "{format:?}");
        for (span, expected) in back.iter().zip(&expected) {
            assert!(span == expected, "{format:?}: {span:.2000}\ninstead of {expected:.2000}");
        }
    }
}

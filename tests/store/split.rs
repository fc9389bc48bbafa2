//! A span splits into a document and a row, and joins to the same span again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::support::{arbitrary, shared};
use opentelemetry_pgvector::span::{Document, Halves, Span, Splitter, Template};
use proptest::prelude::*;

/// Joins every row again with the documents that came with it or before.
fn join(halves: &Halves, documents: &mut HashMap<u128, (Arc<Document>, Template)>) -> Vec<Span<'static>> {
    for document in &halves.documents {
        let template = Template::parse(&document.body).expect("a body is a format string");
        documents.insert(document.key, (Arc::clone(document), template));
    }
    halves
        .rows
        .iter()
        .map(|row| {
            let stored = halves.stored(row);
            documents[&row.document]
                .1
                .join(&stored, &halves.resources[row.resource])
                .expect("the halves join")
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_span_joins_to_itself(spans in proptest::collection::vec(arbitrary::span(), 1..12)) {
        let mut splitter = Splitter::default();
        let mut documents = HashMap::new();
        // Twice, since the second time the splitter knows more: documents, and keys that vary.
        for _ in 0..2 {
            let known: Vec<u128> = documents.keys().copied().collect();
            let halves = splitter.split(&spans, |key| known.contains(&key));
            prop_assert_eq!(&join(&halves, &mut documents), &spans);
        }
    }
}

fn recording_joins(name: &str, most_documents: usize) {
    let Some(messages) = shared::messages(name) else { return };
    let spans = shared::spans(&messages);
    let mut splitter = Splitter::default();
    let mut documents = HashMap::new();
    let mut fillers = 0;
    for batch in spans.chunks(512) {
        let known: std::collections::HashSet<u128> = documents.keys().copied().collect();
        let halves = splitter.split(batch, |key| known.contains(&key));
        fillers += halves.fillers.len();
        assert_eq!(join(&halves, &mut documents), batch);
    }
    println!(
        "{name}: {} spans, {} documents, {} B of fillers a span",
        spans.len(),
        documents.len(),
        fillers / spans.len()
    );
    if std::env::var_os("SHOW_DOCUMENTS").is_some() {
        let mut all: Vec<_> = documents.values().map(|(document, _)| document).collect();
        all.sort_by_key(|document| (&document.service, &document.name, &document.text));
        for document in all {
            println!(
                "{} | {} | {} | {}",
                document.service,
                document.name,
                document.text,
                document.body.chars().take(600).collect::<String>()
            );
        }
    }
    assert!(documents.len() <= most_documents, "{} documents", documents.len());
}

#[test]
fn every_span_of_datasette_joins_to_itself_and_documents_are_few() {
    recording_joins("datasette", 2000);
}

#[test]
fn every_span_of_trainticket_joins_to_itself_and_documents_are_few() {
    recording_joins("trainticket", 300);
}

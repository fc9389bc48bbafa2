//! What a span costs before anything is sent: conversion from the SDK, and splitting with known documents. And what it costs to
//! look through long texts in which a literal seems to begin at every other sign, against prose: whoever sends a URL may write one.
//! And what a batch costs in which each span has a resource of its own.
//!
//! `cargo bench --bench split [-- --quick] [-- --generated]`. No database is needed, so this is what to profile:
//! `valgrind --tool=callgrind target/release/deps/split-* --quick`.

mod support;

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::span::{
    Halves, Resource, Scopes, Scrubber, Span, Splitter, Value, resource_from_sdk, span_from_sdk,
};
use opentelemetry_sdk::trace::SpanData;
use support::figure::{Round, print_rounds};
use support::process::work_time;
use support::traffic::{BATCH, Traffic};

const BATCHES: usize = 100;

fn main() {
    let traffic = Traffic::open();
    let mut client = Client::new(&traffic);
    let mut rounds = Vec::new();
    // The first round makes the documents.
    for _ in 0..if support::is_quick() { 2 } else { 8 } {
        let (mut converting, mut splitting) = (Duration::ZERO, Duration::ZERO);
        for number in 0..BATCHES {
            let batch = traffic.batch(number);
            let start = work_time();
            let spans = client.convert(&batch);
            converting += work_time().saturating_sub(start);
            let start = work_time();
            let halves = client.split(&spans);
            splitting += work_time().saturating_sub(start);
            client.learn(&halves);
        }
        let nanoseconds = |time: Duration| time.as_nanos() as f64 / (BATCHES * BATCH) as f64;
        rounds.push(Round { value: nanoseconds(splitting), against: nanoseconds(converting) });
    }
    let against = format!("conversion from SpanData ({})", traffic.origin);
    print_rounds("split", "ns/span", &against, &rounds[1..]);
    deceptive_texts(&mut client);
    many_resources(&mut client);
}

/// Long texts, each in an attribute of its own kind, in turns with prose of the same length.
fn deceptive_texts(client: &mut Client) {
    const BYTES: usize = 32_000;
    let filled =
        |start: &str, part: &str| format!("{start}{}", part.repeat((BYTES - start.len()) / part.len()));
    let prose = filled("", "lorem ipsum dolor ");
    for (bench, key, text) in [
        ("split/addresses", "exception.message", filled("@", "a.")),
        ("split/quotes", "db.query.text", filled("", "'a ")),
        ("split/query", "url.full", filled("http://host/items?", "a=+b")),
    ] {
        let mut nanoseconds_per_byte = |text: &str| {
            let mut span = Span::default();
            span.attributes.push((key.into(), Value::String(text.into())));
            let start = work_time();
            for _ in 0..10 {
                std::hint::black_box(client.split(std::slice::from_ref(&span)));
            }
            work_time().saturating_sub(start).as_nanos() as f64 / (10 * text.len()) as f64
        };
        let rounds: Vec<Round> = (0..5)
            .map(|_| Round { value: nanoseconds_per_byte(&text), against: nanoseconds_per_byte(&prose) })
            .collect();
        print_rounds(bench, "ns/byte", &format!("prose of the same length in `{key}`"), &rounds);
    }
}

/// As many resources as spans, in turns with as many that share one.
fn many_resources(client: &mut Client) {
    const SPANS: usize = 20_000;
    let scrubber = Scrubber::new(&Settings::default()).expect("valid settings");
    let resource = |number: usize| {
        let instance = Value::String(format!("instance {number}").into());
        let attributes = vec![("service.instance.id".into(), instance)];
        Arc::new(Resource { attributes, ..Resource::default() })
    };
    let shared = resource(0);
    let mut nanoseconds_per_span = |resource: &dyn Fn(usize) -> Arc<Resource>| {
        let mut spans: Vec<Span<'_>> =
            (0..SPANS).map(|number| Span { resource: resource(number), ..Span::default() }).collect();
        let start = work_time();
        scrubber.scrub(&mut spans);
        std::hint::black_box(client.split(&spans));
        work_time().saturating_sub(start).as_nanos() as f64 / SPANS as f64
    };
    let rounds: Vec<Round> = (0..5)
        .map(|_| Round {
            value: nanoseconds_per_span(&resource),
            against: nanoseconds_per_span(&|_| Arc::clone(&shared)),
        })
        .collect();
    print_rounds("split/resources", "ns/span", "spans of one resource", &rounds);
}

/// The part of an exporter that needs no database.
struct Client {
    resource: Arc<Resource>,
    splitter: Splitter,
    known: RefCell<HashSet<u128>>,
}

impl Client {
    fn new(traffic: &Traffic) -> Self {
        let resource = Arc::new(resource_from_sdk(&traffic.resource));
        Client { resource, splitter: Splitter::default(), known: RefCell::default() }
    }

    // Not inlined, so that a profile shows the two halves.
    #[inline(never)]
    fn convert<'a>(&self, batch: &'a [SpanData]) -> Vec<Span<'a>> {
        let mut scopes = Scopes::default();
        batch.iter().map(|data| span_from_sdk(data, &self.resource, &mut scopes)).collect()
    }

    #[inline(never)]
    fn split(&mut self, spans: &[Span<'_>]) -> Halves {
        self.splitter.split(spans, |key| self.known.borrow().contains(&key))
    }

    fn learn(&mut self, halves: &Halves) {
        self.known.get_mut().extend(halves.documents.iter().map(|document| document.key));
    }
}

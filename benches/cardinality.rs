//! How many documents a client can make that puts what never repeats into names, texts, values and keys.
//!
//! `cargo bench --bench cardinality [-- --quick] [-- --case "Word in Key"]`. No database is needed.

mod support;

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use opentelemetry_pgvector::span::Splitter;
use support::figure::{Figure, rounded};
use support::hostile::{Hostile, PLACES, POISONS, Place, Poison};
use support::process::{resident_mib, work_time};

const BATCH: usize = 512;
/// What the documents of one service must stay below.
const MOST_DOCUMENTS: f64 = 5000.0;
/// 10 µs a span.
const LEAST_SPEED: f64 = 100_000.0;

fn main() {
    let spans = if support::is_quick() { 50_000 } else { 1_000_000 };
    let only = std::env::args().skip_while(|argument| argument != "--case").nth(1);
    for poison in POISONS {
        let alone =
            PLACES.iter().map(|place| (format!("{poison:?} in {place:?}"), std::slice::from_ref(place)));
        for (case, places) in alone.chain([(format!("{poison:?} everywhere"), &PLACES[..])]) {
            if only.as_ref().is_none_or(|only| *only == case) {
                run(&case, poison, places, spans);
            }
        }
    }
}

fn run(case: &str, poison: Poison, places: &[Place], spans: usize) {
    let mut hostile = Hostile::new(poison, places);
    let mut splitter = Splitter::default();
    // As the store does: it knows the documents that it has stored by their keys.
    let known = RefCell::new(HashSet::new());
    let mut documents = HashSet::new();
    let mut splitting = Duration::ZERO;
    let mut done = 0;
    let before = resident_mib();
    let mut early = None;
    while done < spans {
        let batch = hostile.batch(BATCH);
        let start = work_time();
        let halves = splitter.split(&batch, |key| known.borrow().contains(&key));
        splitting += work_time().saturating_sub(start);
        for document in halves.documents {
            known.borrow_mut().insert(document.key);
            documents.insert(document.hash);
        }
        done += batch.len();
        if early.is_none() && done >= spans / 5 {
            early = resident_mib();
        }
    }
    let after = resident_mib();

    let print = |what: &str, value: f64, unit: &str, against: &str, ratio: f64| {
        let bench = format!("cardinality/{case}/{what}");
        Figure { bench: &bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }
            .print();
    };
    let count = documents.len() as f64;
    print("documents", count, "documents", "the bound of 5000", count / MOST_DOCUMENTS);
    let speed = done as f64 / splitting.as_secs_f64();
    print("splitting", speed, "spans/s", "the bound of 10 µs a span", speed / LEAST_SPEED);
    if let (Some(before), Some(early), Some(after)) = (before, early, after) {
        print("memory before", before, "MiB", "itself", 1.0);
        print("memory after", after, "MiB", "after a fifth of the spans", after / early);
    }
}

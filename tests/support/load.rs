//! Spans with sequence numbers, what became of them, and the proof that the table says the same.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio_postgres::{Client, Config, NoTls};

/// The attribute that numbers the spans of a test.
pub const SEQUENCE: &str = "load.sequence";

/// A finished span with a number.
pub fn span(name: &str, sequence: i64) -> SpanData {
    let id = uuid::Uuid::new_v4().as_u128();
    let now = SystemTime::now();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(id),
            SpanId::from(id as u64),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: name.to_owned().into(),
        start_time: now,
        end_time: now,
        attributes: vec![KeyValue::new(SEQUENCE, sequence)],
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("load").build(),
    }
}

/// Finished spans with these numbers.
pub fn spans(name: &str, sequences: Range<i64>) -> Vec<SpanData> {
    sequences.map(|sequence| span(name, sequence)).collect()
}

/// A word of its own for each number: digits would be taken for a literal, and make no document of their own.
pub fn letters(mut number: u64) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return word;
        }
    }
}

/// What the exporter said of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Ok`: it is in the table exactly once.
    Acknowledged,
    /// An error that says that it waits in memory: it is in the table exactly once, later.
    Held,
    /// Any other error: it is in the table at most once.
    Refused,
}

impl Outcome {
    pub fn of(result: &OTelSdkResult) -> Self {
        match result {
            Ok(()) => Outcome::Acknowledged,
            Err(error) if error.to_string().contains("wait in memory") => Outcome::Held,
            Err(_) => Outcome::Refused,
        }
    }
}

/// What the exporters of a test said of each span. Cloning shares it.
#[derive(Clone, Default)]
pub struct Tally {
    outcomes: Arc<Mutex<BTreeMap<i64, Outcome>>>,
    /// Why spans were refused.
    reasons: Arc<Mutex<BTreeMap<String, usize>>>,
    /// What a test says of the spans from this number on.
    labels: Arc<Mutex<BTreeMap<i64, String>>>,
}

impl Tally {
    pub fn record(&self, sequences: impl IntoIterator<Item = i64>, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().expect("no panic");
        for sequence in sequences {
            let before = outcomes.insert(sequence, outcome);
            assert!(before.is_none(), "span {sequence} was exported twice");
        }
    }

    /// Takes note of why an export failed.
    pub fn reason(&self, reason: String) {
        *self.reasons.lock().expect("no panic").entry(reason).or_default() += 1;
    }

    /// Has every failure that concerns the spans from this number on say so.
    pub fn label(&self, first: i64, label: String) {
        self.labels.lock().expect("no panic").insert(first, label);
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.lock().expect("no panic").values().filter(|other| **other == outcome).count()
    }

    /// How many spans are to be in the table in the end.
    pub fn promised(&self) -> usize {
        self.count(Outcome::Acknowledged) + self.count(Outcome::Held)
    }

    /// How many spans of the thousand from this number on came to this.
    pub fn count_from(&self, first: i64, outcome: Outcome) -> usize {
        let outcomes = self.outcomes.lock().expect("no panic");
        outcomes.range(first..first + 1000).filter(|(_, other)| **other == outcome).count()
    }

    /// How many spans were exported.
    pub fn total(&self) -> usize {
        self.outcomes.lock().expect("no panic").len()
    }

    /// An exporter that records what becomes of the spans it exports.
    pub fn recording<E>(&self, exporter: E) -> Recording<E> {
        Recording { exporter, tally: self.clone() }
    }

    /// The difference between the table and what was said, if any.
    fn difference(&self, table: &BTreeMap<i64, i64>, final_: bool) -> Result<(), String> {
        let outcomes = self.outcomes.lock().expect("no panic");
        let labels = self.labels.lock().expect("no panic");
        let label = |sequence: i64| match labels.range(..=sequence).next_back() {
            Some((_, label)) => format!(" ({label})"),
            None => String::new(),
        };
        let mut wrong = Vec::new();
        for (&sequence, &count) in table {
            match outcomes.get(&sequence) {
                Some(_) if count > 1 => {
                    wrong.push(format!("span {sequence}{} is there {count} times", label(sequence)))
                }
                // A processor may be between the commit and the record of its result.
                None if final_ => {
                    wrong.push(format!("span {sequence}{} was never exported", label(sequence)))
                }
                _ => {}
            }
        }
        for (sequence, outcome) in &*outcomes {
            let missing = !table.contains_key(sequence);
            if missing && (*outcome == Outcome::Acknowledged || final_ && *outcome == Outcome::Held) {
                wrong.push(format!("span {sequence}{}, {outcome:?}, is missing", label(*sequence)));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Asserts, once the faults are gone, that the table holds what was said: what is acknowledged now and exactly
    /// once, what is held in memory within 30 s, all else at most once, and nothing more.
    ///
    /// Call it while the exporters live; call it again when they are gone, for what came late.
    pub async fn assert_stored(&self, database: &Config, context: &dyn fmt::Display) {
        let client = connect(database).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let table = table(&client).await;
            if let Err(wrong) = self.difference(&table, false) {
                panic!("{context}: {wrong}");
            }
            match self.difference(&table, true) {
                Ok(()) => return,
                Err(wrong) => assert!(Instant::now() < deadline, "{context}: after 30 s {wrong}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the connections of every exporter are gone, then asserts as [`assert_stored`](Self::assert_stored).
    pub async fn assert_stored_in_the_end(&self, database: &Config, context: &dyn fmt::Display) {
        let client = connect(database).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let open: Vec<String> = client
                .query(
                    "SELECT concat_ws(' ', state, wait_event, query) FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'opentelemetry-pgvector'",
                    &[],
                )
                .await
                .expect("the activity")
                .iter()
                .map(|row| row.get(0))
                .collect();
            if open.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{context}: connections are left after 30 s: {open:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(client);
        self.assert_stored(database, context).await;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [acknowledged, held, refused] =
            [Outcome::Acknowledged, Outcome::Held, Outcome::Refused].map(|outcome| self.count(outcome));
        write!(formatter, "{acknowledged} acknowledged, {held} held in memory, {refused} refused")?;
        for (reason, count) in &*self.reasons.lock().expect("no panic") {
            write!(formatter, "; {count} x {reason}")?;
        }
        Ok(())
    }
}

/// How often each number is in the table.
async fn table(client: &Client) -> BTreeMap<i64, i64> {
    let exists: bool = client
        .query_one("SELECT to_regclass('otel.spans') IS NOT NULL", &[])
        .await
        .expect("an answer")
        .get(0);
    if !exists {
        return BTreeMap::new();
    }
    let sql = format!("SELECT (attributes->>'{SEQUENCE}')::bigint, count(*) FROM otel.spans GROUP BY 1");
    let rows = client.query(&sql, &[]).await.expect("the spans are counted");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A connection of the test's own, once the server lets it in.
pub async fn connect(database: &Config) -> Client {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match database.connect(NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "no connection within 30 s: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An exporter that records what becomes of its spans.
#[derive(Debug)]
pub struct Recording<E> {
    exporter: E,
    tally: Tally,
}

impl fmt::Debug for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tally({self})")
    }
}

impl<E: SpanExporter> SpanExporter for Recording<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sequences: Vec<i64> = batch.iter().map(sequence).collect();
        // A processor that gives up waiting drops this future: then nothing is known of the spans.
        let mut unknown = Unknown { sequences, tally: &self.tally };
        let result = self.exporter.export(batch).await;
        self.tally.record(std::mem::take(&mut unknown.sequences), Outcome::of(&result));
        if let Err(error) = &result {
            self.tally.reason(error.to_string());
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

struct Unknown<'a> {
    sequences: Vec<i64>,
    tally: &'a Tally,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if !self.sequences.is_empty() {
            self.tally.reason("the processor gave up".into());
        }
        self.tally.record(std::mem::take(&mut self.sequences), Outcome::Refused);
    }
}

fn sequence(span: &SpanData) -> i64 {
    let value = span.attributes.iter().find(|attribute| attribute.key.as_str() == SEQUENCE);
    match value.map(|attribute| &attribute.value) {
        Some(Value::I64(sequence)) => *sequence,
        other => panic!("a span without a number: {other:?}"),
    }
}

/// Numbers from a seed, the same in every run (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The seed of `OTEL_TEST_SEED`, or a new one; print it with every failure.
    pub fn seed() -> u64 {
        match std::env::var("OTEL_TEST_SEED") {
            Ok(seed) => seed.parse().expect("OTEL_TEST_SEED is a number"),
            Err(_) => uuid::Uuid::new_v4().as_u128() as u64,
        }
    }

    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len() as u64) as usize]
    }
}

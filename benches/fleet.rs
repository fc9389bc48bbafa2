//! A fleet of services: what its processes know, how many documents wait for their embedding and since when, and what a search takes meanwhile.
//!
//! `cargo bench --bench fleet [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names. 1,000 services with 100 operations each
//! (quick: 50 with 20) share some processes. They start, all at once and with an empty database; they go on with traffic by
//! Zipf's law; a tenth of them is deployed with new operations; and all of it goes through one process, such as a gateway.
//! The stores of the fleet are in this process, so that one core embeds; searches are made by a process of their own.

mod support;

use std::time::{Duration, Instant};

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::span::Span;
use support::child::{self, Child};
use support::database::TestDatabase;
use support::figure::{Figure, median, rounded};
use support::fleet::{Fleet, query};
use support::is_quick;
use support::process::resident_mib;
use support::traffic::BATCH;
use tokio::runtime::Runtime;

/// How large a fleet is.
struct Size {
    services: usize,
    operations: usize,
    processes: usize,
    batches: usize,
    /// New operations of a service that is deployed.
    deployed: usize,
    /// Searches in a row.
    searches: usize,
}

const FULL: Size =
    Size { services: 1000, operations: 100, processes: 16, batches: 1000, deployed: 20, searches: 10 };
const QUICK: Size =
    Size { services: 50, operations: 20, processes: 4, batches: 60, deployed: 20, searches: 5 };

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_millis(500);
/// Between two batches of the traffic: 5,120 spans a second.
const PACE: Duration = Duration::from_millis(100);

const WAITING: &str = "SELECT count(*), coalesce(extract(epoch FROM now() - min(first_seen)), 0)::float8 \
                       FROM otel.span_documents WHERE embedding IS NULL";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some((_, settings)) = child::role() {
        return answer_searches(&runtime, TraceStore::new(settings).expect("valid settings"));
    }
    let mut size = if is_quick() { QUICK } else { FULL };
    if let Ok(services) = std::env::var("OTEL_BENCH_SERVICES") {
        size.services = services.parse().expect("OTEL_BENCH_SERVICES is a number");
    }
    let database = runtime.block_on(TestDatabase::create());
    let mut bench = Bench {
        search: Child::start("search", &database.url()),
        fleet: Fleet::new(size.services, size.operations),
        stores: (0..size.processes).map(|_| store(&database)).collect(),
        runtime: &runtime,
        database: &database,
        size,
    };
    bench.start();
    bench.traffic("fleet/traffic");
    bench.deploy();
    bench.memory();
    bench.gateway();
    bench.stores.iter().for_each(|store| runtime.block_on(store.close()));
}

fn store(database: &TestDatabase) -> TraceStore {
    let mut settings = database.settings();
    settings.pool_size = 2;
    TraceStore::new(settings).expect("valid settings")
}

/// Makes as many searches as a line says, each with words of its own, and answers with the milliseconds of each.
fn answer_searches(runtime: &Runtime, store: TraceStore) {
    let mut number = 0;
    child::answer_each(|line| {
        let count: usize = line.parse().expect("a number");
        let one = |number| {
            let begin = Instant::now();
            runtime.block_on(store.search_traces(query(number).as_str())).expect("a search");
            begin.elapsed().as_secs_f64() * 1e3
        };
        number += count;
        (number - count..number).map(one).collect::<Vec<f64>>()
    });
    runtime.block_on(store.close());
}

struct Bench<'a> {
    search: Child,
    fleet: Fleet,
    stores: Vec<TraceStore>,
    runtime: &'a Runtime,
    database: &'a TestDatabase,
    size: Size,
}

/// What was seen until nothing waited any more.
#[derive(Default)]
struct Backlog {
    most: i64,
    oldest: f64,
    lasted: f64,
    searches: Vec<f64>,
}

impl Bench<'_> {
    /// Every service begins to use each of its operations.
    fn start(&mut self) {
        let spans: Vec<Span<'static>> = self.fleet.each_once().collect();
        let begin = Instant::now();
        for (service, batch) in spans.chunks(self.size.operations).enumerate() {
            self.store(service, batch);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let rows = self.documents();
        let operations = self.fleet.documents() as f64;
        print(
            "fleet/start/stored",
            operations / seconds,
            "documents/s",
            "one writer, each span a new document",
            1.0,
        );
        print("fleet/start/documents", rows, "documents", "operations of the fleet", rows / operations);
        let backlog = self.watch(begin);
        self.report("fleet/start", &backlog, rows);
    }

    /// Traffic for some time, and what of it the processes know already.
    fn traffic(&mut self, name: &str) {
        let (known, new) = self.activity();
        let begin = Instant::now();
        for number in 0..self.size.batches {
            let batch: Vec<Span<'static>> = (0..BATCH).map(|_| self.drawn(number)).collect();
            self.store(number, &batch);
            std::thread::sleep((PACE * number as u32).saturating_sub(begin.elapsed()));
        }
        let (known_after, new_after) = self.activity();
        let (known, new) = ((known_after - known) as f64, (new_after - new) as f64);
        print(
            &format!("{name}/known"),
            known / (known + new),
            "share",
            "documents of batches",
            known / (known + new),
        );
        let searches = self.searches(self.size.searches * 4);
        self.report_searches(name, searches);
    }

    /// A tenth of the services comes with new operations, while the traffic goes on.
    fn deploy(&mut self) {
        let begin = Instant::now();
        let services = self.size.services / 10;
        for turn in 0..services {
            let service = turn * 10;
            let spans = self.fleet.deploy(service, self.size.deployed);
            self.store(service % self.size.processes, &spans);
        }
        let backlog = self.watch(begin);
        self.report("fleet/deploy", &backlog, (services * self.size.deployed) as f64);
    }

    /// All services through one process.
    fn gateway(&mut self) {
        self.stores = vec![store(self.database)];
        let spans: Vec<Span<'static>> = self.fleet.each_once().collect();
        for batch in spans.chunks(BATCH) {
            self.store(0, batch);
        }
        self.traffic("fleet/gateway");
        let rows = self.documents();
        print(
            "fleet/gateway/documents",
            rows,
            "documents",
            "operations",
            rows / self.fleet.documents() as f64,
        );
        self.memory();
    }

    /// Looks at what waits until it is nothing, and searches meanwhile.
    fn watch(&mut self, begin: Instant) -> Backlog {
        let mut backlog = Backlog::default();
        let client = self.runtime.block_on(self.database.client());
        loop {
            let row = self.runtime.block_on(client.query_one(WAITING, &[])).expect("a look");
            let (waiting, age): (i64, f64) = (row.get(0), row.get(1));
            (backlog.most, backlog.oldest) = (backlog.most.max(waiting), backlog.oldest.max(age));
            backlog.lasted = begin.elapsed().as_secs_f64();
            if waiting == 0 {
                return backlog;
            }
            eprintln!("{:.1} s: {waiting} documents wait, the oldest for {age:.1} s", backlog.lasted);
            let number = self.size.searches;
            backlog.searches.extend(self.searches(number));
            std::thread::sleep(LOOK);
        }
    }

    fn report(&self, name: &str, backlog: &Backlog, new: f64) {
        let most = backlog.most as f64;
        print(&format!("{name}/backlog"), most, "documents", "new documents", most / new);
        let (oldest, lasted) = (backlog.oldest, backlog.lasted);
        print(&format!("{name}/age"), oldest, "s", "the time until all were embedded", oldest / lasted);
        print(&format!("{name}/embedded"), new / lasted, "documents/s", "one core", 1.0);
        self.report_searches(&format!("{name}/while"), backlog.searches.clone());
    }

    fn report_searches(&self, name: &str, mut times: Vec<f64>) {
        if times.is_empty() {
            return;
        }
        let middle = median(&mut times);
        let high = times[(times.len() * 99 / 100).min(times.len() - 1)];
        print(&format!("{name}/search_p50"), middle, "ms", "p50", 1.0);
        print(&format!("{name}/search_p99"), high, "ms", "p50", high / middle);
    }

    fn memory(&self) {
        if let Some(memory) = resident_mib() {
            let stores = self.stores.len() as f64;
            print(
                "fleet/memory",
                memory,
                "MiB",
                "a store, the model and the bench's own spans shared",
                memory / stores,
            );
        }
    }

    /// A span of a service that runs in a process.
    fn drawn(&mut self, process: usize) -> Span<'static> {
        let (processes, process) = (self.stores.len(), process % self.stores.len());
        let service = self.fleet.service();
        let near = service - service % processes + process;
        self.fleet.span_of(near.min(self.fleet.services() - 1))
    }

    fn store(&self, process: usize, spans: &[Span<'_>]) {
        let store = &self.stores[process % self.stores.len()];
        self.runtime.block_on(store.batch_store(spans)).expect("the batch is stored");
    }

    fn searches(&mut self, count: usize) -> Vec<f64> {
        self.search.ask(&count.to_string())
    }

    fn documents(&self) -> f64 {
        let count: i64 =
            self.runtime.block_on(self.database.value("SELECT count(*) FROM otel.span_documents"));
        count as f64
    }

    fn activity(&self) -> (u64, u64) {
        let each = self.stores.iter().map(TraceStore::activity);
        each.fold((0, 0), |(known, new), one| (known + one.documents_known, new + one.documents_new))
    }
}

fn print(bench: &str, value: f64, unit: &str, against: &str, ratio: f64) {
    Figure { bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }.print();
}

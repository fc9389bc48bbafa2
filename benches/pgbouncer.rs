//! How fast spans are committed through PgBouncer in transaction mode, against a direct connection.
//!
//! `cargo bench --bench pgbouncer [-- --quick] [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names, with
//! Debian's PgBouncer, which `scripts/debian_parts.sh` installs. The two are measured in turns.

mod support;

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
#[path = "../tests/support/debian.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod debian;

#[cfg(unix)]
fn main() {
    bouncer::main();
}

#[cfg(unix)]
mod bouncer {
    use std::time::{Duration, Instant};

    use opentelemetry_pgvector::SpanExporter;
    use opentelemetry_sdk::trace::SpanExporter as _;
    use tokio::runtime::Runtime;

    use crate::debian;
    use crate::support::database::TestDatabase;
    use crate::support::figure::{Round, print_rounds};
    use crate::support::is_quick;
    use crate::support::traffic::{BATCH, Traffic};

    pub fn main() {
        let runtime = Runtime::new().expect("a runtime");
        let traffic = Traffic::open();
        let (rounds, batches) = if is_quick() { (1, 20) } else { (7, 100) };
        let database = runtime.block_on(TestDatabase::create());
        let config = database.config();
        let line = format!(
            "{name} = host=127.0.0.1 port={} dbname={name} user={} password={}",
            config.get_ports()[0],
            config.get_user().expect("a user"),
            String::from_utf8_lossy(config.get_password().unwrap_or_default()),
            name = database.name(),
        );
        let Some(bouncer) = debian::pgbouncer(&line, 2) else { return };
        let mut settings = database.settings();
        let direct = exporter(settings.clone(), &traffic);
        settings.connection_string =
            format!("host=127.0.0.1 port={} dbname={} user=app", bouncer.port, database.name());
        settings.prepared_statements = false;
        let pooled = exporter(settings, &traffic);

        let empty = || {
            let sql = "TRUNCATE otel.span_rows, otel.batches; CHECKPOINT";
            runtime.block_on(database.execute(sql));
        };
        // Makes the documents, and fills the caches.
        for exporter in [&direct, &pooled] {
            export(&runtime, exporter, &traffic, batches);
            if let Err(error) = exporter.force_flush() {
                eprintln!("documents are not embedded: {error}");
            }
        }
        let mut speeds = Vec::new();
        for _ in 0..rounds {
            empty();
            let against = spans_per_second(batches, export(&runtime, &direct, &traffic, batches));
            empty();
            let value = spans_per_second(batches, export(&runtime, &pooled, &traffic, batches));
            speeds.push(Round { value, against });
        }
        let against = format!("a direct connection ({}, batches of {BATCH})", traffic.origin);
        print_rounds("pgbouncer", "spans/s", &against, &speeds);
    }

    fn exporter(settings: opentelemetry_pgvector::Settings, traffic: &Traffic) -> SpanExporter {
        let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
        exporter.set_resource(&traffic.resource);
        exporter
    }

    /// How long it takes to store so many batches, without the making of them.
    fn export(runtime: &Runtime, exporter: &SpanExporter, traffic: &Traffic, batches: usize) -> Duration {
        let mut spent = Duration::ZERO;
        for number in 0..batches {
            let batch = traffic.batch(number);
            let start = Instant::now();
            runtime.block_on(exporter.export(batch)).expect("the batch is exported");
            spent += start.elapsed();
        }
        spent
    }

    fn spans_per_second(batches: usize, spent: Duration) -> f64 {
        (batches * BATCH) as f64 / spent.as_secs_f64()
    }
}

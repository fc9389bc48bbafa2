//! `otel-pgvector plan`: what a load takes.

use crate::support::command::{Run, command, database};
use serde_json::Value;

fn plan(arguments: &[&str]) -> Run {
    Run::of(command(&[&["plan"], arguments].concat()).output().expect("it runs"))
}

fn json(arguments: &[&str]) -> Value {
    plan(&[arguments, &["--json"]].concat()).ok().json()
}

#[test]
fn it_says_what_a_load_takes_without_a_database() {
    let text = plan(&["--spans-per-second", "2000", "--retention", "30d", "--services", "40"]).ok().stdout;
    for expected in [
        "172,800,000 a day; 5,184,000,000 in 30 days",
        "bytes a span",
        "4,000: ",
        "32 of a day",
        "of 40 services",
        "one server is enough",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn twice_the_load_takes_twice_as_much() {
    let one = json(&["--spans-per-second", "10000", "--retention", "10d", "--services", "10"]);
    let twice = json(&["--spans-per-second", "20000", "--retention", "10d", "--services", "20"]);
    for field in
        ["spans_kept", "heap_bytes", "index_bytes", "document_bytes", "wal_bytes_per_day", "connections"]
    {
        let (one, twice) = (one[field].as_f64().expect(field), twice[field].as_f64().expect(field));
        assert!((twice / one - 2.0).abs() < 0.01, "{field}: {one}, {twice}");
    }
    let longer = json(&["--spans-per-second", "10000", "--retention", "20d", "--services", "10"]);
    assert_eq!(longer["wal_bytes_per_day"], one["wal_bytes_per_day"]);
    assert!(longer["disk_bytes"].as_f64() > one["disk_bytes"].as_f64());
}

#[test]
fn spans_and_documents_may_be_given() {
    let given = json(&[
        "--spans-per-second",
        "1",
        "--retention",
        "1w",
        "--documents",
        "5",
        "--bytes-per-span",
        "1000",
    ]);
    assert_eq!((&given["documents"], &given["retention_days"]), (&Value::from(5), &Value::from(7)));
    assert_eq!(
        given["heap_bytes"].as_u64().zip(given["index_bytes"].as_u64()).map(|(a, b)| a + b),
        Some(604_800_000)
    );
}

#[test]
fn more_than_a_server_bears_is_told() {
    let large = json(&["--spans-per-second", "1000000", "--retention", "90d", "--services", "1000"]);
    assert_eq!(large["advice"], "citus");
    assert!(large["workers"].as_u64() > Some(1), "{large}");
    assert_eq!(large["pooler"], true);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (arguments, expected) in [
        (["--spans-per-second", "0", "--retention", "30d"], "expected a number from 0.001 to"),
        (["--spans-per-second", "NaN", "--retention", "30d"], "expected a number from"),
        (["--spans-per-second", "many", "--retention", "30d"], "expected a number"),
        (["--spans-per-second", "10", "--retention", "30"], "from 1d to 3650d"),
        (["--spans-per-second", "10", "--retention", "0d"], "from 1d to 3650d"),
        (["--spans-per-second", "10", "--retention", "99999999999w"], "from 1d to 3650d"),
    ] {
        let run = plan(&arguments);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(expected), "{run:?}");
    }
}

#[test]
fn a_database_tells_how_large_spans_are() {
    let database = database();
    database.run(&["migrate"]).ok();
    let arguments = ["plan", "--spans-per-second", "10", "--retention", "30d", "--from-database", "--json"];
    let empty = database.run(&arguments);
    assert_eq!(empty.code, Some(1));
    assert!(empty.stderr.contains("0 spans by its statistics"), "{empty:?}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(database.execute(
        "INSERT INTO otel.span_rows SELECT gen_random_uuid(), n, 0, now(), 1, 1, 1, 0, 0, repeat('x', 500) \
         FROM generate_series(1, 20000) AS n; ANALYZE otel.span_rows",
    ));
    let stored = database.run(&arguments).ok().json();
    let bytes = stored["bytes_per_span"].as_f64().expect("bytes");
    assert!((550.0..1500.0).contains(&bytes), "{stored}");
    assert_eq!(stored["documents"], 0);
}

//! The counts of `examples/load`, by which others test the promise from outside.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::database::{TestDatabase, eventually};
use opentelemetry_pgvector::SpanExporter;

/// The example's program, built where it is not up to date.
fn program() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "load"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if cfg!(feature = "cli") {
        build.arg("--all-features");
    }
    // What cargo tells a test of its package would have others built anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start))
        {
            build.env_remove(name);
        }
    }
    assert!(build.status().expect("cargo").success());
    let test = std::env::current_exe().expect("a path");
    test.ancestors().nth(2).expect("the target's folder").join("examples/load")
}

fn start(program: &PathBuf, arguments: &[&str], settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the example starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_the_load_are_those_of_the_table() {
    let program = tokio::task::spawn_blocking(program).await.expect("built");
    // Whether there is a spool, what it does when it is full, and whether the database is back before the end.
    let cases = [
        (Some("drop_newest"), "1024", true),
        (Some("drop_newest"), "1024", false),
        (Some("drop_newest"), "1", false),
        (Some("drop_oldest"), "1", false),
        (None, "1024", true),
        (None, "1024", false),
    ];
    for case in cases {
        let (spool, mebibytes, is_back) = case;
        let database = TestDatabase::create().await;
        database.store().migrate().await.expect("migrated");
        let folder = tempfile::tempdir().expect("a folder");
        let (url, path) = (database.url(), folder.path().display().to_string());
        let mut settings = vec![
            ("OTEL_STORAGE_CONNECTION_STRING", url.as_str()),
            ("OTEL_STORAGE_EMBEDDING_MODEL", "/nonexistent/model"),
            ("OTEL_STORAGE_FLUSH_TIMEOUT_SECONDS", "2"),
            ("OTEL_STORAGE_SPOOL_MEBIBYTES", mebibytes),
            ("OTEL_STORAGE_QUEUE_MEBIBYTES", "1"),
        ];
        if let Some(when_full) = spool {
            settings
                .extend([("OTEL_STORAGE_SPOOL_DIR", path.as_str()), ("OTEL_STORAGE_WHEN_FULL", when_full)]);
        }
        let load = start(&program, &["--spans", "16000", "--rate", "8000"], &settings);
        eventually("spans come in", async || !database.sequences().await.is_empty()).await;
        database.take_away().await;
        if is_back {
            tokio::time::sleep(Duration::from_secs(1)).await;
            database.bring_back().await;
        }
        let output =
            tokio::task::spawn_blocking(|| load.wait_with_output()).await.expect("no panic").expect("ended");
        let line = String::from_utf8(output.stdout).expect("UTF-8");
        let counts: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let count = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("{case:?}: {line}"));
        assert_eq!(count("created"), 16_000, "{case:?}: {line}");
        assert_eq!(count("created"), count("acknowledged") + count("dropped"), "{case:?}: {line}");
        if spool.is_some() && mebibytes == "1024" {
            assert_eq!(count("dropped"), 0, "{case:?}: {line}");
        }
        if !is_back {
            database.bring_back().await;
        }
        let before = database.sequences().await.len() as u64;
        assert_eq!(before + count("spooled"), count("acknowledged"), "{case:?}: {line}");
        if spool.is_some() {
            let mut settings = database.settings();
            settings.spool_dir = Some(folder.path().to_owned());
            let exporter = SpanExporter::from_settings(settings).expect("built");
            let handle = exporter.handle();
            eventually("the spool is replayed", async || handle.status().spool.batches == 0).await;
        }
        let mut stored = database.sequences().await;
        let total = stored.len() as u64;
        stored.dedup();
        assert_eq!(stored.len() as u64, total, "{case:?}: nothing is stored twice");
        assert_eq!(total, count("acknowledged"), "{case:?}: {line}");
    }
}

#[cfg(feature = "serve")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_acknowledges_of_a_load_by_otlp_is_in_the_table() {
    use crate::support::serve::{TestServer, receiving};
    let program = tokio::task::spawn_blocking(program).await.expect("built");
    // Whether the database goes away on the way; the server's spool takes what comes then.
    for goes_away in [false, true] {
        let database = TestDatabase::create().await;
        database.store().migrate().await.expect("migrated");
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = database.settings();
        settings.spool_dir = Some(folder.path().to_owned());
        settings.hand_over_seconds = 1;
        let server = TestServer::start(receiving(settings));
        let url = server.traces();
        let load = start(&program, &["--spans", "16000", "--rate", "8000", "--otlp", &url], &[]);
        eventually("spans come in", async || !database.sequences().await.is_empty()).await;
        if goes_away {
            database.take_away().await;
            let is_spooled = async || {
                let mut files = std::fs::read_dir(folder.path()).expect("the spool");
                files.any(|file| file.expect("a file").path().extension().is_some_and(|kind| kind == "spool"))
            };
            eventually("spans are spooled", is_spooled).await;
            database.bring_back().await;
        }
        let output =
            tokio::task::spawn_blocking(|| load.wait_with_output()).await.expect("no panic").expect("ended");
        let line = String::from_utf8(output.stdout).expect("UTF-8");
        let counts: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!(counts["created"], 16_000, "{line}");
        assert_eq!(counts["acknowledged"], 16_000, "away: {goes_away}: {line}");
        let is_there = async || database.sequences().await.len() >= 16_000;
        eventually("the spool is replayed", is_there).await;
        server.stop().await.expect("stopped");
        let stored = database.sequences().await;
        assert_eq!(stored, (0..16_000).collect::<Vec<i64>>(), "each of them once, away: {goes_away}");
    }
}

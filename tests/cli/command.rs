//! The command as people and scripts use it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use crate::support::command::{Run, command, database, file, line};
use crate::support::database::TestDatabase;
use crate::support::shared;
use serde_json::Value;

/// A trace with a root, two children (one failed), an orphan, and two spans that are each other's parents.
fn odd_trace() -> String {
    let span = |id: &str, parent: &str, name: &str, start: u64, end: u64, rest: &str| {
        format!(
            "{{\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanId\":\"{id}\",\"parentSpanId\":\"{parent}\",\
             \"name\":\"{name}\",\"kind\":1,\"startTimeUnixNano\":\"{}\",\"endTimeUnixNano\":\"{}\",\"status\":{{}}{rest}}}",
            1_700_000_000_000_000_000 + start,
            1_700_000_000_000_000_000 + end,
        )
    };
    let failed = ",\"events\":[{\"timeUnixNano\":\"1700000000400000000\",\"name\":\"exception\",\"attributes\":[\
                  {\"key\":\"exception.message\",\"value\":{\"stringValue\":\"card\\u001b[2J expired\"}}]}]";
    let spans = [
        span("00000000000000a1", "", "GET /cart", 0, 1_000_000_000, ""),
        span("00000000000000a3", "00000000000000a1", "pay", 300_000_000, 500_000_000, failed)
            .replace("\"status\":{}", "\"status\":{\"code\":2}"),
        span(
            "00000000000000a2",
            "00000000000000a1",
            "load",
            100_000_000,
            200_000_000,
            ",\"attributes\":[{\"key\":\"user.id\",\"value\":{\"intValue\":\"7\"}}]",
        ),
        span("00000000000000b1", "00000000000000ff", "lost", 600_000_000, 600_000_001, ""),
        span("00000000000000c1", "00000000000000c2", "hen", 700_000_000, 800_000_000, ""),
        span("00000000000000c2", "00000000000000c1", "egg", 710_000_000, 720_000_000, ""),
    ]
    .join(",");
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\
         \"shop\"}}}}]}},\"scopeSpans\":[{{\"scope\":{{\"name\":\"test\"}},\"spans\":[{spans}]}}]}}]}}"
    )
}

fn import(database: &TestDatabase, text: &str) -> Run {
    database.run_with_input(&["import", "otlp", "-", "--no-embedding"], text.as_bytes())
}

#[test]
fn migrate_says_what_it_did() {
    let database = database();
    let first = database.run(&["migrate", "--schema", "my traces"]).ok();
    assert!(first.stdout.starts_with("schema my traces: applied "), "{first:?}");
    let second = database.run(&["migrate", "--schema", "my traces"]).ok();
    assert!(second.stdout.starts_with("schema my traces: is up to date, version "), "{second:?}");
}

#[test]
fn health_is_bad_before_migrate_and_says_what_to_run() {
    let database = database();
    let before = database.run(&["health", "--json"]);
    assert_eq!((before.code, &before.json()["healthy"]), (Some(1), &Value::Bool(false)));
    // The server is there, and says what it is.
    assert!(before.json()["server_version"].is_string(), "{before:?}");
    assert_eq!(before.json()["schema_version"], 0);
    assert!(before.json()["error"].as_str().is_some_and(|error| error.contains("migrate")), "{before:?}");
    assert!(!before.stdout.contains("migrate: true"), "a command that looks ignores it: {before:?}");
    let other = database.run(&["services", "--schema", "my traces"]);
    assert!(other.stderr.ends_with("Run: otel-pgvector migrate --schema 'my traces'\n"), "{other:?}");
    database.run(&["migrate"]).ok();
    let after = database.run(&["health"]).ok();
    for expected in ["state        healthy", "spans        0", "pgvector", "database     "] {
        assert!(after.stdout.contains(expected), "{after:?}");
    }
}

#[test]
fn errors_are_one_line_without_the_password() {
    let run = Run::of(
        command(&["health", "--connection-string", "postgresql://app:hunter2@127.0.0.1:1/db"])
            .output()
            .expect("run"),
    );
    assert_eq!(run.code, Some(1));
    assert!(
        run.stdout.contains("127.0.0.1:1/db as app") && !format!("{run:?}").contains("hunter2"),
        "{run:?}"
    );

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let arguments = ["trace", trace, "--connection-string", "postgresql://app:hunter2@127.0.0.1:1/db"];
    let run = Run::of(command(&arguments).output().expect("run"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: cannot connect") && !run.stderr.contains("hunter2"), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1);
}

#[test]
fn wrong_usage_and_wrong_settings_exit_with_2() {
    for arguments in [
        &["trace", "xyz"][..],
        &["search", "x", "--since", "yesterday"],
        &["search", "x", "--min-score", "7"],
        &["import", "otlp"],
        &["health", "--set", "no_such_setting=1"],
        &["health", "--set", "pool_size=many"],
        &["health", "--config", "/no/such/file.yaml"],
        &["health"],
    ] {
        let run = Run::of(command(arguments).output().expect("run"));
        assert_eq!(run.code, Some(2), "{arguments:?} {run:?}");
        assert!(run.stderr.starts_with("error: "), "{run:?}");
    }
}

#[test]
fn an_error_of_a_setting_names_where_it_is_from() {
    let run = Run::of(command(&["health", "--set", "batch_size=5"]).output().expect("run"));
    assert!(run.stderr.starts_with("error: setting `batch_size` = 5 (from command line): "), "{run:?}");
    let mut command = command(&["health"]);
    command.env("OTEL_STORAGE_CONNECTION_STRING_FILE", "/no/such/file");
    let run = Run::of(command.output().expect("run"));
    let from = "(from environment variable OTEL_STORAGE_CONNECTION_STRING_FILE): cannot be read";
    assert!(run.code == Some(2) && run.stderr.contains(from), "{run:?}");
    let mut command = self::command(&["serve", "--connection-string", "postgresql://127.0.0.1/otel"]);
    command.env("OTEL_PGVECTOR_SERVE_WRITER", "postgresql://app:hunter2@");
    let run = Run::of(command.output().expect("run"));
    let from =
        "setting `connection_string` = <hidden> (from environment variable OTEL_PGVECTOR_SERVE_WRITER): ";
    assert!(run.code == Some(2) && run.stderr.contains(from), "{run:?}");
}

#[test]
fn what_is_wrong_with_an_option_that_may_be_secret_is_told_without_it() {
    let import = ["import", "jaeger", "http://127.0.0.1:1", "--dry-run", "--header"];
    let with_header = |header| [&import[..], &[header]].concat();
    for (arguments, code, expected) in [
        (vec!["health", "--set", "password:hunter2"], 2, "error: --set <KEY=VALUE>: there is no `=`"),
        (vec!["health", "--set", "postgresql://app:hunter2@db/x"], 2, "error: --set <KEY=VALUE>: "),
        (with_header("Authorization Bearer hunter2"), 2, "error: --header <NAME: VALUE>: there is no `:`"),
        (with_header("Authorization Bearer hunter2: x"), 1, "error: --header: what stands before"),
    ] {
        let run = Run::of(command(&arguments).output().expect("run"));
        assert!(run.code == Some(code) && run.stderr.starts_with(expected), "{run:?}");
        assert!(!run.stderr.contains("hunter2"), "{run:?}");
    }
}

#[test]
fn settings_come_from_a_file_and_options_win() {
    let database = database();
    let yaml = format!("otel_storage:\n  connection_string: {}\n  schema: from_file\n", database.url());
    let (_folder, path) = file("settings.yaml", yaml.as_bytes());
    let config = path.to_str().expect("UTF-8");
    let run = Run::of(command(&["--config", config, "migrate"]).output().expect("run")).ok();
    assert!(run.stdout.starts_with("schema from_file: "), "{run:?}");
    let run =
        Run::of(command(&["migrate", "--config", config, "--set", "schema=other"]).output().expect("run"))
            .ok();
    assert!(run.stdout.starts_with("schema other: "), "{run:?}");
}

#[test]
fn import_counts_and_a_second_one_stores_nothing() {
    let database = database();
    let (_folder, path) = file("t.jsonl", (line(0, "") + "\n" + &line(1, "")).as_bytes());
    let path = path.to_str().expect("UTF-8");
    let first = database.run(&["import", "otlp", path, "--no-embedding"]).ok();
    assert!(first.stdout.starts_with("stored 2 spans, 0 already there in "), "{first:?}");
    let second = database.run(&["import", "otlp", path, "--no-embedding", "--json"]).ok();
    assert!(
        second
            .stdout
            .starts_with("{\"spans\":2,\"stored\":0,\"already_there\":2,\"rejected\":0,\"elapsed_s\":")
    );
}

#[test]
fn import_reports_bad_lines_and_exits_with_1() {
    let database = database();
    let run = import(&database, &format!("{}\nnonsense\n{}\n", line(0, ""), line(1, "")));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: stdin:2: "), "{run:?}");
    assert!(run.stdout.starts_with("stored 2 spans, 0 already there, 1 rejected in "), "{run:?}");
    let missing = database.run(&["import", "otlp", "/no/such/file"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.starts_with("error: opening /no/such/file: "), "{missing:?}");
}

#[test]
fn without_a_model_spans_are_stored_and_a_warning_says_so() {
    let database = database();
    let arguments = ["import", "otlp", "-", "--embedding-model", "/no/such/model"];
    let run = database.run_with_input(&arguments, line(0, "").as_bytes()).ok();
    assert!(run.stdout.starts_with("stored 1 span, "), "{run:?}");
    assert!(run.stderr.contains("warning: the spans are stored, but not found by meaning yet"), "{run:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_ends_nothing() {
    let lines = format!("{}\nnonsense\n{}\n", line(0, ""), line(1, ""));
    let (_folder, path) = file("t.jsonl", lines.as_bytes());
    let mut command = command(&["import", "otlp", path.to_str().expect("UTF-8"), "--dry-run"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let run = Run::of(command.stderr(full).output().expect("run"));
    assert!(
        run.code == Some(1) && run.stdout.starts_with("read 2 spans, stored nothing, 1 rejected"),
        "{run:?}"
    );
}

#[test]
fn files_keep_what_they_have_while_the_database_is_away() {
    let (folder, path) = file("kept.gz", b"of yesterday");
    let (_input, input) = file("t.jsonl", line(0, "").as_bytes());
    let (path_text, input) = (path.to_str().expect("UTF-8"), input.to_str().expect("UTF-8"));
    for arguments in [
        &["export", "otlp", "-o", path_text][..],
        &["import", "otlp", input, "--no-embedding", "--rejects", path_text],
    ] {
        let mut command = command(arguments);
        command.env("OTEL_STORAGE_CONNECTION_STRING", "postgresql://app@127.0.0.1:1/db");
        let run = Run::of(command.output().expect("run"));
        assert!(run.code == Some(1) && run.stderr.contains("cannot connect"), "{run:?}");
        assert_eq!(std::fs::read(&path).expect("the file"), b"of yesterday", "{arguments:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no part is left");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_import_with_a_hint_and_it_can_go_on() {
    is_interrupted_by("-INT");
}

#[cfg(unix)]
#[test]
fn a_service_manager_ends_an_import_with_a_hint_and_it_can_go_on() {
    is_interrupted_by("-TERM");
}

#[cfg(unix)]
fn is_interrupted_by(signal: &str) {
    let database = database();
    let arguments = ["import", "otlp", "-", "--no-embedding", "--batch-size", "1"];
    let mut command = database.command(&arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("input");
    // The bad line comes behind a good one: its report shows that the import is under way.
    write!(stdin, "{}\n{}\nnonsense\n", line(0, ""), line(1, "")).expect("written");
    stdin.flush().expect("written");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut first = String::new();
    stderr.read_line(&mut first).expect("a report");
    assert!(first.contains("stdin:3"), "{first}");
    let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    let status = child.wait().expect("it ends while its input is open");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("read");
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted: run the same command again"), "{rest}");
    drop(stdin);
    let again = import(&database, &(line(0, "") + "\n" + &line(1, ""))).ok();
    assert!(again.stdout.starts_with("stored "), "{again:?}");
    assert_eq!(database.run(&["health", "--json"]).ok().json()["total_spans"], 2);
}

#[test]
fn a_file_that_is_cut_keeps_no_other_of_its_folder_from_the_store() {
    let database = database();
    let (folder, cut) = file("a.json", format!("{{\n\"data\":[\n{},\n", line(0, "")).as_bytes());
    std::fs::write(folder.path().join("b.json"), "nonsense").expect("written");
    std::fs::write(folder.path().join("c.jsonl"), line(1, "")).expect("written");
    let folder = folder.path().to_str().expect("UTF-8");
    let run = database.run(&["import", "otlp", "--no-embedding", folder]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.starts_with("stored 2 spans"), "{run:?}");
    let told = format!("error: reading {} after line", cut.display());
    assert!(run.stderr.contains(&told) && run.stderr.contains("b.json: is neither"), "{run:?}");
    assert!(run.stderr.contains("mend or fetch again what could not be read"), "{run:?}");
}

#[test]
fn a_trace_is_a_waterfall() {
    let database = database();
    import(&database, &odd_trace()).ok();
    let run = database.run(&["trace", "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736"]).ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    let summary = "4bf92f3577b34da6a3ce929d0e0e4736  1.00 s  6 spans  1 error  2023-11-14 22:13:20.000 UTC (";
    assert!(lines[0].starts_with(summary), "{run:?}");
    assert_eq!(lines[1], "█ critical path: shop GET /cart 700 ms, shop pay 200 ms, shop load 100 ms");
    let labels: Vec<String> = lines[2..].iter().map(|line| line.chars().take(20).collect()).collect();
    let expected = [
        "shop GET /cart",
        "├ shop load",
        "└ ✗ shop pay",
        "    card [2J expired",
        "↯ shop lost",
        "↯ shop hen",
        "└ shop egg",
    ];
    for (label, expected) in labels.iter().zip(expected) {
        assert!(label.starts_with(expected), "{label} {run:?}");
    }
    assert_eq!(labels.len(), expected.len());
    assert!(lines[2].contains("██") && lines[2].contains('━'), "{run:?}");
    assert!(!run.stdout.contains('\u{1b}'), "no colours and no control characters: {run:?}");
    let verbose = database.run(&["trace", "4bf92f3577b34da6a3ce929d0e0e4736", "-v"]).ok();
    assert!(
        verbose.stdout.contains("user.id 7") && verbose.stdout.contains("+100 ms exception"),
        "{verbose:?}"
    );
}

#[test]
fn an_unknown_trace_exits_with_3() {
    let database = database();
    database.run(&["migrate"]).ok();
    let run = database.run(&["trace", "4bf92f3577b34da6a3ce929d0e0e4736"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""));
    assert_eq!(run.stderr, "no trace 4bf92f3577b34da6a3ce929d0e0e4736 is stored\n");
}

#[test]
fn a_chain_of_ten_thousand_spans_is_shown() {
    let database = database();
    let text: String = (1..=10_000)
        .map(|number| {
            let fields = format!(",\"parentSpanId\":\"{:016x}\"", number - 1);
            let own = format!("\"traceId\":\"{:032x}\"", 0xabc0_0000_u32 + number);
            line(number, &fields).replace(&own, "\"traceId\":\"000000000000000000000000000000aa\"") + "\n"
        })
        .collect();
    import(&database, &text).ok();
    let run = database.run(&["trace", "000000000000000000000000000000aa"]).ok();
    assert_eq!(run.stdout.lines().count(), 10_002);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let database = database();
    import(&database, &odd_trace()).ok();
    let mut command = database.command(&["trace", "4bf92f3577b34da6a3ce929d0e0e4736", "-v"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_trace_as_json_is_what_was_imported() {
    for name in ["trainticket", "datasette"] {
        let Some(path) = shared::recording(name) else { continue };
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).expect("it opens"))
            .read_to_string(&mut text)
            .expect("gzip");
        let first: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
        let spans = |text: &str| {
            let documents: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let mut spans = Vec::new();
            for resource in
                documents.iter().flat_map(|document| document["resourceSpans"].as_array()).flatten()
            {
                for scope in resource["scopeSpans"].as_array().into_iter().flatten() {
                    for span in scope["spans"].as_array().into_iter().flatten() {
                        spans.push((resource["resource"].clone(), scope["scope"].clone(), span.clone()));
                    }
                }
            }
            spans.sort_by_key(|(_, _, span)| (span["traceId"].to_string(), span["spanId"].to_string()));
            spans
        };
        let all = spans(&first);
        let database = database();
        import(&database, &first).ok();
        let mut traces: Vec<&str> = all.iter().filter_map(|(_, _, span)| span["traceId"].as_str()).collect();
        traces.dedup();
        for trace in traces.into_iter().take(5) {
            let wanted: Vec<_> =
                all.iter().filter(|(_, _, span)| span["traceId"] == trace).cloned().collect();
            let run = database.run(&["trace", trace, "--json"]).ok();
            assert_eq!(run.stdout.lines().count(), 1);
            assert_eq!(spans(&run.stdout), wanted, "{name} {trace}");
        }
    }
}

#[test]
fn the_settings_are_shown_with_their_layers_and_without_secrets() {
    let (_folder, path) =
        file("settings.yaml", b"otel_storage: { pool_size: 7, redact_key: 0123456789abcdef }");
    let arguments = ["config", "--config", path.to_str().expect("UTF-8"), "--set", "cache_size=200"];
    let shown = |more: &[&str]| {
        let mut command = command(&[&arguments[..], more].concat());
        command.env("OTEL_STORAGE_CONNECTION_STRING", "postgresql://app:hunter2@db/traces");
        Run::of(command.env("OTEL_STORAGE_PASSWORD", "hunter3").output().expect("run")).ok()
    };
    let text = shown(&[]).stdout;
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
    assert!(line("pool_size").contains(&format!(" 7  (file {})", path.display())), "{text}");
    assert!(line("cache_size").ends_with(" 200  (command line)"), "{text}");
    assert!(line("batch_size").ends_with(" 100  (defaults)"), "{text}");
    let connection = line("connection_string ");
    assert!(
        connection.contains("host=db port=5432 dbname=traces user=app password=<hidden>"),
        "{connection}"
    );
    assert!(connection.ends_with("(environment variable OTEL_STORAGE_CONNECTION_STRING)"), "{connection}");
    for text in [text, shown(&["--verbose"]).stdout, shown(&["--json"]).stdout] {
        assert!(!text.contains("hunter") && !text.contains("0123456789abcdef"), "{text}");
    }
    let one = shown(&["pool_size", "--json"]).json();
    assert_eq!((&one["key"], &one["value"]), (&"pool_size".into(), &"7".into()));
    assert!(one["allowed"].as_str().is_some_and(|allowed| allowed.contains("1 to 64")), "{one}");
    let unknown = Run::of(command(&["config", "pol_size"]).output().expect("run"));
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (Some(3), "no setting `pol_size`; did you mean `pool_size`?\n")
    );
}

#[cfg(unix)]
#[test]
fn sql_is_psql_on_the_schema_without_the_password_in_its_arguments() {
    use std::os::unix::fs::PermissionsExt;

    // A psql that says what it gets.
    let (folder, path) =
        file("psql", b"#!/bin/sh\nprintf '%s|' \"$@\"; echo \"$PGHOST $PGDATABASE $PGPASSWORD $PGOPTIONS ${PGSERVICE-none}\"; exit 7\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let psql = |arguments: &[&str], path: &std::path::Path| {
        let mut command = command(&[&["sql"], arguments].concat());
        command.env("OTEL_STORAGE_CONNECTION_STRING", "postgresql://app:hunter2@db/traces");
        Run::of(command.env("PGSERVICE", "other").env("PATH", path).output().expect("run"))
    };
    let run = psql(&["-c", "SELECT 1;", "--json", "--schema", "my", "--", "--csv"], folder.path());
    assert_eq!(run.code, Some(7), "{run:?}");
    let expected = "-X|-v|ON_ERROR_STOP=1|-At|-c|SELECT row_to_json(r) FROM (SELECT 1) AS r|--csv|\
                    db traces hunter2 -c search_path=\"my\",public none\n";
    assert_eq!(run.stdout, expected);
    assert!(psql(&[], folder.path()).stdout.starts_with("|db traces"));
    let missing = psql(&[], std::path::Path::new("/no/such/folder"));
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.starts_with("error: psql is not installed"), "{missing:?}");
}

#[test]
fn sql_reaches_the_views() {
    if std::process::Command::new("psql").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "psql is absent under CI");
        return;
    }
    let database = database();
    import(&database, &odd_trace()).ok();
    let run = database.run(&["sql", "--json", "-c", "SELECT name FROM spans WHERE status = 'error'"]).ok();
    assert_eq!(run.json()["name"], "pay");
    let wrong = database.run(&["sql", "-c", "SELECT nonsense", "-c", "SELECT 1"]);
    assert!(
        wrong.code == Some(1) && wrong.stdout.is_empty() && wrong.stderr.contains("nonsense"),
        "{wrong:?}"
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let plain = |arguments: &[&str]| Run::of(command(arguments).output().expect("run"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = plain(&["completions", shell]).ok().stdout;
        assert!(script.contains("tail") && script.contains("min-duration"), "{shell}");
    }
    assert_eq!(plain(&["completions", "tcsh"]).code, Some(2));
    assert!(plain(&["man"]).ok().stdout.contains(".TH otel-pgvector 1"));
    let page = plain(&["man", "import", "otlp"]).ok().stdout;
    assert!(page.contains(".TH otel-pgvector-import-otlp 1") && page.contains("Examples"), "{page}");
    let unknown = plain(&["man", "serch"]);
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (Some(3), "no command `serch`; did you mean `search`?\n")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    plain(&["man", "--dir", pages.to_str().expect("UTF-8")]).ok();
    for name in ["otel-pgvector.1", "otel-pgvector-search.1", "otel-pgvector-import-otlp.1"] {
        assert!(pages.join(name).is_file(), "{name}");
    }
    assert!(!pages.join("otel-pgvector-help.1").exists());
}

#[test]
fn migrate_tells_machines_too() {
    let database = database();
    let first = database.run(&["migrate", "--json"]).ok().json();
    assert_eq!((&first["schema"], &first["applied"]), (&"otel".into(), &first["version"]));
    assert_eq!(database.run(&["migrate", "--json"]).ok().json()["applied"], 0);
}

#[test]
fn every_command_is_explained_with_its_json() {
    for name in [
        "search",
        "trace",
        "services",
        "operations",
        "similar",
        "new",
        "tail",
        "sql",
        "migrate",
        "health",
        "config",
    ] {
        let help = Run::of(command(&[name, "--help"]).output().expect("run")).ok().stdout;
        assert!(help.contains("--json") && help.contains("--color <WHEN>"), "{help}");
    }
    let help = Run::of(command(&["--help"]).output().expect("run")).ok().stdout;
    assert!(help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
}

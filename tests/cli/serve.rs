//! The command `serve`: it says where it listens, answers, and ends at SIGTERM.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::command::{Run, command, database};
use rustix::process::{Pid, Signal, kill_process};

const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn it_answers_until_it_is_told_to_stop() {
    let database = database();
    database.run(&["migrate"]);
    let arguments = ["serve", "--listen", ANY_PORT, "--otlp-grpc", ANY_PORT, "--otlp-http", ANY_PORT];
    let mut command = database.command(&arguments);
    command.env("OTEL_PGVECTOR_SERVE_BASIC_AUTH", "ann:secret").env("OTEL_PGVECTOR_SERVE_RECEIVE", "1");
    for empty in ["LISTEN", "TLS_CERT", "TLS_KEY", "BEARER_TOKEN_FILE", "MAX_ANSWERING", "ALLOWED_HOST"] {
        command.env(format!("OTEL_PGVECTOR_SERVE_{empty}"), "");
    }
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its messages")).lines();
    let mut address = |what: &str| {
        let line = lines.next().expect("a line").expect("UTF-8");
        line.strip_prefix(what).unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let api = address("page and APIs: ");
    address("OTLP by gRPC: ");
    let traces = address("OTLP by HTTP: ");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::new();
        let span = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","name":"check out"}"#;
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
        let sent = client.post(traces).header("content-type", "application/json").body(body);
        let sent = sent.basic_auth("ann", Some("secret")).send().await.expect("an answer");
        assert_eq!(sent.status(), 200);
        let url = format!("{api}/api/traces/0af7651916cd43dd8448eb211c80319c");
        let refused = client.get(&url).send().await.expect("an answer");
        assert_eq!(refused.status(), 401);
        let found = client.get(&url).basic_auth("ann", Some("secret")).send().await.expect("an answer");
        assert_eq!(found.status(), 200);
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a small number")).expect("a process");
    kill_process(pid, Signal::TERM).expect("told");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

#[test]
fn what_a_client_is_not_told_is_in_the_log() {
    // Nobody listens there: the port was free a moment ago.
    let closed = std::net::TcpListener::bind(ANY_PORT).expect("a port").local_addr().expect("an address");
    let mut command = command(&["serve", "--listen", ANY_PORT]);
    command.env("OTEL_STORAGE_CONNECTION_STRING", format!("postgresql://app@{closed}/traces"));
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its messages")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    let api = line().strip_prefix("page and APIs: ").expect("its address").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(reqwest::get(format!("{api}/api/services"))).expect("an answer");
    assert_eq!(answer.status(), 503);
    let logged = line();
    let expected = ["WARN opentelemetry-pgvector: ", "Server.AnswerFailed", &closed.to_string()];
    assert!(expected.iter().all(|part| logged.contains(part)), "{logged}");
    assert!(!logged.contains('\u{1b}'), "{logged:?}");
    child.kill().expect("ended");
    child.wait().expect("ended");
}

#[test]
fn a_taken_address_and_wrong_credentials_are_said() {
    let database = database();
    let taken = std::net::TcpListener::bind(ANY_PORT).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = database.run(&["serve", "--listen", &address]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains(&format!("listening at {address}")), "{}", run.stderr);

    for wrong in ["localhost:16686", ":16686", "0.0.0.0"] {
        let run = database.run(&["serve", "--listen", wrong]);
        assert_eq!(run.code, Some(2));
        assert!(
            run.stderr.contains("expected an IP address and a port, such as 127.0.0.1:16686"),
            "{}",
            run.stderr
        );
    }
    let mut command = database.command(&["serve"]);
    let run =
        Run::of(command.env("OTEL_PGVECTOR_SERVE_RECEIVE", "perhaps").output().expect("the command runs"));
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("--receive") && run.stderr.contains("expected true or false"),
        "{}",
        run.stderr
    );

    let mut command = database.command(&["serve", "--listen", ANY_PORT]);
    command.env("OTEL_PGVECTOR_SERVE_BASIC_AUTH", "no colon");
    let run = Run::of(command.output().expect("the command runs"));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_the_size_of_files_refuses_a_batch_and_does_not_end_the_process() {
    let closed = std::net::TcpListener::bind(ANY_PORT).expect("a port").local_addr().expect("an address");
    let spool = tempfile::tempdir().expect("a folder");
    let serve = [
        "serve",
        "--receive",
        "--listen",
        ANY_PORT,
        "--otlp-grpc",
        ANY_PORT,
        "--otlp-http",
        ANY_PORT,
        "--set",
        "max_retries=1",
    ];
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f 32 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_otel-pgvector")])
        .args(serve);
    command.env("OTEL_STORAGE_CONNECTION_STRING", format!("postgresql://app@{closed}/traces"));
    command.env("OTEL_STORAGE_SPOOL_DIR", spool.path());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its messages")).lines().map_while(Result::ok);
    let traces =
        lines.find_map(|line| line.strip_prefix("OTLP by HTTP: ").map(str::to_owned)).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let send = |name: String| {
        let span = format!(
            r#"{{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","name":"{name}"}}"#
        );
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
        let sent = reqwest::Client::new().post(&traces).header("content-type", "application/json").body(body);
        runtime.block_on(sent.send()).map(|answer| answer.status().as_u16()).ok()
    };
    let large: String = (0..4_000).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    assert_eq!(send("small".into()), Some(200));
    assert_eq!(send(large), Some(503));
    assert_eq!(send("also small".into()), Some(200));
    let told = lines.find(|line| line.contains("SpanExporter.SpoolFailed")).expect("a line");
    assert!(told.contains("ulimit -f"), "{told}");
    child.kill().expect("ended");
    child.wait().expect("ended");
}

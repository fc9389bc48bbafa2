//! The command `otel-pgvector`, on a database of the test's own.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::database::TestDatabase;

/// An empty database, for a test that is not async.
pub fn database() -> TestDatabase {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(TestDatabase::create_bare())
}

impl TestDatabase {
    /// The command on this database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("OTEL_STORAGE_CONNECTION_STRING", self.url());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().expect("the command runs"))
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("its input");
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            Run::of(child.wait_with_output().expect("the command ends"))
        })
    }
}

/// The command, with no settings from outside but where the model is.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otel-pgvector"));
    command.args(arguments).env_remove("OTEL_STORAGE_CONNECTION_STRING").env_remove("NO_COLOR");
    command
}

/// How the command ended, and what it said.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).expect("one JSON document")
    }

    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Writes a file that is gone with the returned folder.
pub fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("the file is written");
    (folder, path)
}

/// A line of OTLP JSON with one span; `number` makes its ids.
pub fn line(number: u32, fields: &str) -> String {
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":\
         {{\"stringValue\":\"checkout\"}}}}]}},\"scopeSpans\":[{{\"scope\":{{\"name\":\"test\"}},\"spans\":[{{\
         \"traceId\":\"{:032x}\",\"spanId\":\"{number:016x}\",\"name\":\"pay\",\"kind\":2,\
         \"startTimeUnixNano\":\"1700000000000000001\",\"endTimeUnixNano\":\"1700000000250000002\",\"status\":{{}}{fields}}}]}}]}}]}}",
        0xabc0_0000_u32 + number
    )
}

//! The bench once more, as processes of their own. They are told line by line what to do, and answer each line with one of JSON.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use opentelemetry_pgvector::Settings;
use serde::Serialize;
use serde::de::DeserializeOwned;

const ROLE: &str = "OTEL_BENCH_ROLE";
const SETTINGS: &str = "OTEL_BENCH_DATABASE";

/// A process that plays a role. Dropped, it ends.
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts the bench in a role, on a database.
    pub fn start(role: &str, url: &str) -> Child {
        let mut process = Command::new(std::env::current_exe().expect("the bench's own path"))
            .args(std::env::args().skip(1))
            .envs([(ROLE, role), (SETTINGS, url)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bench starts itself");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Child { input: process.stdin.take(), output, process }
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it listens"), "{line}").expect("it listens");
    }

    /// Waits for an answer.
    pub fn answer<T: DeserializeOwned>(&mut self) -> T {
        let line = self.output.next().expect("it answers").expect("text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Tells it something, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, line: &str) -> T {
        self.tell(line);
        self.answer()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The role of this process, and settings for the database; `None` in the process that was started by hand.
pub fn role() -> Option<(String, Settings)> {
    let role = std::env::var(ROLE).ok()?;
    let mut settings = Settings::default();
    settings.connection_string = std::env::var(SETTINGS).ok()?;
    if let Ok(model) = std::env::var("OTEL_STORAGE_EMBEDDING_MODEL") {
        settings.embedding_model = model;
    }
    Some((role, settings))
}

/// Answers each line that the parent tells.
pub fn answer_each<T: Serialize>(mut answer: impl FnMut(&str) -> T) {
    for line in std::io::stdin().lines() {
        let answer = serde_json::to_string(&answer(&line.expect("text"))).expect("JSON");
        println!("{answer}");
    }
}

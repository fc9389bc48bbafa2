//! One test of this binary in a process of its own: for global subscribers, and to see a process end.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// This binary again, told to run one test of a module (`module_path!()`); the test sees `variable`, and does nothing
/// without it.
pub fn command(module: &str, test: &str, variable: &str, value: &str) -> Command {
    let (_, module) = module.split_once("::").expect("a module of this binary");
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
    command.env(variable, value).stdin(Stdio::null());
    command
}

/// Runs a process, which must succeed within a time, and returns what it printed.
pub fn run(mut command: Command, limit: Duration) -> String {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let (mut stdout, mut stderr) =
        (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("UTF-8");
        text
    });
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("UTF-8");
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if begin.elapsed() > limit {
            child.kill().expect("killed");
            child.wait().expect("ended");
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = reading.join().expect("read") + &errors.join().expect("read");
    match status {
        Some(status) => assert!(status.success(), "{status}: {text}"),
        None => panic!("the process hangs: it is not over after {limit:?}:\n{text}"),
    }
    text
}

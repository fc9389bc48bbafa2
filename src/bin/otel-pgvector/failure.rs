//! How a command ends: its exit code, and what it says on the standard error.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use opentelemetry_pgvector::Error;

use crate::args::layer;
use crate::terminal::{Paint, one_line, tell};

/// `Ok` is exit code 0.
pub type Outcome = Result<(), Failure>;

/// Everything but success.
pub enum Failure {
    /// What the library says.
    Failed(Error),
    /// Reading or writing on this side of the library.
    Io(io::Error),
    /// Everything was said already.
    Reported,
    /// There is nothing like it; the text says so.
    NotFound(String),
    /// The command line asks for what cannot be.
    Usage(String),
    /// With the exit code of another program.
    #[cfg(not(unix))]
    Code(u8),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

pub fn exit_code(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    ExitCode::from(match failure {
        Failure::Failed(mut error) => {
            if let Error::Setting { layer: origin, .. } = &mut error {
                *origin = layer(origin).to_owned();
            }
            report(&error);
            let usage = matches!(error, Error::Setting { .. } | Error::SettingsFile { .. });
            if usage { 2 } else { 1 }
        }
        // Who reads only the beginning, as `head` does, has got what they wanted.
        Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Failure::Io(error) => {
            say("error", &error.to_string());
            1
        }
        Failure::Reported => 1,
        Failure::NotFound(what) => {
            tell!("{}", one_line(&what));
            3
        }
        Failure::Usage(text) => {
            say("error", &text);
            2
        }
        #[cfg(not(unix))]
        Failure::Code(code) => code,
        Failure::Interrupted => 130,
    })
}

/// One line for the error, and one for each cause that it does not mention itself.
pub fn report(error: &Error) {
    let message = error.to_string();
    say("error", &message);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) && !matches!(error, Error::Database { .. }) {
            tell!("  caused by: {}", one_line(&text));
        }
        cause = inner.source();
    }
}

pub fn warn(text: &str) {
    say("warning", text);
}

fn say(what: &str, text: &str) {
    let paint = Paint::stderr();
    let label = if what == "error" { paint.red(what) } else { paint.yellow(what) };
    tell!("{label}: {}", one_line(text));
}

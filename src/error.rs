//! What can go wrong, each with its context and the way to mend it.

use std::path::PathBuf;

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the exporter, the store or the search.
///
/// Every message names what failed and, where there is one, the command or setting that mends it.
/// No variant ever carries the connection string or its password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is unknown, has the wrong type or is out of range.
    #[error("setting `{key}` = {value} (from {layer}): {reason}")]
    Setting {
        /// The setting's name, as in the YAML section `otel_storage`.
        key: String,
        /// The value that was given, or `<hidden>` for a secret.
        value: String,
        /// Where the value came from: a file, an environment variable, the builder, the defaults.
        layer: String,
        /// What is allowed instead.
        reason: String,
    },

    /// A settings file could not be read or is not YAML.
    #[error("settings file {}: {reason}", path.display())]
    SettingsFile {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },

    /// The embedding model or ONNX Runtime is missing, or does not fit the settings.
    #[error("embedding model: {0}")]
    Model(String),

    /// The database could not be reached.
    #[error("cannot connect to PostgreSQL at {target}: {reason}")]
    Connect {
        /// Host, port and database, without credentials.
        target: String,
        /// The driver's explanation.
        reason: String,
        /// Whether it may pass by itself, as a network failure does and a wrong password does not.
        transient: bool,
    },

    /// The database answered with an error.
    #[error("PostgreSQL, while {doing}: {}", database_message(source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: tokio_postgres::Error,
    },

    /// The schema is missing, too old, too new, or may not be created by this role.
    #[error("database schema: {0}")]
    Schema(String),

    /// Stored data cannot be decoded, which means that it was altered outside this crate.
    #[error("stored span cannot be decoded: {0}")]
    Corrupt(String),

    /// Input that is not a span in a known format.
    #[error("{origin}: {reason}")]
    Input {
        /// File and position.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },

    /// An operation did not finish within its time.
    #[error("{doing} did not finish within {seconds} s")]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// The limit that was reached.
        seconds: f64,
    },

    /// The database has failed repeatedly, and is left alone for a while.
    #[error("the circuit breaker is open after repeated failures; the next attempt is in {seconds:.1} s")]
    CircuitOpen {
        /// Until the next attempt.
        seconds: f64,
    },

    /// The exporter was shut down.
    #[error("the exporter is shut down")]
    Shutdown,

    /// The operating system refused a resource.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
        move |source| Error::Database { doing, source }
    }

    /// Whether the same call may succeed later without anybody mending anything.
    ///
    /// Lost connections, time-outs, deadlocks, serialization failures, a server that starts, stops, recovers or lacks
    /// resources (SQLSTATE classes 08, 40, 53, 57P and 55P03); and tables or prepared statements that are gone (3F000,
    /// 42P01, 26000), since the next attempt makes or checks the schema anew.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Connect { transient, .. } => *transient,
            Error::Timeout { .. } => true,
            Error::Database { source, .. } => match source.code() {
                Some(code) => {
                    let code = code.code();
                    matches!(code.get(..2), Some("08" | "40" | "53"))
                        || code.starts_with("57P")
                        || matches!(code, "55P03" | "3F000" | "42P01" | "26000")
                }
                // Without a SQLSTATE, the connection itself failed.
                None => true,
            },
            _ => false,
        }
    }
}

/// The server's message with its SQLSTATE and hint; the driver's own text says only "db error".
pub(crate) fn database_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let hint = db.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            format!("{} [{}]{hint}", db.message(), db.code().code())
        }
        None => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            text
        }
    }
}

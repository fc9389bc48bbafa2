//! What can go wrong, each with its context and the way to mend it.

mod class;

use std::path::PathBuf;

pub use class::ErrorClass;
use tokio_postgres::error::SqlState;

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
    #[error("PostgreSQL, while {doing}: {}{}", database_message(source), where_rights_come_from(source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: tokio_postgres::Error,
    },

    /// Documents that were stored are gone: the database is another one or was restored, and no connection has failed. What
    /// was known of it is forgotten, so the next attempt stores them anew.
    #[error("the database is not the one that it was: documents that were stored are gone")]
    Replaced,

    /// The schema is missing, too old, too new, altered outside this crate, or may not be created by this role.
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

    /// The batch could not be stored in time. It waits in memory and is stored when the database is back.
    #[error("{spans} spans wait in memory for the database: {reason}")]
    Held {
        /// How many spans wait.
        spans: usize,
        /// Why they could not be stored.
        reason: String,
    },

    /// The batch could not be stored, and there is no room for it to wait.
    #[error(
        "{spans} spans are lost, as no more can wait (queue_mebibytes, spool_dir, spool_mebibytes): {reason}"
    )]
    Dropped {
        /// How many spans are lost.
        spans: usize,
        /// Why they could not be stored.
        reason: String,
    },

    /// PostgreSQL refused spans for what is in them, and there is no spool to set them aside in. The others are stored.
    #[error(
        "{spans} of {of} spans are refused and lost, the others are stored (with spool_dir they would be set aside): {reason}"
    )]
    Rejected {
        /// How many spans are refused.
        spans: usize,
        /// How many spans the batch has.
        of: usize,
        /// Why the first of them is.
        reason: String,
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

fn where_rights_come_from(error: &tokio_postgres::Error) -> &'static str {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        " (hint: otel-pgvector migrate --print-roles prints the SQL that gives rights)"
    } else {
        ""
    }
}

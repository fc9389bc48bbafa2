//! What an error says about the next attempt.

use super::Error;

/// What has to change before a call that failed can succeed.
///
/// [`Error::class`] tells it of every error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Nothing: the same call may succeed later. A server that starts, stops, recovers, is read-only or lacks resources;
    /// a lost connection, a time-out, a deadlock.
    Transient,
    /// Somebody has to mend something first: a password, a right, the schema, the model, a setting. Until then every
    /// call fails.
    Configuration,
    /// The data: it fails again however often it is sent, and other data does not.
    Data,
}

impl Error {
    /// What has to change before the same call can succeed.
    ///
    /// Of what PostgreSQL answers, by its SQLSTATE:
    ///
    /// - [`Transient`](ErrorClass::Transient): classes 08, 25 (read-only, idle in transaction), 40, 53, 55 and 57 (lock
    ///   and statement time-outs, shutdown), 58, XX000; 3F000, 42P01, 42P05, 26000 and 0A000, since the next attempt
    ///   makes or checks the schema and prepares its statements anew; and everything that has no SQLSTATE, since then
    ///   the connection itself failed. [`Replaced`](Error::Replaced), since the next attempt stores documents anew.
    /// - [`Data`](ErrorClass::Data): classes 22, 23 and 54. A missing partition (23514), a sequence at its end (2200H) and a database whose
    ///   encoding lacks a character (22P05) are none of it.
    /// - [`Configuration`](ErrorClass::Configuration): everything else, such as classes 28, 3D and 42.
    pub fn class(&self) -> ErrorClass {
        match self {
            Error::Connect { transient: true, .. } | Error::Timeout { .. } | Error::CircuitOpen { .. } => {
                ErrorClass::Transient
            }
            Error::Database { source, .. } => class_of(source),
            Error::Held { .. } | Error::Replaced => ErrorClass::Transient,
            Error::Input { .. } | Error::Corrupt(_) | Error::Rejected { .. } => ErrorClass::Data,
            Error::Connect { transient: false, .. }
            | Error::Setting { .. }
            | Error::SettingsFile { .. }
            | Error::Model(_)
            | Error::Schema(_)
            | Error::Dropped { .. }
            | Error::Shutdown
            | Error::Io { .. } => ErrorClass::Configuration,
        }
    }

    /// Whether the same call may succeed later without anybody mending anything: whether its [`class`](Self::class) is
    /// [`ErrorClass::Transient`].
    pub fn is_transient(&self) -> bool {
        self.class() == ErrorClass::Transient
    }

    /// The kind in one word, as the attribute `error.type` of metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Error::Held { .. } => "held",
            Error::Dropped { .. } => "dropped",
            Error::Rejected { .. } => "rejected",
            Error::Shutdown => "shutdown",
            Error::Timeout { .. } => "timeout",
            _ => "_OTHER",
        }
    }

    /// Whether a row found no partition that takes it.
    pub(crate) fn is_missing_partition(&self) -> bool {
        matches!(self, Error::Database { source, .. } if is_missing_partition(source))
    }
}

fn class_of(error: &tokio_postgres::Error) -> ErrorClass {
    match error.code() {
        Some(_) if is_missing_partition(error) => ErrorClass::Configuration,
        Some(code) => class_of_code(code.code()),
        // A value that does not fit into the protocol, such as one beyond 1 GiB, was never sent.
        None if is_kind(error, "error serializing parameter") || is_kind(error, "error encoding") => {
            ErrorClass::Data
        }
        None => ErrorClass::Transient,
    }
}

/// The driver names the kinds of its own errors in their text only.
fn is_kind(error: &tokio_postgres::Error, text: &str) -> bool {
    error.to_string().starts_with(text)
}

/// A row that no partition takes violates no constraint that has a name; the text depends on the server's language.
fn is_missing_partition(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.code().code() == "23514" && db.constraint().is_none())
}

fn class_of_code(code: &str) -> ErrorClass {
    match code {
        // Relations and prepared statements that are gone, or that another one made; a plan of before a migration.
        "3F000" | "42P01" | "42P05" | "26000" | "0A000" => ErrorClass::Transient,
        // A library of the server that is missing.
        "58P01" | "58P02" => ErrorClass::Configuration,
        // A sequence at its end; a database whose encoding lacks a character.
        "2200H" | "22P05" => ErrorClass::Configuration,
        "XX000" => ErrorClass::Transient,
        _ => match code.get(..2) {
            Some("08" | "25" | "40" | "53" | "55" | "57" | "58") => ErrorClass::Transient,
            Some("22" | "23" | "54") => ErrorClass::Data,
            _ => ErrorClass::Configuration,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_has_the_class_of_what_mends_it() {
        use ErrorClass::{Configuration, Data, Transient};
        let table: [(ErrorClass, &[&str]); 3] = [
            (
                Transient,
                &[
                    "08000", "08001", "08003", "08004", "08006", "08007", "08P01", // connection
                    "25001", "25006", "25P02", "25P03", "25P04", // transaction, read-only
                    "40001", "40003", "40P01", // serialization, unknown outcome, deadlock
                    "53000", "53100", "53200", "53300", "53400", // disk, memory, connections
                    "55000", "55006", "55P03", // in use, lock time-out
                    "57014", "57P01", "57P02", "57P03", "57P04",
                    "57P05", // cancel, shutdown, start, dropped, idle
                    "58000", "58030", "XX000", // input and output, internal
                    "3F000", "42P01", "42P05", "26000", "0A000", // made anew by the next attempt
                ],
            ),
            (Data, &["22001", "22003", "22021", "22P02", "23502", "23505", "23514", "54000", "54001"]),
            (
                Configuration,
                &[
                    "28000", "28P01", "3D000", "42501", "42601", "42703", "42704", "42883", "58P01", "F0000",
                    "2200H", "22P05", // a sequence at its end, an encoding that lacks a character
                    "P0001", "XX001", "XX002", "0LP01", "", "É0000",
                ],
            ),
        ];
        for (class, codes) in table {
            for code in codes {
                assert_eq!(class_of_code(code), class, "{code}");
            }
        }
    }

    #[test]
    fn errors_that_come_from_elsewhere_have_a_class() {
        let connect = |transient| Error::Connect { target: String::new(), reason: String::new(), transient };
        assert_eq!(connect(true).class(), ErrorClass::Transient);
        assert_eq!(connect(false).class(), ErrorClass::Configuration);
        assert_eq!(Error::Timeout { doing: "", seconds: 1.0 }.class(), ErrorClass::Transient);
        assert_eq!(Error::CircuitOpen { seconds: 1.0 }.class(), ErrorClass::Transient);
        assert_eq!(Error::Corrupt(String::new()).class(), ErrorClass::Data);
        assert_eq!(Error::Input { origin: String::new(), reason: String::new() }.class(), ErrorClass::Data);
        assert_eq!(Error::Schema(String::new()).class(), ErrorClass::Configuration);
        assert_eq!(Error::Model(String::new()).class(), ErrorClass::Configuration);
        assert!(Error::Replaced.is_transient());
        assert!(!Error::Shutdown.is_transient());
    }
}

//! Every setting, defined once: its name, type, default, what is allowed, and what it is for.
//!
//! The fields of [`Settings`], their documentation, the defaults, the checks of every layer and the listing of
//! effective settings are all derived from the table below.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::connection;
use super::rule::{self, Rule};
use super::value::{Maintenance, SettingValue, WhenFull};

/// What the loader, the checks and the listing know of a setting.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// One sentence or more, as in the documentation of the field.
    pub(super) description: &'static str,
    pub(super) rule: Rule,
    pub(super) get: fn(&Settings) -> SettingValue,
}

impl Key {
    /// The value that `settings` hold, fit to be shown.
    pub(super) fn shown(&self, settings: &Settings) -> String {
        self.rule.shown(&(self.get)(settings).0)
    }
}

/// Derives the struct, its defaults and the table of keys from one definition a setting:
/// documentation, `name: type = default, rule(what is allowed);`.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($serde:meta)])?
        $name:ident: $type:ty = $default:expr, $rule:ident($($allowed:tt)*);
    )+) => {
        /// How the exporter, its store and its embeddings behave.
        ///
        /// See [the module](crate::settings) for where the values come from. `Debug` and `Serialize` show no
        /// password, so what was serialized does not load again with a password.
        /// `Deserialize` rejects unknown keys but leaves ranges to [`validate`](Settings::validate).
        #[derive(Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`. Allowed: ", rule!(@text $rule $($allowed)*), ".")]
                $(#[serde($serde)])?
                pub $name: $type,
            )+
        }

        impl Default for Settings {
            fn default() -> Self {
                Settings { $($name: rule!(@default $rule $default)),+ }
            }
        }

        /// Every setting, in the order in which they are listed.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            description: concat!($($doc),+),
            rule: rule!(@rule $rule $($allowed)*),
            get: |settings| rule!(@get $rule settings.$name),
        }),+];
    };
}

/// What a kind of setting means for the struct, the table and the documentation.
macro_rules! rule {
    (@rule flag) => {
        Rule::Flag
    };
    (@rule whole $min:literal to $max:literal) => {
        Rule::Whole { min: $min, max: $max }
    };
    (@rule fraction $min:literal to $max:literal) => {
        Rule::Fraction { min: $min, max: $max }
    };
    (@rule text $allowed:literal, $check:expr) => {
        Rule::Text { allowed: $allowed, check: $check }
    };
    (@rule choice $first:literal or $second:literal) => {
        Rule::Text {
            allowed: rule!(@text choice $first or $second),
            check: |text| matches!(text, $first | $second),
        }
    };
    (@rule limit $min:literal to $max:literal) => {
        Rule::Limit { min: $min, max: $max }
    };
    (@rule path) => {
        Rule::Path
    };
    (@rule redact) => {
        Rule::Redact
    };
    (@rule secret $min:literal) => {
        Rule::Secret { min: $min }
    };
    (@rule connection) => {
        Rule::Connection
    };

    (@text flag) => {
        "`true` or `false`"
    };
    (@text $number:ident $min:literal to $max:literal) => {
        concat!($min, " to ", $max)
    };
    (@text text $allowed:literal, $check:expr) => {
        $allowed
    };
    (@text choice $first:literal or $second:literal) => {
        concat!("`", $first, "` or `", $second, "`")
    };
    (@text path) => {
        "a path"
    };
    (@text redact) => {
        "a list of rules `pattern=mask`, `=hash`, `=drop` or `=keep`, or `default`, or `none`"
    };
    (@text secret $min:literal) => {
        concat!("at least ", $min, " bytes of text")
    };
    (@text connection) => {
        "a `postgresql://` URL or `key=value` pairs"
    };

    (@default text $default:expr) => {
        String::from($default)
    };
    (@default connection $default:expr) => {
        String::from($default)
    };
    (@default secret $default:expr) => {
        String::from($default)
    };
    (@default redact $default:expr) => {
        $default.map(String::from).to_vec()
    };
    (@default $rule:ident $default:expr) => {
        $default
    };

    (@get path $value:expr) => {
        $value.as_ref().map(|path: &PathBuf| path.display().to_string()).into()
    };
    (@get redact $value:expr) => {
        $value.join(", ").into()
    };
    (@get $rule:ident $value:expr) => {
        $value.clone().into()
    };
}

settings! {
    /// Whether spans are stored. When false, the exporter accepts spans and discards them.
    enabled: bool = true, flag();

    /// Where the database is, such as `postgresql://app@db/otel_traces` or `host=db user=app dbname=otel_traces`.
    /// Required while `enabled` is true. In a URL, `@`, `/` and `?` within a password are percent-encoded.
    #[serde(serialize_with = "connection::serialize_redacted")]
    connection_string: String = "", connection();

    /// A file that holds the connection string, such as a mounted secret; read again at every new connection.
    /// `connection_string` wins over it, unless that is of an earlier layer.
    connection_string_file: Option<PathBuf> = None, path();

    /// The password of the database's user. One in the connection string wins over it; without either come
    /// `password_file`, the variable `PGPASSWORD` and `.pgpass`.
    #[serde(serialize_with = "rule::serialize_hidden")]
    password: String = "", secret(0);

    /// A file that holds the password, such as a mounted secret; read again at every new connection. A line break at its
    /// end is not part of the password. It wins over a `password` of an earlier layer.
    password_file: Option<PathBuf> = None, path();

    /// The embedding model: a name, or a folder that holds `model.onnx` and `tokenizer.json`.
    embedding_model: String = "all-MiniLM-L6-v2", text("text that is not empty", |text| !text.is_empty());

    /// How many numbers an embedding has; it must be what the model yields.
    embedding_dimension: u16 = 384, whole(128 to 1024);

    /// How many threads compute embeddings.
    embedding_threads: u16 = 1, whole(1 to 16);

    /// ONNX Runtime's shared library. When not set, the usual places are searched.
    onnxruntime_library: Option<PathBuf> = None, path();

    /// How many embeddings are kept in memory.
    cache_size: u64 = 1000, whole(100 to 10000);

    /// The least score of a match in a search by meaning; with the default model relevant spans score from 0.21.
    similarity_threshold: f64 = 0.15, fraction(0.0 to 1.0);

    /// The most spans that are exported at once.
    batch_size: usize = 100, whole(10 to 1000);

    /// The longest time that a finished span waits for its batch to fill, in seconds.
    batch_interval_seconds: u64 = 5, whole(1 to 60);

    /// How many times a batch is tried again after a transient failure.
    max_retries: u32 = 3, whole(1 to 10);

    /// How many failed attempts in a row open the circuit breaker; each retry is one.
    circuit_breaker_threshold: u32 = 5, whole(3 to 20);

    /// The database schema that holds the tables and views.
    schema: String = "otel",
        text("1 to 63 bytes without NUL that do not start with `pg_`", |name| {
            (1..=63).contains(&name.len()) && !name.contains('\0') && !name.starts_with("pg_")
        });

    /// Whether the schema is created and updated when the database is first used.
    migrate: bool = true, flag();

    /// For how many days a stored batch is recognised by its id when it is sent again. Of one that has waited in a spool for
    /// longer, each span is looked up.
    ledger_days: u16 = 7, whole(1 to 365);

    /// For how many whole days spans are kept, by the day in UTC on which they started: maintenance drops the partitions
    /// of older days. With 0 they are kept for good.
    retention_days: u32 = 0, whole(0 to 36500);

    /// Whether one of the exporters of a schema maintains it about hourly, as `otel-pgvector maintain` does (`auto`), or
    /// nobody does until that command is run (`manual`). Partitions are made ahead in any case.
    maintenance: Maintenance = Maintenance::Manual, choice("manual" or "auto");

    /// The most connections that are open at once.
    pool_size: usize = 4, whole(1 to 64);

    /// Whether statements stay prepared on their connection. Set it to false behind PgBouncer in transaction mode, or
    /// another pooler that gives a client another server connection for each transaction.
    prepared_statements: bool = true, flag();

    /// How long connecting to one host of the database may take, from its name's lookup to its first answer, in seconds.
    /// `connect_timeout` in the connection string wins over it.
    connect_timeout_seconds: u64 = 5, whole(1 to 60);

    /// How long one SQL statement may take, in seconds; the server ends it then. It may wait for a lock half as long.
    statement_timeout_seconds: u64 = 30, whole(1 to 600);

    /// How long the export of a batch may take with its retries, in seconds.
    export_timeout_seconds: u64 = 30, whole(1 to 300);

    /// How long a flush may take until everything is stored and embedded, in seconds.
    flush_timeout_seconds: u64 = 30, whole(1 to 300);

    /// How long an export, its spans committed, may wait for the embedding of documents that are new in its batch, in
    /// milliseconds; what is left is embedded behind it. While an export waits, the SDK's queue fills. With 0 no export
    /// waits for an embedding; a flush does.
    embedding_budget_milliseconds: u64 = 0, whole(0 to 5000);

    /// How long an export waits for the database before its batch is handed to the spool or the memory queue, in seconds.
    hand_over_seconds: u64 = 2, whole(1 to 300);

    /// How much may wait in memory while the database is away, in MiB.
    queue_mebibytes: u64 = 64, whole(1 to 4096);

    /// A folder in which batches wait on disk while the database is away. When not set, they wait in memory only.
    /// Several processes may share it that store in the same schema of the same database: each stores what it finds there.
    spool_dir: Option<PathBuf> = None, path();

    /// How much may wait in `spool_dir`, in MiB, of all processes together.
    spool_mebibytes: u64 = 1024, whole(1 to 1048576);

    /// What is given up when no more can wait, in memory or in `spool_dir`: the batch that comes, or those that came first.
    when_full: WhenFull = WhenFull::DropNewest, choice("drop_newest" or "drop_oldest");

    /// What becomes of attributes that must not be stored, by their key: `mask`, `hash`, `drop` or `keep`. Of the rules
    /// that match, the last decides; `default` in the list stands for the default rules, `none` for no rule. See
    /// docs/redaction.md for the patterns.
    redact: Vec<String> = [
        "*password=mask", "*passwd=mask", "pwd=mask", "*passphrase=mask", "*secret=mask", "*passwords=mask", "*secrets=mask",
        "*credential=mask", "*credentials=mask", "jwt=mask",
        "authorization=mask", "cookie=mask", "cookies=mask", "*token=mask", "first_token=keep",
        "per_token=keep", "per_output_token=keep", "api_key=mask", "*apikey=mask", "private_key=mask",
        "secret_key=mask", "access_key=mask", "account_key=mask", "aws_access_key_id=mask",
        "x_amz_signature=mask", "x_goog_signature=mask", "/^sig(nature)?$/=mask",
    ], redact();

    /// The key of the hashes that the rules in `redact` make. Without it each process has a random one, so that hashes
    /// of the same value differ from process to process.
    #[serde(skip_serializing)]
    redact_key: String = "", secret(16);

    /// The most characters of a text (or bytes) in an attribute of a span, event or link; a longer one is cut, and ends
    /// with `…`. It is what OpenTelemetry's `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` is elsewhere; that variable is not read. When
    /// not set, there is no limit.
    attribute_value_length_limit: Option<usize> = None, limit(1 to 1000000);

    /// The most attributes of a span, an event or a link; those behind are dropped and counted. When not set, there is no
    /// limit other than the SDK's.
    attribute_count_limit: Option<usize> = None, limit(0 to 100000);

    /// The most events of a span; those behind are dropped and counted. When not set, there is no limit other than the
    /// SDK's.
    event_count_limit: Option<usize> = None, limit(0 to 100000);

    /// The most links of a span; those behind are dropped and counted. When not set, there is no limit other than the
    /// SDK's.
    link_count_limit: Option<usize> = None, limit(0 to 100000);
}

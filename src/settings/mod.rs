//! Settings: what they are, where they come from, and what is allowed.
//!
//! Settings come in layers, of which the later wins, key by key:
//!
//! 1. the defaults,
//! 2. the section `otel_storage` of a YAML file (without that section, the file sets nothing),
//! 3. environment variables, such as `OTEL_STORAGE_CONNECTION_STRING` and `OTEL_STORAGE_BATCH_SIZE=200`,
//! 4. code: [`SettingsLoader::set`], or the fields of [`Settings`].
//!
//! A null in YAML and an empty variable set nothing; YAML's merge key, as in `<<: *common`, is followed. A key that does
//! not exist, a wrong type and a value out of range are errors that name the key, the value, the layer and what is allowed.
//!
//! ```
//! use opentelemetry_pgvector::Settings;
//!
//! let settings = Settings::loader()
//!     .with_yaml_str("otel_storage: { batch_size: 200, cache_size: 5000 }")
//!     .with_env([("OTEL_STORAGE_BATCH_SIZE", "300")])
//!     .set("connection_string", "postgresql://app@db/otel_traces")
//!     .load()?;
//!
//! assert_eq!((settings.batch_size, settings.cache_size), (300, 5000));
//! assert_eq!(settings.target(), "db:5432/otel_traces as app");
//! # Ok::<(), opentelemetry_pgvector::Error>(())
//! ```

pub(crate) mod connection;
mod keys;
mod layer;
mod loader;
pub(crate) mod redact;
mod rule;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use opentelemetry_sdk::trace::{BatchConfig, BatchConfigBuilder};

pub use keys::Settings;
pub use loader::{EffectiveSetting, LoadedSettings, SettingsLoader};
pub use value::{Maintenance, SettingValue, WhenFull};

use crate::Result;
use connection::ConnectionString;
use keys::KEYS;
use layer::setting_error;
use rule::{HIDDEN, Rule};

/// The section of a YAML file that holds the settings.
pub const SECTION: &str = "otel_storage";

/// What the names of environment variables start with, unless an application gives
/// [its own prefix](SettingsLoader::with_env_prefix).
pub const DEFAULT_ENV_PREFIX: &str = "OTEL_STORAGE";

const DEFAULTS_LAYER: &str = "defaults";
const BUILDER_LAYER: &str = "builder";

/// The queue of the SDK's batch processor holds this many spans by default.
const SDK_QUEUE_SIZE: usize = 2048;

impl Settings {
    /// Starts to collect layers: files, texts, another environment, values set in code.
    ///
    /// Without further calls, the defaults and the environment of the process are read.
    pub fn loader() -> SettingsLoader {
        SettingsLoader::default()
    }

    /// Reads the environment of the process over the defaults.
    ///
    /// # Errors
    ///
    /// As [`SettingsLoader::load`].
    pub fn from_env() -> Result<Settings> {
        Settings::loader().load()
    }

    /// Reads the environment of the process over the section `otel_storage` of a YAML file over the defaults.
    ///
    /// # Errors
    ///
    /// As [`SettingsLoader::load`].
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Settings> {
        Settings::loader().with_yaml_file(path).load()
    }

    /// Checks every value, as the exporter does when it is built, and that there is a connection string if one is needed.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) with the layer `builder` for the first setting that is not allowed.
    pub fn validate(&self) -> Result<()> {
        for key in KEYS {
            let value = (key.get)(self).0;
            if let Err(reason) = key.rule.accept(&value) {
                return Err(setting_error(key.name, key.rule.shown_in_error(&value), BUILDER_LAYER, reason));
            }
        }
        if self.enabled && self.connection_string.is_empty() {
            if self.connection_string_file.is_some() {
                return self.connection().map(drop);
            }
            let reason = format!(
                "is required: set it in the YAML section `{SECTION}`, as {DEFAULT_ENV_PREFIX}_CONNECTION_STRING, \
                 or in code"
            );
            return Err(setting_error("connection_string", "\"\"", DEFAULTS_LAYER, reason));
        }
        Ok(())
    }

    /// The database in a form for messages, such as `db:5432/otel_traces as app`; it never holds the password.
    ///
    /// Reads `connection_string_file` where that is what names the database.
    pub fn target(&self) -> String {
        connection::target(&self.connection_text().unwrap_or_default())
    }

    /// The connection string, from wherever it comes.
    pub(crate) fn connection(&self) -> Result<ConnectionString> {
        let text = self.connection_text()?;
        connection::parse(&text).map_err(|reason| match &self.connection_string_file {
            Some(path) if self.connection_string.is_empty() => setting_error(
                "connection_string_file",
                shown(path),
                BUILDER_LAYER,
                format!("its content {reason}"),
            ),
            _ => setting_error("connection_string", HIDDEN, BUILDER_LAYER, reason),
        })
    }

    fn connection_text(&self) -> Result<Cow<'_, str>> {
        match &self.connection_string_file {
            Some(path) if self.connection_string.is_empty() => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let reason = format!("cannot be read: {error}");
                    setting_error("connection_string_file", shown(path), BUILDER_LAYER, reason)
                })?;
                Ok(text.trim().to_owned().into())
            }
            _ => Ok(self.connection_string.as_str().into()),
        }
    }

    /// The settings of the SDK's batch processor that belong to these.
    ///
    /// A batch is at most [`batch_size`](Self::batch_size) spans and waits at most
    /// [`batch_interval_seconds`](Self::batch_interval_seconds); the queue holds eight batches, and at least the SDK's
    /// default of 2048 spans. These three win over the variables `OTEL_BSP_*`.
    pub fn batch_config(&self) -> BatchConfig {
        BatchConfigBuilder::default()
            .with_max_export_batch_size(self.batch_size)
            .with_scheduled_delay(Duration::from_secs(self.batch_interval_seconds))
            .with_max_queue_size(SDK_QUEUE_SIZE.max(self.batch_size.saturating_mul(8)))
            .build()
    }
}

/// The path of a file in a form for error messages.
fn shown(path: &Path) -> String {
    Rule::Path.shown_in_error(&path.display().to_string().into())
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Settings");
        for key in KEYS {
            fields.field(key.name, &format_args!("{}", key.shown(self)));
        }
        fields.finish()
    }
}

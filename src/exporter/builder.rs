//! Building an exporter in the ecosystem's idiom.

use std::path::Path;

use opentelemetry::metrics::{Meter, MeterProvider};

use super::SpanExporter;
use crate::error::Result;
use crate::settings::{SettingValue, Settings, SettingsLoader};

/// Builds a [`SpanExporter`]; see [`Settings`] for the meaning, defaults and ranges.
///
/// Later layers win: defaults, the YAML file, the environment, the calls on this builder.
#[derive(Debug, Default)]
#[must_use]
pub struct SpanExporterBuilder {
    loader: SettingsLoader,
    meter: Option<Meter>,
}

macro_rules! setters {
    ($($(#[$doc:meta])+ $setter:ident => $key:literal: $type:ty;)+) => {
        $(
            $(#[$doc])+
            pub fn $setter(self, value: $type) -> Self {
                self.with_setting($key, Into::<String>::into(value))
            }
        )+
    };
}

impl SpanExporterBuilder {
    setters! {
        /// Where the database is: a `postgresql://` URL or `key=value` pairs.
        with_connection_string => "connection_string": impl Into<String>;
        /// The schema of the tables.
        with_schema => "schema": impl Into<String>;
        /// The embedding model: a name, or a folder with `model.onnx` and `tokenizer.json`.
        with_embedding_model => "embedding_model": impl Into<String>;
    }

    /// Any setting by its name.
    pub fn with_setting(mut self, key: &str, value: impl Into<SettingValue>) -> Self {
        self.loader = self.loader.set(key, value);
        self
    }

    /// Reads the section `otel_storage` of a YAML file.
    pub fn with_yaml_file(mut self, path: impl AsRef<Path>) -> Self {
        self.loader = self.loader.with_yaml_file(path);
        self
    }

    /// Reads the environment under an application's own prefix, such as `MYAPP_OTEL_STORAGE`, instead of `OTEL_STORAGE`.
    pub fn with_env_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.loader = self.loader.with_env_prefix(prefix);
        self
    }

    /// Reports the exporter's own metrics to this provider. By default it is the global one, as it is at the first export.
    pub fn with_meter_provider(mut self, provider: &dyn MeterProvider) -> Self {
        self.meter = Some(super::metrics::meter(provider));
        self
    }

    /// The settings as they are in force.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) and [`Error::SettingsFile`](crate::Error::SettingsFile).
    pub fn settings(self) -> Result<Settings> {
        self.loader.load()
    }

    /// Builds the exporter. The database need not be up.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) or [`Error::SettingsFile`](crate::Error::SettingsFile) with the key,
    /// the value, the range and the layer; [`Error::Io`](crate::Error::Io) where the system refuses threads.
    pub fn build(self) -> Result<SpanExporter> {
        let loaded = self.loader.load_with_layers()?;
        loaded.validate()?;
        SpanExporter::new(loaded.settings, self.meter)
    }
}

//! Puts the layers together and remembers where each value came from.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, Map, Value};

use super::keys::KEYS;
use super::layer::{Layer, setting_error};
use super::value::SettingValue;
use super::{BUILDER_LAYER, DEFAULT_ENV_PREFIX, DEFAULTS_LAYER, SECTION, Settings};
use crate::{Error, Result};

/// Collects the layers of settings; made by [`Settings::loader`].
///
/// Nothing is read before [`load`](Self::load). `Debug` shows no values: they may be secret.
#[derive(Clone, Default)]
#[must_use = "nothing is read before `load`"]
pub struct SettingsLoader {
    yaml: Vec<Yaml>,
    env_prefix: Option<String>,
    /// `None` stands for the environment of the process.
    env: Option<Vec<(OsString, OsString)>>,
    overrides: Vec<(String, SettingValue)>,
}

#[derive(Clone)]
enum Yaml {
    File(PathBuf),
    Text(String),
}

impl fmt::Debug for SettingsLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsLoader").field("env_prefix", &self.env_prefix).finish_non_exhaustive()
    }
}

impl SettingsLoader {
    /// Adds the section `otel_storage` of a YAML file. Of several files and texts, the later wins, key by key.
    pub fn with_yaml_file(mut self, path: impl AsRef<Path>) -> Self {
        self.yaml.push(Yaml::File(path.as_ref().to_owned()));
        self
    }

    /// Adds the section `otel_storage` of YAML text, as [`with_yaml_file`](Self::with_yaml_file) does of a file.
    pub fn with_yaml_str(mut self, text: impl Into<String>) -> Self {
        self.yaml.push(Yaml::Text(text.into()));
        self
    }

    /// Reads environment variables with this prefix in place of `OTEL_STORAGE`: with `MYAPP_OTEL_STORAGE`, both
    /// `MYAPP_OTEL_STORAGE__BATCH_SIZE` and `MYAPP_OTEL_STORAGE_BATCH_SIZE` set `batch_size`.
    ///
    /// Everything under the prefix must be a setting. Kubernetes names variables after its services too: beside a
    /// service called `otel-storage`, use another prefix or set `enableServiceLinks: false`.
    pub fn with_env_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.env_prefix = Some(prefix.into());
        self
    }

    /// Reads these variables in place of the environment of the process. An empty list means no environment at all.
    pub fn with_env<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.env = Some(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
        self
    }

    /// Sets one setting in code, above all other layers. Of several calls for a key, the last wins.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<SettingValue>) -> Self {
        self.overrides.push((key.into(), value.into()));
        self
    }

    /// Reads all layers and returns the settings that result.
    ///
    /// Unknown keys are errors in every layer, types and ranges are checked for the values that prevail. An empty
    /// connection string passes here, so that code may still fill it in; [`Settings::validate`] requires it.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for an unknown key, a wrong type or a value that is not allowed,
    /// [`Error::SettingsFile`](crate::Error::SettingsFile) for a file that cannot be read, is not YAML or is not a map.
    pub fn load(self) -> Result<Settings> {
        Ok(self.load_with_layers()?.settings)
    }

    /// As [`load`](Self::load), and keeps which layer each value came from.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with_layers(self) -> Result<LoadedSettings> {
        let mut builder = Config::builder().add_source(defaults()?);
        for yaml in &self.yaml {
            let layer = match yaml {
                Yaml::File(path) => Layer::from_yaml_file(path)?,
                Yaml::Text(text) => Layer::from_yaml(Path::new("(YAML text)"), text, "YAML text")?,
            };
            builder = builder.add_source(layer.above());
        }
        builder = builder.add_source(self.environment()?.above()).add_source(self.overrides()?.above());
        builder.build().and_then(|merged| merged.cache.into_table()).map_err(inconsistent).and_then(check)
    }

    fn environment(&self) -> Result<Layer> {
        let prefix = self.env_prefix.as_deref().unwrap_or(DEFAULT_ENV_PREFIX).trim_end_matches('_');
        if prefix.is_empty() {
            let reason = "the prefix of environment variables must not be empty".to_owned();
            return Err(setting_error(SECTION, "\"\"", BUILDER_LAYER, reason));
        }
        match &self.env {
            Some(variables) => Layer::from_env(prefix, variables.iter().cloned()),
            None => Layer::from_env(prefix, std::env::vars_os()),
        }
    }

    fn overrides(&self) -> Result<Layer> {
        let mut layer = Layer::default();
        for (key, value) in &self.overrides {
            layer.set(key, value.0.clone(), BUILDER_LAYER)?;
        }
        Ok(layer)
    }
}

fn defaults() -> Result<Layer> {
    let settings = Settings::default();
    let mut layer = Layer::default();
    for key in KEYS {
        layer.set(key.name, (key.get)(&settings).0, DEFAULTS_LAYER)?;
    }
    Ok(layer)
}

/// Checks the merged values and converts them to settings.
fn check(merged: Map<String, Value>) -> Result<LoadedSettings> {
    let mut accepted: Map<String, Value> = Map::default();
    let mut layers = HashMap::new();
    for key in KEYS {
        let Some(value) = merged.get(key.name) else { continue };
        let layer = value.origin().unwrap_or(DEFAULTS_LAYER);
        let converted = key
            .rule
            .accept(&value.kind)
            .map_err(|reason| setting_error(key.name, key.rule.shown_in_error(&value.kind), layer, reason))?;
        accepted.insert(key.name.to_owned(), converted.into());
        layers.insert(key.name, layer.to_owned());
    }
    let settings = Value::from(accepted).try_deserialize().map_err(inconsistent)?;
    Ok(LoadedSettings { settings, layers })
}

/// An error of `config` after our own checks passed. Its text is not repeated, as it may quote values.
fn inconsistent(_: config::ConfigError) -> crate::Error {
    setting_error(SECTION, "(several)", "all layers", "the layers cannot be combined".to_owned())
}

/// Settings together with the layer that each value came from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadedSettings {
    /// The effective settings.
    pub settings: Settings,
    layers: HashMap<&'static str, String>,
}

impl LoadedSettings {
    /// As [`Settings::validate`], and an error names the layer that the value came from.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for the first setting that is not allowed.
    pub fn validate(&self) -> Result<()> {
        self.settings.validate().map_err(|error| match error {
            Error::Setting { key, value, layer, reason } => {
                let layer = self.layers.get(key.as_str()).cloned().unwrap_or(layer);
                Error::Setting { key, value, layer, reason }
            }
            error => error,
        })
    }

    /// Every setting with its value and origin, for listings; secrets are hidden.
    pub fn layers(&self) -> Vec<EffectiveSetting> {
        KEYS.iter()
            .map(|key| EffectiveSetting {
                key: key.name,
                value: key.shown(&self.settings),
                layer: self.layers.get(key.name).map_or(DEFAULTS_LAYER, String::as_str).to_owned(),
                description: key.description.trim(),
                allowed: key.rule.allowed(),
            })
            .collect()
    }
}

/// One line of a listing of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectiveSetting {
    /// The setting's name, as in the YAML section `otel_storage`.
    pub key: &'static str,
    /// The effective value, with the password of the connection string hidden; empty when there is none.
    pub value: String,
    /// `defaults`, `file <path>`, `YAML text`, `environment variable <name>` or `builder`.
    pub layer: String,
    /// What the setting is for.
    pub description: &'static str,
    /// What is allowed, such as `a whole number from 10 to 1000`.
    pub allowed: String,
}

//! A layer of settings: what one file, the environment or the builder sets.

use std::ffi::OsString;
use std::path::Path;

use config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::SECTION;
use super::keys::KEYS;
use super::rule::HIDDEN;
use crate::{Error, Result};

/// Settings that name a file which holds another one.
const IN_FILES: [(&str, &str); 2] =
    [("connection_string_file", "connection_string"), ("password_file", "password")];

/// YAML's merge key.
const MERGE: &str = "<<";

/// The values that a layer sets, by key, each with its origin. Every key is known; the values are not yet checked,
/// since another layer may replace them.
#[derive(Clone, Default)]
pub(super) struct Layer(Map<String, Value>);

// Required of a `Source`; values may be secret.
impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Sets `key` and returns what this layer held before.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] when there is no such key, without the value: it may be a password under a mistyped key.
    /// Also for a map, or for a list where the setting is none.
    pub(super) fn set(&mut self, key: &str, value: ValueKind, origin: &str) -> Result<Option<Value>> {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            // What is not a name may be a connection string in the place of a key.
            let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
            return Err(setting_error(if is_name { key } else { HIDDEN }, HIDDEN, origin, unknown(key)));
        };
        let value = known.rule.flattened(value);
        match value {
            ValueKind::Nil => return Ok(None),
            // Never right, and `config` would merge a map into the layers below and lose its origin.
            ValueKind::Table(_) | ValueKind::Array(_) => {
                let reason = format!("must be {}", known.rule.allowed());
                return Err(setting_error(key, known.rule.shown_in_error(&value), origin, reason));
            }
            _ => (),
        }
        Ok(self.0.insert(key.to_owned(), Value::new(Some(&origin.to_owned()), value)))
    }

    /// The layer as it is put above others: a file that it names takes the place of a text of theirs.
    pub(super) fn above(mut self) -> Layer {
        for (file, text) in IN_FILES {
            let origin = self.0.get(file).and_then(|value| value.origin()).map(str::to_owned);
            if let Some(origin) = origin
                && !self.0.contains_key(text)
            {
                self.0.insert(text.to_owned(), Value::new(Some(&origin), ""));
            }
        }
        self
    }

    /// Reads the section `otel_storage` of a YAML file.
    pub(super) fn from_yaml_file(path: &Path) -> Result<Layer> {
        let text = std::fs::read_to_string(path).map_err(|error| file_error(path, error.to_string()))?;
        Layer::from_yaml(path, &text, &format!("file {}", path.display()))
    }

    /// Reads the section `otel_storage` of YAML text that came from `path`.
    pub(super) fn from_yaml(path: &Path, text: &str, origin: &str) -> Result<Layer> {
        // Editors put a byte order mark in front, which the parser takes for a part of the first key.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut root = FileFormat::Yaml
            .parse(None, text)
            .map_err(|error| file_error(path, explain_yaml(error.as_ref())))?;
        let mut layer = Layer::default();
        match root.remove(SECTION).map(|section| section.kind) {
            None | Some(ValueKind::Nil) => (),
            Some(ValueKind::Table(section)) => {
                for (key, value) in merged(section) {
                    layer.set(&key, value.kind, origin)?;
                }
            }
            Some(_) => {
                return Err(file_error(path, format!("the section `{SECTION}` must be a map of settings")));
            }
        }
        Ok(layer)
    }

    /// Reads the variables named `prefix`, one or two underscores, and a key in upper case. Empty ones count as unset.
    pub(super) fn from_env(
        prefix: &str,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Layer> {
        let mut layer = Layer::default();
        for (name, value) in variables {
            let Some((name, key)) = name.to_str().and_then(|name| Some((name, env_key(prefix, name)?)))
            else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let origin = format!("environment variable {name}");
            let value = value
                .to_str()
                .map(ValueKind::from)
                .ok_or_else(|| setting_error(&key, HIDDEN, &origin, "must be UTF-8".to_owned()))?;
            if let Some(other) = layer.set(&key, value.clone(), &origin)?
                && other.kind != value
            {
                let reason = format!(
                    "{} sets it to another value: keep one of them",
                    other.origin().unwrap_or_default()
                );
                return Err(setting_error(&key, HIDDEN, &origin, reason));
            }
        }
        Ok(layer)
    }
}

/// A map with those that its merge key names (`<<: *common`), which the parser leaves to us: what it sets itself wins, and of
/// several maps the first. Anything but a map stays, as an unknown key.
fn merged(mut map: Map<String, Value>) -> Map<String, Value> {
    let beneath = match map.remove(MERGE) {
        None => return map,
        Some(Value { kind: ValueKind::Array(several), .. }) => several,
        Some(one) => vec![one],
    };
    for value in beneath {
        match value.kind {
            ValueKind::Table(other) => {
                for (key, value) in merged(other) {
                    map.entry(key).or_insert(value);
                }
            }
            kind => drop(map.insert(MERGE.to_owned(), kind.into())),
        }
    }
    map
}

/// The setting that a variable names, if it has the prefix.
fn env_key(prefix: &str, variable: &str) -> Option<String> {
    let key = variable.strip_prefix(prefix)?.strip_prefix('_')?;
    Some(key.strip_prefix('_').unwrap_or(key).to_ascii_lowercase())
}

fn unknown(key: &str) -> String {
    let wanted = key.to_ascii_lowercase();
    let (distance, nearest) = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&wanted, known.name), known.name))
        .min()
        .unwrap_or((usize::MAX, ""));
    // A third of the letters wrong is more than a slip.
    if distance <= 2.max(wanted.len() / 3) {
        format!("unknown setting; did you mean `{nearest}`?")
    } else {
        let names: Vec<&str> = KEYS.iter().map(|known| known.name).collect();
        format!("unknown setting; there are {}", names.join(", "))
    }
}

/// The parser's explanation, unless it quotes content, which may be a connection string.
fn explain_yaml(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let reason = error.to_string();
    if error.is::<Box<ConfigError>>() || error.is::<ConfigError>() {
        "is not a map of sections".to_owned()
    } else if reason.contains("://") || reason.contains("password") {
        "is not valid YAML".to_owned()
    } else {
        format!("is not valid YAML: {reason}")
    }
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::SettingsFile { path: path.to_owned(), reason }
}

pub(super) fn setting_error(key: &str, value: impl Into<String>, layer: &str, reason: String) -> Error {
    Error::Setting { key: key.to_owned(), value: value.into(), layer: layer.to_owned(), reason }
}

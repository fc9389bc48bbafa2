//! The settings of the command line.

use std::path::PathBuf;

use opentelemetry_pgvector::settings::{LoadedSettings, SettingsLoader};
use opentelemetry_pgvector::{Error, Result, Settings, TraceStore};

use super::values::Pair;

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Settings")]
pub struct SettingsOptions {
    /// A YAML file with a section `otel_storage`.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the database is. A password in it is visible to other users of this machine: prefer the environment.
    #[arg(long, global = true, value_name = "URL")]
    connection_string: Option<String>,

    /// The database schema that holds the tables; `otel` by default.
    #[arg(long, global = true, value_name = "NAME")]
    schema: Option<String>,

    /// The embedding model: its name, or the folder that holds it.
    #[arg(long, global = true, value_name = "MODEL")]
    embedding_model: Option<String>,

    /// Any other setting, such as `similarity_threshold=0.3`. May be given several times.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = Pair('='))]
    set: Vec<(String, String)>,
}

/// The settings of the command line, over those of the library's other layers.
pub struct CommandSettings(SettingsLoader);

/// The layer as it is told to who types commands: what the library calls its builder is the command line here.
pub fn layer(layer: &str) -> &str {
    if layer == "builder" { "command line" } else { layer }
}

/// The environment variable with the connection of `serve` for what is received.
pub const WRITER: &str = "OTEL_PGVECTOR_SERVE_WRITER";

/// An error of the settings for writing, which differ from those for looking in this variable only.
fn of_writer(mut error: Error) -> Error {
    if let Error::Setting { layer, .. } = &mut error {
        *layer = format!("environment variable {WRITER}");
    }
    error
}

impl SettingsOptions {
    pub fn layered(&self) -> CommandSettings {
        let mut loader = Settings::loader();
        if let Some(file) = &self.config {
            loader = loader.with_yaml_file(file);
        }
        for (key, value) in &self.set {
            loader = loader.set(key, value.as_str());
        }
        let named = [
            ("connection_string", &self.connection_string),
            ("schema", &self.schema),
            ("embedding_model", &self.embedding_model),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                loader = loader.set(key, value.as_str());
            }
        }
        CommandSettings(loader)
    }
}

impl CommandSettings {
    /// The store; a command that only reads does not create tables.
    pub fn open(self, writes: bool) -> Result<TraceStore> {
        let mut settings = self.valid()?;
        settings.migrate &= writes;
        TraceStore::new(settings)
    }

    /// With another number of days that spans are kept, if there is one.
    pub fn retaining(self, days: Option<u32>) -> Self {
        match days {
            Some(days) => CommandSettings(self.0.set("retention_days", days)),
            None => self,
        }
    }

    /// The store, with the connections that changing the model takes.
    pub fn open_to_reembed(self, changes: bool) -> Result<TraceStore> {
        let mut settings = self.valid()?;
        settings.migrate &= changes;
        settings.pool_size = settings.pool_size.max(2);
        TraceStore::new(settings)
    }

    /// The settings where no database is needed.
    pub fn offline(self) -> Result<Settings> {
        self.0.set("enabled", false).load()
    }

    /// The settings for looking, and those for writing, which may have a connection of their own.
    pub fn into_looking_and_writing(self, writer: Option<String>) -> Result<(Settings, Settings)> {
        let looking = self.0.clone().load()?;
        let writing = match writer {
            Some(connection) => self.0.set("connection_string", connection).load().map_err(of_writer)?,
            None => looking.clone(),
        };
        Ok((looking, writing))
    }

    /// The schema alone, which needs no database.
    pub fn schema(self) -> Result<String> {
        Ok(self.offline()?.schema)
    }

    /// The settings where a database is needed.
    fn valid(self) -> Result<Settings> {
        let loaded = self.loaded()?;
        loaded.validate()?;
        Ok(loaded.settings)
    }

    /// With the layer of each.
    pub fn loaded(self) -> Result<LoadedSettings> {
        self.0.load_with_layers()
    }
}

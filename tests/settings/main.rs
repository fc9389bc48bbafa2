//! Settings, and the secrets among them.

mod allowed;
mod connection;
mod layers;
mod redaction;
mod secrets;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Debug;

use opentelemetry_pgvector::settings::{LoadedSettings, SettingsLoader};
use opentelemetry_pgvector::{Error, Settings};

const URL: &str = "postgresql://app:hunter2@db:6432/otel_traces";

/// A loader that does not see the environment of the test process.
fn loader() -> SettingsLoader {
    Settings::loader().with_env::<&str, &str>([])
}

/// Key, value, layer and reason of a setting's error.
fn setting_error<T: Debug>(result: Result<T, Error>) -> (String, String, String, String) {
    match result {
        Err(Error::Setting { key, value, layer, reason }) => (key, value, layer, reason),
        other => panic!("expected a setting's error, got {other:?}"),
    }
}

/// Where a setting came from.
fn layer_of(loaded: &LoadedSettings, key: &str) -> String {
    loaded.layers().into_iter().find(|setting| setting.key == key).expect("key is listed").layer
}

fn assert_no_password(shown: &impl Debug) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

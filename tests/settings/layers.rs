//! Settings: which layer wins, what is allowed, and that no password leaves them.

use std::fmt::Debug;

use opentelemetry_pgvector::settings::{LoadedSettings, Maintenance, SettingValue, SettingsLoader, WhenFull};
use opentelemetry_pgvector::{Error, Settings};
use proptest::prelude::*;

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

fn layer_of(loaded: &LoadedSettings, key: &str) -> String {
    loaded.layers().into_iter().find(|setting| setting.key == key).expect("key is listed").layer
}

// Layers

#[test]
fn defaults_apply_when_nothing_is_set() {
    let loaded = loader().load_with_layers().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.layers().iter().all(|setting| setting.layer == "defaults"));
    assert_eq!(loaded.layers().len(), 38);
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = Settings::default();
    assert!(settings.enabled && settings.migrate);
    assert_eq!(settings.connection_string, "");
    assert_eq!((settings.connection_string_file, settings.password_file), (None, None));
    assert!(settings.password.is_empty() && settings.prepared_statements);
    assert_eq!(settings.embedding_model, "all-MiniLM-L6-v2");
    assert_eq!((settings.embedding_dimension, settings.embedding_threads), (384, 1));
    assert_eq!(settings.onnxruntime_library, None);
    assert_eq!((settings.cache_size, settings.similarity_threshold), (1000, 0.15));
    assert_eq!((settings.batch_size, settings.batch_interval_seconds), (100, 5));
    assert_eq!((settings.max_retries, settings.circuit_breaker_threshold), (3, 5));
    assert_eq!((settings.schema.as_str(), settings.pool_size), ("otel", 4));
    assert_eq!((settings.ledger_days, settings.retention_days), (7, 0));
    assert_eq!(settings.maintenance, Maintenance::Manual);
    assert_eq!((settings.connect_timeout_seconds, settings.statement_timeout_seconds), (5, 30));
    assert_eq!((settings.export_timeout_seconds, settings.flush_timeout_seconds), (30, 30));
    assert_eq!(settings.embedding_budget_milliseconds, 0);
    assert_eq!((settings.hand_over_seconds, settings.queue_mebibytes), (2, 64));
    assert_eq!((settings.spool_dir, settings.spool_mebibytes), (None, 1024));
    assert_eq!(settings.when_full, WhenFull::DropNewest);
    assert!(settings.redact.iter().any(|rule| rule == "authorization=mask"), "{:?}", settings.redact);
    assert_eq!(settings.redact_key, "");
    assert_eq!((settings.attribute_value_length_limit, settings.attribute_count_limit), (None, None));
    assert_eq!((settings.event_count_limit, settings.link_count_limit), (None, None));
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otel.yaml");
    std::fs::write(
        &path,
        "otel_storage:\n  batch_size: 200\n  cache_size: 200\n  pool_size: 20\n  onnxruntime_library: /lib/a.so\n",
    )
    .unwrap();
    let loaded = loader()
        .set("batch_size", 400) // The order of the calls does not matter.
        .with_yaml_file(&path)
        .with_env([("OTEL_STORAGE_BATCH_SIZE", "300"), ("OTEL_STORAGE_CACHE_SIZE", "300")])
        .load_with_layers()
        .unwrap();

    let settings = &loaded.settings;
    assert_eq!((settings.batch_size, settings.cache_size, settings.pool_size), (400, 300, 20));
    assert_eq!(settings.onnxruntime_library.as_deref(), Some("/lib/a.so".as_ref()));
    assert_eq!(layer_of(&loaded, "batch_size"), "builder");
    assert_eq!(layer_of(&loaded, "cache_size"), "environment variable OTEL_STORAGE_CACHE_SIZE");
    assert_eq!(layer_of(&loaded, "pool_size"), format!("file {}", path.display()));
    assert_eq!(layer_of(&loaded, "max_retries"), "defaults");
}

#[test]
fn later_yaml_wins_over_earlier_key_by_key() {
    let settings = loader()
        .with_yaml_str("otel_storage: { batch_size: 200, pool_size: 2 }")
        .with_yaml_str("otel_storage: { batch_size: 300 }")
        .load()
        .unwrap();
    assert_eq!((settings.batch_size, settings.pool_size), (300, 2));
}

#[test]
fn a_good_value_may_replace_one_that_is_out_of_range() {
    let loader = loader().with_yaml_str("otel_storage: { batch_size: 5 }").set("batch_size", 50);
    assert_eq!(loader.load().unwrap().batch_size, 50);
}

#[test]
fn every_setting_can_be_set_by_yaml_and_by_environment() {
    let values = [
        ("enabled", "false"),
        ("connection_string", "host=db"),
        ("connection_string_file", "/run/secrets/url"),
        ("password", "secret"),
        ("password_file", "/run/secrets/password"),
        ("prepared_statements", "false"),
        ("embedding_model", "/models/mini"),
        ("embedding_dimension", "768"),
        ("embedding_threads", "2"),
        ("onnxruntime_library", "/lib/onnx.so"),
        ("cache_size", "500"),
        ("similarity_threshold", "0.5"),
        ("batch_size", "50"),
        ("batch_interval_seconds", "7"),
        ("max_retries", "7"),
        ("circuit_breaker_threshold", "7"),
        ("schema", "traces"),
        ("migrate", "false"),
        ("ledger_days", "30"),
        ("retention_days", "30"),
        ("maintenance", "auto"),
        ("pool_size", "7"),
        ("connect_timeout_seconds", "7"),
        ("statement_timeout_seconds", "7"),
        ("export_timeout_seconds", "7"),
        ("flush_timeout_seconds", "7"),
        ("embedding_budget_milliseconds", "7"),
        ("hand_over_seconds", "7"),
        ("queue_mebibytes", "7"),
        ("spool_dir", "/var/lib/spool"),
        ("spool_mebibytes", "7"),
        ("when_full", "drop_oldest"),
        ("redact", "default, card.*=hash"),
        ("redact_key", "sixteen characters"),
        ("attribute_value_length_limit", "4096"),
        ("attribute_count_limit", "0"),
        ("event_count_limit", "7"),
        ("link_count_limit", "7"),
    ];
    let variables = values.map(|(key, value)| (format!("OTEL_STORAGE_{}", key.to_uppercase()), value));
    let by_env = loader().with_env(variables).load_with_layers().unwrap();
    assert!(by_env.layers().iter().all(|setting| setting.layer.starts_with("environment variable ")));

    let lines: String = values.iter().map(|(key, value)| format!("  {key}: {value}\n")).collect();
    let by_yaml = loader().with_yaml_str(format!("otel_storage:\n{lines}")).load_with_layers().unwrap();
    assert!(by_yaml.layers().iter().all(|setting| setting.layer == "YAML text"));
    assert_eq!(by_env.settings, by_yaml.settings);
}

#[test]
fn settings_deserialize_from_what_they_serialized_to() {
    let mut settings = Settings::default();
    settings.connection_string = "host=db port=5433 dbname=traces user=app".into();
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    assert!(serde_json::from_str::<Settings>(r#"{"batchsize": 5}"#).is_err());
}

// Ranges and types

#[test]
fn both_ends_of_each_range_are_allowed_and_the_next_values_are_not() {
    for (key, min, max) in [
        ("embedding_dimension", 128, 1024),
        ("embedding_threads", 1, 16),
        ("cache_size", 100, 10_000),
        ("batch_size", 10, 1000),
        ("batch_interval_seconds", 1, 60),
        ("max_retries", 1, 10),
        ("circuit_breaker_threshold", 3, 20),
        ("ledger_days", 1, 365),
        ("retention_days", 0, 36_500),
        ("hand_over_seconds", 1, 300),
        ("queue_mebibytes", 1, 4096),
        ("pool_size", 1, 64),
        ("connect_timeout_seconds", 1, 60),
        ("statement_timeout_seconds", 1, 600),
        ("export_timeout_seconds", 1, 300),
        ("flush_timeout_seconds", 1, 300),
        ("embedding_budget_milliseconds", 0, 5000),
        ("spool_mebibytes", 1, 1_048_576),
        ("attribute_value_length_limit", 1, 1_000_000),
        ("attribute_count_limit", 0, 100_000),
        ("event_count_limit", 0, 100_000),
        ("link_count_limit", 0, 100_000),
    ] {
        for allowed in [min, max] {
            loader().set(key, allowed).load().unwrap_or_else(|error| panic!("{key} = {allowed}: {error}"));
        }
        for refused in [min - 1, max + 1] {
            let expected = (
                key.to_owned(),
                refused.to_string(),
                "builder".to_owned(),
                format!("must be a whole number from {min} to {max}"),
            );
            assert_eq!(setting_error(loader().set(key, refused).load()), expected);
        }
    }
}

#[test]
fn the_similarity_threshold_is_a_fraction() {
    for allowed in [0.0, 0.85, 1.0] {
        assert_eq!(
            loader().set("similarity_threshold", allowed).load().unwrap().similarity_threshold,
            allowed
        );
    }
    for refused in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
        let (key, _, _, reason) = setting_error(loader().set("similarity_threshold", refused).load());
        assert_eq!((key.as_str(), reason.as_str()), ("similarity_threshold", "must be a number from 0 to 1"));
    }
    let settings = loader().with_yaml_str("otel_storage: { similarity_threshold: 1 }").load().unwrap();
    assert_eq!(settings.similarity_threshold, 1.0);
}

#[test]
fn the_schema_must_be_a_name_that_postgresql_takes() {
    let longest = "ü".repeat(31) + "x"; // 63 bytes
    for allowed in ["s", "Traces 2", &longest] {
        assert_eq!(loader().set("schema", allowed).load().unwrap().schema, allowed);
    }
    for refused in ["", "pg_otel", "a\0b", &"ü".repeat(32)] {
        let (key, _, _, reason) = setting_error(loader().set("schema", refused).load());
        assert_eq!(key, "schema");
        assert_eq!(reason, "must be 1 to 63 bytes without NUL that do not start with `pg_`");
    }
}

#[test]
fn an_error_names_key_value_layer_and_range() {
    let result = loader().with_env([("OTEL_STORAGE_BATCH_SIZE", "5")]).load();
    assert_eq!(
        result.unwrap_err().to_string(),
        "setting `batch_size` = 5 (from environment variable OTEL_STORAGE_BATCH_SIZE): \
         must be a whole number from 10 to 1000"
    );
}

#[test]
fn a_wrong_type_is_refused_rather_than_converted() {
    for (yaml, key, shown) in [
        ("batch_size: many", "batch_size", "many"),
        ("batch_size: true", "batch_size", "true"),
        ("batch_size: 20.5", "batch_size", "20.5"),
        ("batch_size: [20]", "batch_size", "a list"),
        ("batch_size: -20", "batch_size", "-20"),
        ("pool_size: { max: 3 }", "pool_size", "a map"),
        ("enabled: 2", "enabled", "2"),
        ("migrate: sometimes", "migrate", "sometimes"),
        ("schema: 007", "schema", "7"),
        ("embedding_model: ''", "embedding_model", "\"\""),
        ("onnxruntime_library: ''", "onnxruntime_library", "\"\""),
        ("similarity_threshold: high", "similarity_threshold", "high"),
        ("when_full: block", "when_full", "block"),
        ("when_full: ''", "when_full", "\"\""),
        ("connection_string: [secret]", "connection_string", "<hidden>"),
        ("password: [secret]", "password", "<hidden>"),
        ("password: 1234", "password", "<hidden>"),
    ] {
        let result = loader().with_yaml_str(format!("otel_storage: {{ {yaml} }}")).load();
        let (actual_key, value, layer, _) = setting_error(result);
        assert_eq!((actual_key.as_str(), value.as_str(), layer.as_str()), (key, shown, "YAML text"));
    }
}

#[test]
fn booleans_are_true_false_one_and_zero_in_any_case() {
    for (text, expected) in
        [("true", true), ("TRUE", true), ("1", true), ("false", false), ("False", false), ("0", false)]
    {
        let by_env = loader().with_env([("OTEL_STORAGE_ENABLED", text)]).load().unwrap();
        let by_yaml = loader().with_yaml_str(format!("otel_storage: {{ enabled: {text} }}")).load().unwrap();
        assert_eq!((by_env.enabled, by_yaml.enabled), (expected, expected), "{text}");
    }
    for text in ["yes", "on", "2", "tru"] {
        let (key, ..) = setting_error(loader().with_env([("OTEL_STORAGE_ENABLED", text)]).load());
        assert_eq!(key, "enabled");
    }
}

#[test]
fn settings_changed_in_code_are_validated_with_layer_builder() {
    let mut settings = Settings::default();
    settings.connection_string = URL.into();
    settings.validate().unwrap();
    settings.batch_size = usize::MAX;
    let (key, value, layer, _) = setting_error(settings.validate());
    assert_eq!((key.as_str(), value, layer.as_str()), ("batch_size", usize::MAX.to_string(), "builder"));
}

#[test]
fn a_connection_string_is_required_only_while_enabled() {
    let mut settings = loader().load().unwrap();
    let (key, value, layer, reason) = setting_error(settings.validate());
    assert_eq!((key.as_str(), value.as_str(), layer.as_str()), ("connection_string", "\"\"", "defaults"));
    assert!(reason.contains("OTEL_STORAGE_CONNECTION_STRING"), "{reason}");
    settings.enabled = false;
    settings.validate().unwrap();
}

proptest! {
    #[test]
    fn any_batch_size_loads_or_is_refused_by_name(size: u64) {
        for loader in [
            loader().set("batch_size", size),
            loader().with_env([("OTEL_STORAGE_BATCH_SIZE", size.to_string())]),
            loader().with_yaml_str(format!("otel_storage: {{ batch_size: {size} }}")),
        ] {
            match loader.load() {
                Ok(settings) => {
                    prop_assert!((10..=1000).contains(&size));
                    prop_assert_eq!(settings.batch_size as u64, size);
                }
                Err(Error::Setting { key, .. }) => {
                    prop_assert!(!(10..=1000).contains(&size));
                    prop_assert_eq!(key, "batch_size");
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn any_batch_size_near_the_range_loads_or_is_refused(size in 0u64..1100) {
        prop_assert_eq!(loader().set("batch_size", size).load().is_ok(), (10..=1000).contains(&size));
    }

    #[test]
    fn no_connection_string_makes_a_panic_or_shows_its_password(
        user in "[a-z]{0,4}", password in "[!-~]{0,6}[ @/?:%'\\\\=&#]{0,3}", tail in "[ -~]{0,12}", url: bool,
    ) {
        // Between the markers is whatever a user may have forgotten to escape.
        let password = format!("HUN{password}TER");
        let text = if url {
            format!("postgresql://{user}:{password}@{tail}")
        } else {
            format!("user={user} password={password} {tail}")
        };
        let mut settings = Settings::default();
        settings.connection_string = text;
        let shown = [
            format!("{settings:?}"),
            settings.target(),
            serde_json::to_string(&settings).unwrap(),
            format!("{:?}", settings.validate()),
        ];
        for shown in shown {
            prop_assert!(!shown.contains("HUN") && !shown.contains("TER"), "{}", shown);
        }
    }
}

// Unknown keys

#[test]
fn an_unknown_key_is_refused_in_every_layer_with_a_suggestion() {
    for (result, layer) in [
        (loader().with_yaml_str("otel_storage: { batchsize: 20 }").load(), "YAML text"),
        (
            loader().with_env([("OTEL_STORAGE_BATCHSIZE", "20")]).load(),
            "environment variable OTEL_STORAGE_BATCHSIZE",
        ),
        (loader().set("batchsize", 20).load(), "builder"),
    ] {
        let expected = ["batchsize", "<hidden>", layer, "unknown setting; did you mean `batch_size`?"]
            .map(str::to_owned);
        assert_eq!(<[String; 4]>::from(setting_error(result)), expected);
    }
}

#[test]
fn a_key_like_no_other_is_answered_with_all_keys() {
    let (_, _, _, reason) = setting_error(loader().set("colour", "blue").load());
    assert!(reason.starts_with("unknown setting; there are enabled, connection_string, "), "{reason}");
}

#[test]
fn a_secret_under_a_mistyped_key_is_not_shown() {
    let result = loader().with_yaml_str(format!("otel_storage: {{ conection_string: '{URL}' }}")).load();
    assert_no_password(&result);
    assert!(setting_error(result).3.contains("`connection_string`"));

    for text in [URL, "password=hunter2 host=db"] {
        let result = loader().with_yaml_str(format!("otel_storage: {{ '{text}' }}")).load();
        assert_no_password(&result);
        assert_eq!(setting_error(result).0, "<hidden>");
    }
}

// Environment

#[test]
fn the_prefix_is_followed_by_one_or_two_underscores() {
    for name in ["OTEL_STORAGE_BATCH_SIZE", "OTEL_STORAGE__BATCH_SIZE"] {
        assert_eq!(loader().with_env([(name, "200")]).load().unwrap().batch_size, 200);
    }
    for name in ["MYAPP_OTEL_STORAGE__BATCH_SIZE", "MYAPP_OTEL_STORAGE_BATCH_SIZE"] {
        for prefix in ["MYAPP_OTEL_STORAGE", "MYAPP_OTEL_STORAGE__"] {
            let settings = loader().with_env_prefix(prefix).with_env([(name, "200")]).load().unwrap();
            assert_eq!(settings.batch_size, 200);
        }
    }
}

#[test]
fn a_custom_prefix_replaces_the_default_one() {
    let variables = [("OTEL_STORAGE_BATCH_SIZE", "200"), ("MYAPP_OTEL_STORAGE__POOL_SIZE", "2")];
    let custom = loader().with_env_prefix("MYAPP_OTEL_STORAGE").with_env(variables).load().unwrap();
    assert_eq!((custom.batch_size, custom.pool_size), (100, 2));
    let default = loader().with_env(variables).load().unwrap();
    assert_eq!((default.batch_size, default.pool_size), (200, 4));
}

#[test]
fn an_empty_prefix_is_refused() {
    let (_, _, _, reason) = setting_error(loader().with_env_prefix("").load());
    assert_eq!(reason, "the prefix of environment variables must not be empty");
}

#[test]
fn variables_without_the_prefix_are_ignored() {
    let variables = [("PATH", "/bin"), ("OTEL_STORAGEX", "1"), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
    assert_eq!(loader().with_env(variables).load().unwrap(), Settings::default());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = loader()
        .with_yaml_str("otel_storage: { batch_size: 200 }")
        .with_env([("OTEL_STORAGE_BATCH_SIZE", ""), ("OTEL_STORAGE_UNKNOWN", "")])
        .load()
        .unwrap();
    assert_eq!(settings.batch_size, 200);
}

#[test]
fn two_spellings_of_a_variable_must_agree() {
    let names = ["OTEL_STORAGE_BATCH_SIZE", "OTEL_STORAGE__BATCH_SIZE"];
    assert!(loader().with_env(names.map(|name| (name, "200"))).load().is_ok());
    let (key, _, _, reason) = setting_error(loader().with_env([(names[0], "200"), (names[1], "300")]).load());
    assert_eq!(key, "batch_size");
    assert!(reason.contains("OTEL_STORAGE_BATCH_SIZE sets it to another value"), "{reason}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_named() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let value = OsString::from_vec(vec![b'a', 0xff]);
    let (key, value, _, reason) =
        setting_error(loader().with_env([(OsString::from("OTEL_STORAGE_SCHEMA"), value)]).load());
    assert_eq!((key.as_str(), value.as_str(), reason.as_str()), ("schema", "<hidden>", "must be UTF-8"));
}

// YAML

#[test]
fn yaml_without_the_section_sets_nothing() {
    for text in ["", "# nothing\n", "server: { port: 80 }", "otel_storage:\n", "otel_storage: {}"] {
        let loaded = loader().with_yaml_str(text).load().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(loaded, Settings::default());
    }
}

#[test]
fn a_null_in_yaml_sets_nothing() {
    let text = "otel_storage: { batch_size: ~, onnxruntime_library: null }";
    assert_eq!(loader().with_yaml_str(text).load().unwrap(), Settings::default());
}

#[test]
fn yaml_that_is_not_a_map_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otel.yaml");
    for (text, part) in [
        ("- a\n- b\n", "is not a map of sections"),
        ("postgresql://app:hunter2@db/otel", "is not a map of sections"),
        ("otel_storage: [1]", "the section `otel_storage` must be a map"),
        ("otel_storage: postgresql://app:hunter2@db/otel", "the section `otel_storage` must be a map"),
        ("otel_storage: {", "is not valid YAML"),
        ("otel_storage: { batch_size: 20, batch_size: 30 }", "duplicated key"),
        ("? { connection_string: 'postgresql://app:hunter2@db' }\n: 1", "is not valid YAML"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = loader().with_yaml_file(&path).load().unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::SettingsFile { .. }), "{message}");
        assert!(message.contains(part) && message.contains("otel.yaml"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = loader().with_yaml_file("/nowhere/otel.yaml").load().unwrap_err();
    assert!(error.to_string().starts_with("settings file /nowhere/otel.yaml: "), "{error}");
}

// Secrets

fn assert_no_password(shown: &impl Debug) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_password_is_never_shown() {
    for text in [URL, "host=db port=6432 dbname=otel_traces user=app password=hunter2"] {
        let loader = loader().set("connection_string", text);
        assert_no_password(&loader);
        assert_no_password(&SettingValue::from(text));
        let loaded = loader.load_with_layers().unwrap();
        assert_eq!(loaded.settings.connection_string, text);
        assert_no_password(&loaded);
        assert_no_password(&loaded.layers());
        assert_no_password(&serde_json::to_string(&loaded.settings));
        assert_eq!(loaded.settings.target(), "db:6432/otel_traces as app");
        assert_eq!(
            loaded.layers()[1].value,
            "host=db port=6432 dbname=otel_traces user=app password=<hidden>"
        );
    }
}

#[test]
fn the_setting_password_is_never_shown() {
    let loader = loader().set("password", "hunter2").set("connection_string", "host=db user=app");
    assert_no_password(&loader);
    let loaded = loader.load_with_layers().unwrap();
    assert_eq!(loaded.settings.password, "hunter2");
    assert_no_password(&loaded);
    assert_no_password(&loaded.layers());
    assert_no_password(&serde_json::to_string(&loaded.settings));
    assert_eq!(
        loaded.layers().into_iter().find(|setting| setting.key == "password").unwrap().value,
        "<hidden>"
    );
}

#[test]
fn a_connection_string_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    let path_text = path.display().to_string();
    let settings = loader().set("connection_string_file", path_text.as_str()).load().unwrap();
    let (key, value, _, reason) = setting_error(settings.validate());
    assert_eq!((key.as_str(), &value), ("connection_string_file", &path_text));
    assert!(reason.starts_with("cannot be read"), "{reason}");

    std::fs::write(&path, format!("{URL}\n")).unwrap();
    settings.validate().unwrap();
    assert_eq!(settings.target(), "db:6432/otel_traces as app");
    assert_no_password(&settings);

    std::fs::write(&path, "postgresql://app:hunter2").unwrap();
    let result = settings.validate();
    assert_no_password(&result);
    assert_eq!(setting_error(result).0, "connection_string_file");
    assert_no_password(&settings.target());

    let both =
        loader().set("connection_string_file", path_text.as_str()).set("connection_string", "host=other");
    let both = both.load().unwrap();
    both.validate().unwrap();
    assert_eq!(both.target(), "other:5432");
}

#[test]
fn parameters_of_libpq_are_understood_in_both_forms() {
    for (text, shown) in [
        (
            "host=db sslmode=verify-full sslrootcert='/a b.crt'",
            "host=db sslmode=verify-full sslrootcert='/a b.crt'",
        ),
        (
            "postgresql://db?sslmode=verify-ca&sslrootcert=%2Fa.crt&sslcert=%2Fb.crt&sslkey=%2Fb.key",
            "host=db port=5432 sslmode=verify-ca sslrootcert=/a.crt",
        ),
        ("host=db sslrootcert=system", "host=db sslmode=verify-full sslrootcert=system"),
        (
            "host=a,b port=1,2 target_session_attrs=any channel_binding=require passfile=/x",
            "host=a,b port=1,2",
        ),
        (
            "host=db keepalives_idle=0 keepalives_interval=7 keepalives_count=2 tcp_user_timeout=1500",
            "host=db",
        ),
    ] {
        let loaded = loader().set("connection_string", text).load_with_layers().unwrap();
        assert_eq!(loaded.layers()[1].value, shown);
    }
    for (text, expected) in [
        (
            "host=db sslmode=allow",
            "option `sslmode`, which must be disable, prefer, require, verify-ca or verify-full",
        ),
        ("postgresql://db?sslmode=hunter2", "option `sslmode`"),
        ("host=db sslmode=require sslrootcert=system", "sslmode=verify-full"),
        ("host=db tcp_user_timeout=soon", "option `tcp_user_timeout`"),
        ("host=db target_session_attrs=standby", "option `target_session_attrs`"),
        ("host=a,b hostaddr=127.0.0.1", "`hostaddr`"),
        ("host=a,b,c port=1,2", "`port`"),
        ("host=db sslcrl=/x", "`sslcrl`, which is not supported"),
    ] {
        let (key, _, _, reason) = setting_error(loader().set("connection_string", text).load());
        assert!(key == "connection_string" && reason.contains(expected), "{text}: {reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}

#[test]
fn a_malformed_connection_string_is_refused_without_a_piece_of_the_password() {
    for text in [
        "postgresql://app:hunter2@db:port/otel",
        "postgresql://app:hunter2",
        "postgresql://app:x@hunter2/y@db/otel", // An unescaped @ would make `hunter2` the host.
        "postgresql://app:x@y/hunter2@db/otel",
        "postgresql://app:hunter2/x@db/otel",
        "postgresql://db/otel?user=app&password=hunter2@x",
        "postgresql://app:x@db/otel?hunter2=1",
        "postgresql+psycopg://app:hunter2@db/otel",
        "postgresql+psycopg://app:hunter2@db/otel?sslmode=require",
        "Postgres://app:hunter2@db/otel?x=1",
        "host=db user=app password=x hunter2",
        "host=db user=app password=x hunter2=y",
        "host=db user=app password='hunter2",
        "host=db port=hunter2",
        "dbname=postgresql://app:hunter2@db/otel host=db",
        "host=app:hunter2@db",
        "password=hunter2 user=app", // No host.
        "hunter2",
    ] {
        let env = loader().with_env([("OTEL_STORAGE_CONNECTION_STRING", text)]);
        let yaml = loader().with_yaml_str(format!("otel_storage: {{ connection_string: {text:?} }}"));
        let mut settings = Settings::default();
        settings.connection_string = text.into();
        assert_no_password(&settings);
        assert_no_password(&settings.target());
        assert_no_password(&serde_json::to_string(&settings));
        for result in [env.load(), yaml.load(), settings.validate().map(|()| Settings::default())] {
            assert_no_password(&result);
            let (key, value, _, _) = setting_error(result);
            assert_eq!((key.as_str(), value.as_str()), ("connection_string", "<hidden>"), "{text}");
        }
    }
}

#[test]
fn the_reason_for_refusing_a_connection_string_says_how_to_mend_it() {
    for (text, part) in [
        ("postgresql://app:p@ss@db/otel", "write `@` as %40"),
        ("postgresql://app@db:port/otel", "invalid value for option `port`"),
        ("postgresql://app@db/otel?sslcrl=ca.pem", "option `sslcrl`, which is not supported"),
        ("user=app", "names no host"),
        ("nonsense", "neither a postgresql:// URL nor key=value pairs"),
    ] {
        let (_, _, _, reason) = setting_error(loader().set("connection_string", text).load());
        assert!(reason.contains(part), "{text}: {reason}");
    }
}

#[test]
fn the_target_names_host_port_database_and_user() {
    for (text, target) in [
        (URL, "db:6432/otel_traces as app"),
        ("postgresql://app:p%40ss@db/otel", "db:5432/otel as app"),
        ("postgresql://app@db", "db:5432/app as app"),
        ("postgresql://:hunter2@db", "db:5432"),
        ("postgres://a:1,b:2/otel", "a:1,b:2/otel"),
        ("host=a,b port=6432 user=app", "a:6432,b:6432/app as app"),
        ("host=/run/postgresql dbname=otel", "/run/postgresql:5432/otel"),
        ("hostaddr=::1 dbname=otel", "[::1]:5432/otel"),
        ("", "(no connection string)"),
        ("nonsense", "<hidden>"),
    ] {
        let mut settings = Settings::default();
        settings.connection_string = text.into();
        assert_eq!(settings.target(), target);
    }
}

// Rules of redaction

#[test]
fn rules_of_redaction_are_a_list_or_one_text() {
    let expected = ["default", "*token*=drop", r"/^card\.(number|cvc),?$/=hash"];
    let yaml =
        format!("otel_storage: {{ redact: ['{}', '{}', '{}'] }}", expected[0], expected[1], expected[2]);
    for loader in [
        loader().with_yaml_str(yaml),
        loader().with_yaml_str(format!("otel_storage: {{ redact: '{}' }}", expected.join(","))),
        loader().with_env([("OTEL_STORAGE_REDACT", expected.join(", "))]),
        loader().set("redact", expected.to_vec()),
    ] {
        let loaded = loader.load_with_layers().unwrap();
        assert_eq!(loaded.settings.redact, expected);
        let shown = loaded.layers().into_iter().find(|setting| setting.key == "redact").unwrap().value;
        assert!(shown.contains("*token*=drop"), "{shown}");
    }
    for yaml in ["redact: []", "redact: ''", "redact: none"] {
        let settings = loader().with_yaml_str(format!("otel_storage: {{ {yaml} }}")).load().unwrap();
        assert!(settings.redact.is_empty() || settings.redact == ["none"], "{yaml}");
    }
}

#[test]
fn the_rules_in_the_documentation_load() {
    let documentation = include_str!("../../docs/redaction.md");
    let yaml = documentation.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let by_yaml = loader().with_yaml_str(yaml).load().unwrap();
    assert_eq!(by_yaml.redact.len(), 5);
    let line = documentation.lines().find_map(|line| line.strip_prefix("OTEL_STORAGE_REDACT='")).unwrap();
    let by_env = loader().with_env([("OTEL_STORAGE_REDACT", line.trim_end_matches('\''))]).load().unwrap();
    assert_eq!(by_env.redact.len(), 4);
    assert_eq!(by_env.redact.last(), by_yaml.redact.last());
}

#[test]
fn a_malformed_rule_is_named_with_what_is_wrong() {
    for (rule, part) in [
        ("password", "has no action"),
        ("password=hide", "has an unknown action"),
        ("password:mask", "has no action"),
        ("=mask", "has no pattern"),
        ("-=mask", "has no letter"),
        ("/card=mask", "a slash at both ends"),
        ("//=mask", "a slash at both ends"),
        ("/(card/=mask", "unclosed group"),
        ("/a{99999999}/=mask", "is no regular expression"),
    ] {
        for loader in [
            loader().set("redact", format!("default, {rule}")),
            loader().with_yaml_str(format!("otel_storage: {{ redact: [default, '{rule}'] }}")),
        ] {
            let (key, value, _, reason) = setting_error(loader.load());
            assert_eq!(key, "redact");
            assert!(value.contains("default"), "{value}");
            assert!(reason.contains(&format!("`{rule}`")) && reason.contains(part), "{rule}: {reason}");
        }
        let mut settings = Settings::default();
        settings.connection_string = URL.into();
        settings.redact = vec![rule.into()];
        assert_eq!(setting_error(settings.validate()).0, "redact");
    }
    for yaml in ["redact: [1]", "redact: { password: mask }", "redact: [{ password: mask }]", "redact: true"]
    {
        let (key, _, _, reason) =
            setting_error(loader().with_yaml_str(format!("otel_storage: {{ {yaml} }}")).load());
        assert_eq!(key, "redact");
        assert!(reason.starts_with("must be a list of rules such as"), "{reason}");
    }
}

#[test]
fn the_key_of_hashes_is_never_shown() {
    for text in ["hunter2", "hunter2 hunter2 hunter2"] {
        let loader = loader().set("redact_key", text);
        assert_no_password(&loader);
        let result = loader.load_with_layers();
        assert_no_password(&result);
        match result {
            Ok(loaded) => {
                assert_eq!(loaded.settings.redact_key, text);
                assert_no_password(&loaded.layers());
                assert_no_password(&serde_json::to_string(&loaded.settings));
            }
            Err(_) => assert!(text.len() < 16),
        }
    }
}

// Batch processor

#[test]
fn the_batch_processor_gets_the_settings_and_a_queue_of_eight_batches() {
    for (batch_size, queue) in [(10, 2048), (100, 2048), (256, 2048), (257, 2056), (1000, 8000)] {
        let mut settings = Settings::default();
        settings.batch_size = batch_size;
        settings.batch_interval_seconds = 7;
        // The SDK has no getters.
        let config = format!("{:?}", settings.batch_config());
        for part in [
            format!("max_queue_size: {queue},"),
            format!("max_export_batch_size: {batch_size},"),
            "scheduled_delay: 7s,".to_owned(),
        ] {
            assert!(config.contains(&part), "{config}");
        }
    }
}

#[test]
fn the_readme_lists_every_setting_with_its_default_and_range() {
    let readme = include_str!("../../README.md");
    let loaded = Settings::loader().with_env::<&str, &str>([]).load_with_layers().expect("defaults");
    for setting in loaded.layers() {
        let row = format!("| `{}` | {} | {} |", setting.key, setting.value, setting.allowed);
        assert!(readme.contains(&row), "README.md lacks: {row}");
    }
}

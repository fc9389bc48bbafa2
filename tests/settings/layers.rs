//! Which layer wins: defaults, YAML, environment, code; and that the README lists them all.

use opentelemetry_pgvector::settings::{Maintenance, WhenFull};
use opentelemetry_pgvector::{Error, Settings};

use crate::{layer_of, loader, setting_error};

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

#[test]
fn yaml_without_the_section_sets_nothing() {
    for text in ["", "# nothing\n", "server: { port: 80 }", "otel_storage:\n", "otel_storage: {}"] {
        let loaded = loader().with_yaml_str(text).load().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(loaded, Settings::default());
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_yaml() {
    let text = "\u{feff}otel_storage: { batch_size: 200 }";
    assert_eq!(loader().with_yaml_str(text).load().unwrap().batch_size, 200);
}

#[test]
fn a_merge_key_brings_what_the_section_does_not_set() {
    let text = "common: &common { batch_size: 200, pool_size: 3 }\n\
                small: &small { <<: *common, batch_size: 20, cache_size: 500 }\n";
    let load = |section: &str| loader().with_yaml_str(format!("{text}otel_storage:\n  {section}\n")).load();
    for (section, expected) in [
        ("<<: *common", (200, 3, 1000)),
        ("<<: *small\n  pool_size: 5", (20, 5, 500)),
        ("pool_size: 5\n  <<: [*common, *small]", (200, 5, 500)),
    ] {
        let settings = load(section).unwrap_or_else(|error| panic!("{section}: {error}"));
        assert_eq!((settings.batch_size, settings.pool_size, settings.cache_size), expected, "{section}");
    }
    let (_, _, layer, reason) = setting_error(load("<<: { batchsize: 5 }"));
    assert!(layer == "YAML text" && reason.contains("did you mean `batch_size`?"), "{reason}");
    setting_error(load("<<: 5"));
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
fn the_readme_lists_every_setting_with_its_default_range_and_purpose() {
    let readme = include_str!("../../README.md");
    let loaded = Settings::loader().with_env::<&str, &str>([]).load_with_layers().expect("defaults");
    for setting in loaded.layers() {
        let document = "docs/redaction.md";
        let purpose = setting.description.replace(document, &format!("[{document}]({document})"));
        let row = format!("| `{}` | {} | {} | {purpose} |", setting.key, setting.value, setting.allowed);
        assert!(readme.contains(&row), "README.md lacks: {row}");
    }
}

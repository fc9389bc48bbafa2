//! What a setting may be, and what is said of one that is not.

use opentelemetry_pgvector::{Error, Settings};
use proptest::prelude::*;

use crate::{URL, assert_no_password, loader, setting_error};

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
fn a_number_in_place_of_text_is_to_be_quoted() {
    for (key, number) in
        [("schema", "5"), ("password", "0123"), ("spool_dir", "1.5"), ("connection_string", "true")]
    {
        let load = |value: &str| loader().with_yaml_str(format!("otel_storage: {{ {key}: {value} }}")).load();
        let (_, _, _, reason) = setting_error(load(number));
        assert!(reason.starts_with("must be ") && reason.ends_with("; put it in quotes"), "{reason}");
        if key != "connection_string" {
            load(&format!("'{number}'")).expect("text");
        }
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
}

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

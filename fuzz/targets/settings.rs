//! Settings from YAML and the environment: they load or are refused, and nothing that is shown holds a secret.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::span::Scrubber;

const SECRET: &str = "hUnTeR2";

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// What stands around the secret in its value.
    around: (&'a str, &'a str),
    is_connection: bool,
    in_environment: bool,
    /// The lines behind the secret one.
    after: &'a str,
    redact: &'a str,
    number: &'a str,
}

fuzz_target!(|input: Input<'_>| {
    let Input { around, is_connection, in_environment, after, redact, number } = input;
    let key = if is_connection { "connection_string" } else { "redact_key" };
    // One line without an anchor: else the secret would be the value of a setting that is none.
    let is_one_value = |text: &str| !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '&']);
    if [around.0, around.1, redact, number].iter().any(|text| text.contains('\0'))
        || [around.0, around.1, after, redact, number].iter().any(|text| text.contains(SECRET))
        || !in_environment && !(is_one_value(around.0) && is_one_value(around.1))
    {
        return;
    }
    let value = format!("{}{SECRET}{}", around.0, around.1);
    let mut environment = vec![
        ("OTEL_STORAGE_REDACT".to_owned(), redact.to_owned()),
        ("OTEL_STORAGE_EVENT_COUNT_LIMIT".to_owned(), number.to_owned()),
    ];
    let mut yaml = String::from("otel_storage:\n  batch_size: 20\n");
    if in_environment {
        environment.push((format!("OTEL_STORAGE_{}", key.to_uppercase()), value));
    } else {
        yaml.push_str(&format!("  {key}: {value}\n"));
    }
    yaml.push_str(after);
    let result = Settings::loader().with_yaml_str(yaml.clone()).with_env(environment).load_with_layers();
    let shown = match &result {
        Ok(loaded) => {
            let settings = &loaded.settings;
            assert!(Scrubber::new(settings).is_ok(), "what loads is valid");
            let scrubber = Scrubber::new(settings);
            format!(
                "{settings:?} {loaded:?} {:?} {} {:?} {:?} {scrubber:?}",
                loaded.layers(),
                settings.target(),
                serde_json::to_string(settings),
                settings.validate()
            )
        }
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{yaml}\n{shown}");
});

//! Rules of redaction as settings.

use opentelemetry_pgvector::Settings;

use crate::{URL, assert_no_password, loader, setting_error};

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

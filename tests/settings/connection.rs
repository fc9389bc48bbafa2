//! Connection strings: in which forms they come, and that no password leaves them.

use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::settings::SettingValue;
use proptest::prelude::*;

use crate::{URL, assert_no_password, loader, setting_error};

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
    let variable = ("OTEL_STORAGE_CONNECTION_STRING_FILE", path_text.as_str());
    let loaded = loader().with_env([variable]).load_with_layers().unwrap();
    let (_, _, layer, _) = setting_error(loaded.validate());
    assert_eq!(layer, "environment variable OTEL_STORAGE_CONNECTION_STRING_FILE");
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
fn a_file_of_a_later_layer_wins_over_the_text_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, "postgresql://app@production/traces").unwrap();
    let path = path.display().to_string();
    let yaml = "otel_storage: { connection_string: 'host=developer', password: hunter2 }";
    let files =
        [("OTEL_STORAGE_CONNECTION_STRING_FILE", path.as_str()), ("OTEL_STORAGE_PASSWORD_FILE", &path)];
    let loaded = loader().with_yaml_str(yaml).with_env(files).load_with_layers().unwrap();
    loaded.validate().unwrap();
    assert_eq!(loaded.settings.target(), "production:5432/traces as app");
    assert_eq!(loaded.settings.password, "");

    // And a text of a later layer over the file of an earlier one.
    let later = loader().with_env(files).set("connection_string", "host=other").set("password", "x");
    let settings = later.load().unwrap();
    assert_eq!((settings.target().as_str(), settings.password.as_str()), ("other:5432", "x"));
}

#[test]
fn a_connection_string_in_place_of_its_file_is_not_shown() {
    for text in [URL, "host=db password=hunter2", "host=db Password = hunter2"] {
        let loaded = loader().set("connection_string_file", text).load_with_layers().unwrap();
        assert_no_password(&loaded);
        assert_no_password(&loaded.layers());
        let (key, value, _, reason) = setting_error(loaded.settings.validate());
        assert_eq!((key.as_str(), value.as_str()), ("connection_string_file", "<hidden>"));
        assert!(reason.starts_with("cannot be read"), "{reason}");
    }
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
fn what_is_blank_around_a_connection_string_is_no_part_of_it() {
    let url = "postgresql://app:hunter2@db/otel_traces";
    for text in [
        format!("{url}\n"),
        format!(" {url}?sslmode=require\r\n"),
        "dbname=otel_traces host=db user=app\n".into(),
    ] {
        let yaml = format!("otel_storage: {{ connection_string: {text:?} }}");
        for loader in
            [loader().with_env([("OTEL_STORAGE_CONNECTION_STRING", &text)]), loader().with_yaml_str(yaml)]
        {
            let settings = loader.load().unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(settings.target(), "db:5432/otel_traces as app");
            assert_no_password(&settings);
        }
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
        "host=db;user=app;password=hunter2;dbname=x",
        "host=/run/postgresql;password=hunter2",
        "host=db user=app;password=hunter2",
        "host=db dbname=x;PWD=hunter2",
        "postgresql://app@db/x;password=hunter2",
        "postgresql://app@db/x&Password=hunter2",
        "postgresql://app@db;password=hunter2/x",
        "postgresql://app@db/x?sslrootcert=/a.crt;password=hunter2",
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
        ("host=db;dbname=x", "separated by blanks"),
        ("postgresql://app@db/otel?pgbouncer=true", "option `pgbouncer`, which is not supported"),
        ("host=db requiressl=1", "option `requiressl`, which is not supported"),
        ("postgresql://app@db/otel?hunter2=x", "that is not supported: leave it out"),
        (
            "host=db connect_timeout=2147483648",
            "`connect_timeout`, which must be a whole number up to 2147483647",
        ),
        ("host=db keepalives_idle=32768", "`keepalives_idle`, which must be a whole number up to 32767"),
        ("host=db keepalives_interval=x", "`keepalives_interval`, which must be a whole number up to 32767"),
        ("host=db keepalives_count=128", "`keepalives_count`, which must be a whole number up to 127"),
        (
            "host=db tcp_user_timeout=2147483648",
            "`tcp_user_timeout`, which must be a whole number up to 2147483647",
        ),
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

proptest! {
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

//! Where passwords come from, and that none comes out anywhere.
#![cfg(all(unix, feature = "cli"))]

use std::fmt::Debug;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::arbitrary;
use crate::support::command::{Run, command};
use crate::support::database::{TestDatabase, eventually};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_pgvector::{Error, Settings, SpanExporter, TraceStore};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tempfile::TempDir;

/// The password that is looked for. Its pieces are looked for, too.
const PASSWORD: &str = "Zebra7%Quokka9";
const PIECES: [&str; 3] = ["Zebra7", "Quokka9", "Zebra7%25Quokka9"];

/// A role whose password is `PASSWORD`, and a connection string without it.
async fn role(database: &TestDatabase) -> (String, String) {
    let role = database.create_role().await;
    database.execute(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}' SUPERUSER")).await;
    let string = database.url_as(&role, None);
    (role, string)
}

fn settings(string: &str) -> Settings {
    let mut settings = Settings::default();
    settings.connection_string = string.to_owned();
    settings
}

async fn migrate(settings: Settings) -> Result<usize, Error> {
    TraceStore::new(settings)?.migrate().await
}

fn write(folder: &TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_password_and_password_file_are_sources_in_this_order() {
    let database = TestDatabase::create().await;
    let (_, string) = role(&database).await;
    let folder = TempDir::new().expect("a folder");
    let right = write(&folder, "right", &format!("{PASSWORD}\n"), 0o600);
    let wrong = write(&folder, "wrong", "wrong\n", 0o600);

    let mut of_setting = settings(&string);
    of_setting.password = PASSWORD.into();
    of_setting.password_file = Some(wrong.clone());
    migrate(of_setting.clone()).await.expect("the setting wins over the file");

    let mut of_string = settings(&format!("{string} password='{PASSWORD}'"));
    of_string.password = "wrong".into();
    migrate(of_string).await.expect("the connection string wins over the setting");

    let mut of_file = settings(&string);
    of_file.password_file = Some(right);
    migrate(of_file.clone()).await.expect("the file is read, without its line break");

    of_file.password_file = Some(wrong);
    let error = migrate(of_file.clone()).await.expect_err("a wrong password");
    assert!(error.to_string().contains("28P01") && !error.is_transient(), "{error}");

    of_file.password_file = Some(PASSWORD.into());
    let error = migrate(of_file.clone()).await.expect_err("no file");
    assert!(error.to_string().contains("`password_file` cannot be read"), "{error}");
    assert_clean("the password in place of its file", &error.to_string());
    assert!(!error.is_transient());

    of_file.password_file = Some(write(&folder, "empty", "\n", 0o600));
    let error = migrate(of_file).await.expect_err("an empty file");
    assert!(error.to_string().contains("is empty"), "{error}");

    let file = write(&folder, "url", &format!("{string} password='{PASSWORD}'\n"), 0o600);
    let mut whole = Settings::default();
    whole.connection_string_file = Some(file);
    migrate(whole).await.expect("the whole connection string in a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_in_its_file_is_used_by_the_next_connection() {
    let database = TestDatabase::create().await;
    let (role, string) = role(&database).await;
    let folder = TempDir::new().expect("a folder");
    let mut settings = settings(&string);
    settings.password_file = Some(write(&folder, "password", PASSWORD, 0o600));
    let store = TraceStore::new(settings).expect("valid settings");
    let spans = arbitrary::sample(1);
    store.batch_store(&spans).await.expect("stored");

    database.execute(&format!("ALTER ROLE {role} PASSWORD 'the next'")).await;
    write(&folder, "password", "the next", 0o600);
    database
        .execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"))
        .await;
    eventually("stored again", async || store.batch_store(&spans).await.is_ok()).await;
}

/// The command with an environment that holds no other source of a password.
fn run(string: &str, variables: &[(&str, &str)]) -> Run {
    let mut command = command(&["migrate"]);
    command.env("OTEL_STORAGE_CONNECTION_STRING", string);
    for variable in ["PGPASSWORD", "PGPASSFILE"] {
        command.env_remove(variable);
    }
    command.env("HOME", "/nowhere").env("RUST_LOG", "trace").envs(variables.iter().copied());
    let run = Run::of(command.output().expect("it runs"));
    assert_clean("the command", &(&run.stdout, &run.stderr));
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_and_passfiles_are_sources_in_libpq_s_order() {
    let database = TestDatabase::create().await;
    let (role, string) = role(&database).await;
    let folder = TempDir::new().expect("a folder");
    let line = |password: &str| {
        format!("# for {role}\nother:*:*:*:wrong\n*:*:{}:{role}:{password}\n", database.name())
    };
    let right = write(&folder, "right", &line(PASSWORD), 0o600);
    let wrong = write(&folder, "wrong", &line("wrong"), 0o600);
    let text = |path: &Path| path.display().to_string();

    run(&string, &[("PGPASSWORD", PASSWORD), ("PGPASSFILE", &text(&wrong))]).ok();
    run(&string, &[("PGPASSFILE", &text(&right))]).ok();
    run(&string, &[("OTEL_STORAGE_PASSWORD", PASSWORD), ("PGPASSWORD", "wrong")]).ok();
    let file = write(&folder, "password", PASSWORD, 0o600);
    run(&string, &[("OTEL_STORAGE_PASSWORD_FILE", &text(&file)), ("PGPASSWORD", "wrong")]).ok();
    run(&format!("{string} passfile={}", text(&right)), &[("PGPASSFILE", &text(&wrong))]).ok();
    write(&folder, ".pgpass", &line(PASSWORD), 0o600);
    run(&string, &[("HOME", &text(folder.path()))]).ok();

    let wrong = run(&string, &[("PGPASSFILE", &text(&wrong))]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("28P01"), "{wrong:?}");
    let open = write(&folder, "open", &line(PASSWORD), 0o644);
    for none in [vec![], vec![("PGPASSFILE", text(&open))], vec![("PGPASSFILE", "/nowhere".into())]] {
        let variables: Vec<(&str, &str)> = none.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let run = run(&string, &variables);
        assert!(run.code == Some(1) && run.stderr.contains("the server asks for a password"), "{run:?}");
    }
}

#[track_caller]
fn assert_clean(what: &str, shown: &impl Debug) {
    let shown = format!("{shown:?}");
    for piece in PIECES {
        assert!(!shown.contains(piece), "{what} shows the password: {shown}");
    }
}

/// What everything in this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_the_password() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // The other tests of this file log to it, too.
    subscriber.try_init().expect("no other subscriber");

    let database = TestDatabase::create().await;
    let (role, string) = role(&database).await;
    let escaped = PASSWORD.replace('%', "%25");
    let folder = TempDir::new().expect("a folder");
    let root = write(&folder, "root.crt", "no certificate", 0o600);
    let file = write(&folder, "password", PASSWORD, 0o600);
    let port = database.config().get_ports()[0];
    let url = |password: &str, rest: &str| {
        format!("postgresql://{role}:{password}@127.0.0.1:{port}/{}{rest}", database.name())
    };
    let with_password = |string: &str| format!("{string} password='{PASSWORD}'");

    let mut works = settings(&string);
    works.password = PASSWORD.into();
    let mut by_file = settings(&string);
    by_file.password_file = Some(file);
    let mut cases = vec![
        ("it works", works),
        ("it works by file", by_file),
        ("it works by URL", settings(&url(&escaped, ""))),
        ("unreachable", settings(&format!("host=127.0.0.1 port=1 user=app password='{PASSWORD}'"))),
        ("unknown host", settings(&format!("postgresql://app:{escaped}@host.invalid/x"))),
        ("no TLS", settings(&url(&escaped, "?sslmode=require"))),
        (
            "bad TLS files",
            settings(&with_password(&format!("{string} sslmode=verify-full sslrootcert={}", root.display()))),
        ),
        ("channel binding", settings(&with_password(&format!("{string} channel_binding=require")))),
        ("unknown database", settings(&url(&escaped, "x"))),
        ("wrong user", settings(&format!("host=127.0.0.1 port={port} user=nobody password='{PASSWORD}'"))),
        ("two hosts", settings(&format!("host=127.0.0.1,127.0.0.1 port=1,2 user=app password='{PASSWORD}'"))),
        ("bad string", settings(&format!("postgresql://app:{PASSWORD}"))),
        ("ambiguous string", settings(&format!("postgresql://app:a@{PASSWORD}@db/x"))),
        ("unquoted string", settings(&format!("host=db password=a {PASSWORD}"))),
    ];
    // A wrong password is as secret as the right one: it is often the right one of another database.
    let mut wrong = settings(&string);
    wrong.password = format!("{PASSWORD}!");
    cases.push(("wrong password", wrong));

    let spans = arbitrary::sample(1);
    for (what, mut settings) in cases {
        settings.connect_timeout_seconds = 2;
        assert_clean(what, &settings);
        assert_clean(what, &settings.target());
        assert_clean(what, &serde_json::to_string(&settings));
        let builder = SpanExporter::builder()
            .with_setting("connection_string", settings.connection_string.as_str())
            .with_setting("password", settings.password.as_str())
            .with_setting("export_timeout_seconds", 2);
        assert_clean(what, &builder);
        let exporter = builder.build();
        assert_clean(what, &exporter);
        match TraceStore::new(settings) {
            Err(error) => assert_clean(what, &(&error, error.to_string())),
            Ok(store) => {
                let result = store.batch_store(&spans).await;
                assert_eq!(result.is_ok(), what.starts_with("it works"), "{what}: {result:?}");
                assert_clean(what, &result);
                if let Err(error) = result {
                    assert_clean(what, &error.to_string());
                }
                assert_clean(what, &store);
                let health = store.health_check().await;
                assert_clean(what, &health);
                assert_clean(what, &serde_json::to_string(&health));
            }
        }
        if let Ok(exporter) = exporter
            && ["unreachable", "wrong password"].contains(&what)
        {
            let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
            provider.tracer("test").in_span("a span", |_| {});
            let ended = tokio::task::spawn_blocking(move || (provider.force_flush(), provider.shutdown()));
            assert_clean(what, &ended.await.expect("no panic"));
        }
    }
    let text = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(
        text.contains("SpanExporter.") && text.contains("tokio_postgres"),
        "something was logged: {text}"
    );
    // The tests' own clients log the statement that sets the password.
    for line in text.lines().filter(|line| !line.contains("executing statement batch: ALTER ROLE")) {
        assert_clean("the log", &line);
    }
}

//! TLS with a real server: every `sslmode` with every certificate, client certificates, channel binding.
//!
//! The server lacks pgvector, so whoever is connected hears that the extension is missing.
#![cfg(unix)]

use std::path::Path;

use crate::support::certificates::{Authority, Certificate, self_signed};
use crate::support::debian::{PASSWORD, Server, postgres};
use opentelemetry_pgvector::{Error, Settings, TraceStore};
use tempfile::TempDir;

const HBA: &str = "hostssl all only_tls 127.0.0.1/32 trust\nhostnossl all only_plain 127.0.0.1/32 trust\n\
                   hostssl all certified 127.0.0.1/32 cert\nhost all postgres 127.0.0.1/32 scram-sha-256\n";

/// A server with this certificate, or without TLS; clients' certificates are of this authority.
fn server(certificate: Option<&Certificate>, clients: &Authority) -> Option<Server> {
    let Some(certificate) = certificate else { return postgres(&[], &[], HBA) };
    let files = [
        ("server.crt", &*certificate.cert),
        ("server.key", &*certificate.key),
        ("clients.crt", &*clients.cert),
    ];
    let settings = ["ssl=on", "ssl_ca_file=clients.crt"];
    postgres(&files, &settings, HBA)
}

/// Writes a file that only its owner reads.
fn write(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("written");
    chmod(&path, 0o600);
    path.display().to_string()
}

fn chmod(path: &Path, mode: u32) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("changed");
}

/// What happens with a connection string: `None` when connected, else the error.
async fn connect(server: &Server, parameters: &str) -> Option<Error> {
    let mut settings = Settings::default();
    settings.connection_string =
        format!("port={} dbname=postgres user=postgres password={PASSWORD} {parameters}", server.port);
    if !parameters.contains("host=") {
        settings.connection_string.push_str(" host=localhost hostaddr=127.0.0.1");
    }
    let error = TraceStore::new(settings).expect("valid settings").migrate().await.expect_err("no pgvector");
    match error {
        Error::Schema(_) => None,
        error => {
            assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
            Some(error)
        }
    }
}

#[track_caller]
fn assert_refused(what: &str, error: Option<Error>, expected: &[&str]) {
    match error {
        Some(Error::Connect { reason, transient: false, .. }) => {
            for expected in expected {
                assert!(reason.contains(expected), "{what}: {reason}");
            }
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_checks_what_libpq_does() {
    let folder = TempDir::new().expect("a folder");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let names = ["localhost", "127.0.0.1"];
    let root = format!("sslrootcert={}", write(&folder, "root.crt", &ours.cert));
    let (untrusted, unnamed, expired, none) = (
        ["sslrootcert=", "authority"],
        ["subjectAltName", "sslmode=verify-full"],
        ["has expired", "sslmode="],
        ["has no TLS", "sslmode="],
    );
    for (what, certificate, of_require, of_chain, of_name) in [
        ("good", Some(ours.server(&names)), None, None, None),
        ("other authority", Some(theirs.server(&names)), None, Some(&untrusted), Some(&untrusted)),
        ("other name", Some(ours.server(&["db.example.com"])), None, None, Some(&unnamed)),
        ("expired", Some(ours.expired(&names)), None, Some(&expired), Some(&expired)),
        ("no TLS", None, Some(&none), Some(&none), Some(&none)),
    ] {
        let Some(server) = server(certificate.as_ref(), &theirs) else { return };
        for (mode, refused) in [
            ("disable", None),
            ("prefer", None),
            ("require", of_require),
            ("verify-ca", of_chain),
            ("verify-full", of_name),
        ] {
            let root = if mode.starts_with("verify") { &*root } else { "" };
            let error = connect(&server, &format!("sslmode={mode} {root}")).await;
            let what = format!("{what}, {mode}");
            match refused {
                Some(expected) => assert_refused(&what, error, expected),
                None => assert!(error.is_none(), "{what}: {error:?}"),
            }
        }
        let error = connect(&server, &format!("sslmode=require {root}")).await;
        match of_chain {
            Some(expected) => assert_refused(&format!("{what}, require with a root"), error, expected),
            None => assert!(error.is_none(), "{what}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_is_encrypted_when_it_should_be() {
    let ours = Authority::new("ours");
    let Some(server) = server(Some(&ours.server(&["localhost"])), &ours) else { return };
    // The role exists on neither side: being let in by pg_hba.conf is what tells.
    for (user, mode, is_let_in) in [
        ("only_tls", "prefer", true),
        ("only_tls", "require", true),
        ("only_tls", "disable", false),
        ("only_plain", "disable", true),
        ("only_plain", "require", false),
    ] {
        let error = connect(&server, &format!("user={user} sslmode={mode}")).await.expect("no such role");
        let reason = error.to_string();
        assert_eq!(reason.contains("does not exist"), is_let_in, "{user} {mode}: {reason}");
        assert!(!error.is_transient(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_root() {
    let folder = TempDir::new().expect("a folder");
    for (is_expired, refused) in [(false, None), (true, Some("has expired"))] {
        let own = self_signed(&["localhost"], is_expired);
        let root = write(&folder, "root.crt", &own.cert);
        let Some(server) = server(Some(&own), &Authority::new("any")) else { return };
        for mode in ["verify-ca", "verify-full"] {
            let error = connect(&server, &format!("sslmode={mode} sslrootcert={root}")).await;
            match refused {
                Some(expected) => assert_refused(mode, error, &[expected]),
                None => assert!(error.is_none(), "{error:?}"),
            }
        }
        let other = write(&folder, "other.crt", &self_signed(&["localhost"], false).cert);
        let error = connect(&server, &format!("sslmode=verify-ca sslrootcert={other}")).await;
        assert!(matches!(error, Some(Error::Connect { transient: false, .. })), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_is_that_of_host_or_its_address() {
    let folder = TempDir::new().expect("a folder");
    let ours = Authority::new("ours");
    let root = write(&folder, "root.crt", &ours.cert);
    let Some(server) = server(Some(&ours.server(&["db.example.com", "127.0.0.1"])), &ours) else { return };
    for (parameters, is_connected) in [
        ("host=db.example.com hostaddr=127.0.0.1", true),
        ("host=127.0.0.1", true),
        ("hostaddr=127.0.0.1", true),
        ("host=localhost hostaddr=127.0.0.1", false),
    ] {
        let mut settings = Settings::default();
        settings.connection_string = format!(
            "{parameters} port={} dbname=postgres user=postgres password={PASSWORD} sslmode=verify-full sslrootcert={root}",
            server.port
        );
        let error = TraceStore::new(settings).expect("valid").migrate().await.expect_err("no pgvector");
        assert_eq!(matches!(error, Error::Schema(_)), is_connected, "{parameters}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_certificate_is_sent_and_the_server_s_refusal_is_explained() {
    let folder = TempDir::new().expect("a folder");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let Some(server) = server(Some(&ours.server(&["localhost"])), &ours) else { return };
    let certificate = |name: &str, authority: &Authority| {
        let made = authority.client("certified");
        let cert = write(&folder, &format!("{name}.crt"), &made.cert);
        let key = write(&folder, &format!("{name}.key"), &made.key);
        (cert, key)
    };
    let (cert, key) = certificate("good", &ours);
    let error =
        connect(&server, &format!("user=certified sslmode=require sslcert={cert} sslkey={key}")).await;
    let reason = error.expect("no such role").to_string();
    assert!(reason.contains("role \"certified\" does not exist"), "{reason}");

    let error = connect(&server, "user=certified sslmode=require").await;
    assert_refused("none", error, &["sslcert", "sslkey"]);
    let (other_cert, other_key) = certificate("other", &theirs);
    let error =
        connect(&server, &format!("user=certified sslmode=require sslcert={other_cert} sslkey={other_key}"))
            .await;
    assert_refused("other authority", error, &["sslcert", "UnknownCA"]);
    let error = connect(&server, &format!("sslmode=require sslcert={cert} sslkey={other_key}")).await;
    assert_refused("other key", error, &["`sslcert` and `sslkey` do not go together"]);
    let error = connect(&server, &format!("sslmode=require sslcert={cert}")).await;
    assert_refused("no key", error, &["set `sslkey`"]);
    let error = connect(&server, &format!("sslmode=require sslcert={cert} sslkey={cert}")).await;
    assert_refused("not a key", error, &["holds no key in PEM"]);
    chmod(Path::new(&key), 0o644);
    let error = connect(&server, &format!("sslmode=require sslcert={cert} sslkey={key}")).await;
    assert_refused("open key", error, &["chmod 0600"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_binding_is_used_and_can_be_required() {
    let ours = Authority::new("ours");
    let Some(with) = server(Some(&ours.server(&["localhost"])), &ours) else { return };
    assert!(connect(&with, "sslmode=require channel_binding=require").await.is_none());
    let error = connect(&with, "sslmode=disable channel_binding=require").await;
    assert_refused("without TLS", error, &["channel_binding=require", "scram-sha-256"]);
    let error = connect(&with, "sslmode=require channel_binding=require user=only_tls").await;
    assert_refused("trusted", error, &["channel_binding=require"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named_with_their_parameter() {
    let folder = TempDir::new().expect("a folder");
    let ours = Authority::new("ours");
    let Some(server) = server(Some(&ours.server(&["localhost"])), &ours) else { return };
    let error = connect(&server, "sslmode=verify-ca sslrootcert=/nowhere/root.crt").await;
    assert_refused("no file", error, &["`sslrootcert` /nowhere/root.crt cannot be read"]);
    let empty = write(&folder, "empty.crt", "no certificate");
    let error = connect(&server, &format!("sslmode=verify-ca sslrootcert={empty}")).await;
    assert_refused("no certificate", error, &["`sslrootcert`", "holds no certificate"]);
    // The file may be mended while the process runs.
    let mut settings = Settings::default();
    settings.connection_string = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres password={PASSWORD} sslmode=verify-full sslrootcert={empty}",
        server.port
    );
    let store = TraceStore::new(settings).expect("valid");
    assert!(matches!(store.migrate().await, Err(Error::Connect { .. })));
    write(&folder, "empty.crt", &ours.cert);
    assert!(matches!(store.migrate().await, Err(Error::Schema(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_s_authorities_do_not_know_a_private_one() {
    let ours = Authority::new("ours");
    let Some(server) = server(Some(&ours.server(&["localhost"])), &ours) else { return };
    let error = connect(&server, "sslrootcert=system").await;
    // Without any authority on the machine, this is said instead.
    assert_refused("system", error, &["sslrootcert"]);
    let mut settings = Settings::default();
    settings.connection_string = "host=db sslmode=require sslrootcert=system".into();
    let error = settings.validate().expect_err("weak").to_string();
    assert!(error.contains("sslmode=verify-full"), "{error}");
}

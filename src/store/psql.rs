//! The connection as libpq's environment, so that `psql` reaches the same database in the same way.

use std::ffi::{OsStr, OsString};

use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::TraceStore;
use super::password::given;
use crate::error::{Error, Result};
use crate::settings::connection::RootCert;

/// libpq's variables that choose server, user, password and encryption.
const VARIABLES: [&str; 15] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGTARGETSESSIONATTRS",
    "PGCONNECT_TIMEOUT",
    "PGOPTIONS",
];
/// Of these, libpq reads its own variable where the settings say nothing, as this crate does.
const SHARED: [&str; 2] = ["PGPASSWORD", "PGPASSFILE"];

impl TraceStore {
    /// The environment in which `psql` and other programs on libpq reach this store's database, with its schema in front
    /// of their search path. `None` stands for a variable that has to be unset.
    ///
    /// It holds the password where the settings have one.
    ///
    /// # Errors
    /// [`Error::Setting`] where a file that the settings name cannot be read.
    pub fn psql_environment(&self) -> Result<Vec<(&'static str, Option<OsString>)>> {
        let settings = self.settings();
        let string = settings.connection()?;
        let (config, tls) = (&string.config, &string.tls);
        let password = given(settings, &string).map_err(|reason| Error::Setting {
            key: "password_file".into(),
            value: "<hidden>".into(),
            layer: "builder".into(),
            reason,
        })?;
        let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
        let addresses: Vec<String> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
        let connect_timeout =
            config.get_connect_timeout().map_or(settings.connect_timeout_seconds, |limit| limit.as_secs());
        let root_cert = tls.root_cert.as_ref().map(|root| match root {
            RootCert::System => OsString::from("system"),
            RootCert::File(path) => path.into(),
        });
        let options = [config.get_options().unwrap_or_default(), &search_path(&self.sql().schema)].join(" ");
        let value = |name: &str| match name {
            "PGHOST" => joined(config.get_hosts().iter().map(host)),
            "PGHOSTADDR" => joined(addresses.iter().map(OsString::from)),
            "PGPORT" => joined(ports.iter().map(OsString::from)),
            "PGDATABASE" => config.get_dbname().map(OsString::from),
            "PGUSER" => config.get_user().map(OsString::from),
            "PGPASSWORD" => password.clone().and_then(bytes),
            "PGPASSFILE" => string.passfile.clone().map(OsString::from),
            "PGSSLMODE" => Some(tls.mode.name().into()),
            "PGSSLROOTCERT" => root_cert.clone(),
            "PGSSLCERT" => tls.cert.clone().map(OsString::from),
            "PGSSLKEY" => tls.key.clone().map(OsString::from),
            "PGTARGETSESSIONATTRS" => Some(session(config.get_target_session_attrs()).into()),
            "PGCONNECT_TIMEOUT" => Some(connect_timeout.to_string().into()),
            "PGOPTIONS" => Some(options.trim().into()),
            _ => None,
        };
        let all = VARIABLES.iter().map(|name| (*name, value(name)));
        Ok(all.filter(|(name, value)| value.is_some() || !SHARED.contains(name)).collect())
    }
}

/// The option of the server; blanks and backslashes within a schema's name are escaped.
fn search_path(schema: &str) -> String {
    let path = format!("{schema},public");
    let escaped: String = path
        .chars()
        .flat_map(|character| {
            let escape = character == '\\' || character.is_ascii_whitespace();
            escape.then_some('\\').into_iter().chain([character])
        })
        .collect();
    format!("-c search_path={escaped}")
}

fn host(host: &Host) -> OsString {
    match host {
        Host::Tcp(name) => name.into(),
        #[cfg(unix)]
        Host::Unix(folder) => folder.into(),
    }
}

fn session(wanted: TargetSessionAttrs) -> &'static str {
    match wanted {
        TargetSessionAttrs::ReadWrite => "read-write",
        TargetSessionAttrs::ReadOnly => "read-only",
        _ => "any",
    }
}

fn joined(all: impl Iterator<Item = OsString>) -> Option<OsString> {
    let all: Vec<OsString> = all.collect();
    (!all.is_empty()).then(|| all.join(OsStr::new(",")))
}

#[cfg(unix)]
fn bytes(password: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(password))
}

#[cfg(not(unix))]
fn bytes(password: Vec<u8>) -> Option<OsString> {
    String::from_utf8(password).ok().map(OsString::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn environment(string: &str, change: impl FnOnce(&mut Settings)) -> Vec<(&'static str, Option<String>)> {
        let mut settings = Settings { connection_string: string.into(), ..Settings::default() };
        change(&mut settings);
        let store = TraceStore::new(settings).expect("valid settings");
        let all = store.psql_environment().expect("an environment");
        all.into_iter()
            .map(|(name, value)| (name, value.and_then(|value| value.into_string().ok())))
            .collect()
    }

    #[test]
    fn psql_connects_as_the_store_does() {
        let all =
            environment("postgresql://app:p%40ss@a:1,b:2/traces?sslmode=require&sslrootcert=%2Fca", |s| {
                s.schema = "my \"traces".into();
            });
        let get = |name| all.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.as_deref());
        for (name, expected) in [
            ("PGHOST", Some("a,b")),
            ("PGHOSTADDR", None),
            ("PGPORT", Some("1,2")),
            ("PGDATABASE", Some("traces")),
            ("PGUSER", Some("app")),
            ("PGPASSWORD", Some("p@ss")),
            ("PGSSLMODE", Some("require")),
            ("PGSSLROOTCERT", Some("/ca")),
            ("PGTARGETSESSIONATTRS", Some("read-write")),
            ("PGOPTIONS", Some("-c search_path=\"my\\ \"\"traces\",public")),
        ] {
            assert_eq!(get(name), expected, "{name}");
        }
    }

    #[test]
    fn where_the_settings_have_no_password_libpq_looks_for_it_itself() {
        let all = environment("host=db", |_| {});
        assert!(all.iter().all(|(name, _)| !SHARED.contains(name)), "{all:?}");
        // What would lead elsewhere is unset.
        assert!(all.contains(&("PGSERVICE", None)) && all.contains(&("PGUSER", None)), "{all:?}");
        let all = environment("host=db passfile=/x", |settings| settings.password = "secret".into());
        assert!(all.contains(&("PGPASSWORD", Some("secret".into()))), "{all:?}");
        assert!(all.contains(&("PGPASSFILE", Some("/x".into()))), "{all:?}");
    }
}

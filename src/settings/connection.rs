//! The connection string: checked, and shown without its password.
//!
//! The driver's parser is lenient. An unescaped `@` or a blank in a password makes it take the rest of the password
//! for a host, a database or the name of an option, and quote that in its error. So such strings are rejected, and of
//! the driver's explanations only those pass that cannot hold a piece of the string.

use std::error::Error as _;

use serde::Serializer;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::rule::HIDDEN;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Options of libpq that tutorials and cloud consoles put into connection strings, and that the driver does not know.
const UNSUPPORTED_OPTIONS: [&str; 8] = [
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
    "service",
    "gssencmode",
    "krbsrvname",
    "client_encoding",
];

/// Parses a connection string; an error never repeats a part of it that could belong to the password.
pub(super) fn parse(text: &str) -> Result<Config, String> {
    if let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        let (before, after) = rest.split_once('@').unwrap_or(("", rest));
        if before.contains(['/', '?']) || after.contains('@') {
            return Err(
                "is ambiguous: within a user name, password or parameter of a URL write `@` as %40, \
                        `/` as %2F and `?` as %3F"
                    .to_owned(),
            );
        }
    }
    let config: Config = text.parse().map_err(|error| explain(&error))?;
    if hosts(&config).is_empty() {
        return Err("names no host".to_owned());
    }
    // A URL given as `dbname`, which libpq would expand, and credentials in front of a host would be shown as names.
    let names = [config.get_user(), config.get_dbname()].into_iter().flatten();
    if names.into_iter().any(|name| name.contains("://"))
        || hosts(&config).iter().any(|host| host.contains('@'))
    {
        return Err("holds a URL within a key=value pair: give the URL alone".to_owned());
    }
    Ok(config)
}

fn explain(error: &tokio_postgres::Error) -> String {
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    if reason.starts_with("invalid value for option") {
        return format!("has an {reason}");
    }
    let unsupported = UNSUPPORTED_OPTIONS.iter().find(|name| reason == format!("unknown option `{name}`"));
    match unsupported {
        Some(option) => format!("has the option `{option}`, which is not supported"),
        None => {
            "is neither a postgresql:// URL nor key=value pairs; special characters in a password must be \
                 percent-encoded in a URL, and 'quoted' in a key=value pair"
                .to_owned()
        }
    }
}

/// Host, port, database and user, such as `db:5432/otel_traces as app`.
pub(super) fn target(text: &str) -> String {
    let Ok(config) = parse(text) else {
        return if text.is_empty() { "(no connection string)" } else { HIDDEN }.to_owned();
    };
    let ports = config.get_ports();
    let addresses: Vec<String> = hosts(&config)
        .into_iter()
        .enumerate()
        .map(|(index, host)| {
            // One port may stand for all hosts, and none for the default.
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        })
        .collect();
    let mut target = addresses.join(",");
    let user = config.get_user().filter(|user| !user.is_empty());
    // Without a name, PostgreSQL takes the database that is named like the user.
    if let Some(database) = config.get_dbname().or(user) {
        target = format!("{target}/{database}");
    }
    if let Some(user) = user {
        target = format!("{target} as {user}");
    }
    target
}

/// The connection string as key=value pairs, with `<hidden>` for the password and without rarer parameters, among
/// which `options` may hold secrets. What does not parse is hidden altogether.
pub(super) fn redact(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let Ok(config) = parse(text) else {
        return HIDDEN.to_owned();
    };
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    let mut pairs = vec![("host", hosts(&config).join(","))];
    if !ports.is_empty() {
        pairs.push(("port", ports.join(",")));
    }
    pairs.extend(config.get_dbname().map(|name| ("dbname", name.to_owned())));
    pairs.extend(config.get_user().map(|user| ("user", user.to_owned())));
    pairs.extend(config.get_password().map(|_| ("password", HIDDEN.to_owned())));
    match config.get_ssl_mode() {
        SslMode::Disable => pairs.push(("sslmode", "disable".to_owned())),
        SslMode::Require => pairs.push(("sslmode", "require".to_owned())),
        _ => (),
    }
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    pairs.join(" ")
}

pub(super) fn serialize_redacted<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact(text))
}

/// Host names, socket folders, or else the bare addresses.
fn hosts(config: &Config) -> Vec<String> {
    let named: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(folder) => folder.display().to_string(),
        })
        .collect();
    if named.is_empty() { config.get_hostaddrs().iter().map(ToString::to_string).collect() } else { named }
}

fn quoted(value: &str) -> String {
    if value.is_empty() || value.contains([' ', '\'', '\\']) {
        format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    } else {
        value.to_owned()
    }
}

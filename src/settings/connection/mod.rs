//! The connection string: checked, and shown without its password.
//!
//! The driver's parser is lenient. An unescaped `@` or a blank in a password makes it take the rest of the password
//! for a host, a database or the name of an option, and quote that in its error. So such strings are rejected, and of
//! the driver's explanations only those pass that cannot hold a piece of the string.

mod parameters;
mod tls;

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serializer;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::rule::HIDDEN;
pub(crate) use tls::{RootCert, SslMode, Tls, Verification};

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Options of libpq and of others that tutorials and cloud consoles put into connection strings, and that are not supported.
const UNSUPPORTED_OPTIONS: [&str; 22] = [
    "sslcrl",
    "sslpassword",
    "sslcompression",
    "ssl_min_protocol_version",
    "service",
    "gssencmode",
    "krbsrvname",
    "client_encoding",
    "sslcertmode",
    "sslcrldir",
    "sslsni",
    "requiressl",
    "requirepeer",
    "require_auth",
    "ssl_max_protocol_version",
    "gsslib",
    "fallback_application_name",
    "pgbouncer",
    "schema",
    "currentSchema",
    "connection_limit",
    "pool_timeout",
];

/// How long a silent connection lives before it is probed, between probes, and after how many it is dead.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_COUNT: u32 = 3;
/// How long sent data may stay without acknowledgement.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The most that Linux takes for these, in seconds and probes, and any system for others: beyond, no connection is made.
const MOST_KEEPALIVE: u64 = 32_767;
const MOST_PROBES: u32 = 127;
const MOST: u64 = i32::MAX as u64;

/// A connection string that was read: what the driver knows, and what it does not.
pub(crate) struct ConnectionString {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    pub(crate) passfile: Option<PathBuf>,
}

/// Parses a connection string; an error never repeats a part of it that could belong to the password.
pub(super) fn parse(text: &str) -> Result<ConnectionString, String> {
    // A secret that was made by `echo`, or a block of YAML, ends with a line break.
    let text = text.trim();
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
    let (rest, ours) = parameters::take(text);
    let is_url = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    let config: Config = rest.parse().map_err(|error| explain(&error, is_url))?;
    if hosts(&config).is_empty() {
        return Err("names no host".to_owned());
    }
    let (names, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
    if names > 0 && addresses > 0 && names != addresses {
        return Err("has not as many `hostaddr` as `host`".to_owned());
    }
    if config.get_ports().len() > 1 && config.get_ports().len() != names.max(addresses) {
        return Err("has neither one `port` nor as many as hosts".to_owned());
    }
    // A URL given as `dbname`, which libpq would expand, and credentials in front of a host would be shown as names.
    let names = [config.get_user(), config.get_dbname()].into_iter().flatten();
    if names.into_iter().any(|name| name.contains("://"))
        || hosts(&config).iter().any(|host| host.contains('@'))
    {
        return Err("holds a URL within a key=value pair: give the URL alone".to_owned());
    }
    // Parts in the form of other systems end up in a name or a path, and would be shown with it.
    let names = [config.get_user(), config.get_dbname()].into_iter().flatten();
    let values = ours.iter().map(|(_, value)| value.as_str());
    if hosts(&config).iter().any(|host| host.contains([';', '=', '&']))
        || names.chain(values).any(names_password)
    {
        return Err("holds parts that are not separated: key=value pairs are separated by blanks, parameters of a URL \
                    by `?` before the first and `&` before the others"
            .to_owned());
    }
    ConnectionString::new(config, &ours)
}

/// Whether a password may follow its name in the text.
fn names_password(text: &str) -> bool {
    let text: String = text.to_ascii_lowercase().split_whitespace().collect();
    ["password=", "pwd="].iter().any(|name| text.contains(name))
}

/// Whether the path of a file may be a connection string, given in its place.
pub(super) fn is_in_place_of_file(path: &str) -> bool {
    path.contains("://") || names_password(path)
}

impl ConnectionString {
    fn new(mut config: Config, ours: &[parameters::Parameter]) -> Result<Self, String> {
        let given =
            |name| ours.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str());
        let path = |name| given(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let invalid = |name: &str, allowed: &str| {
            format!("has an invalid value for option `{name}`, which must be {allowed}")
        };
        let whole = |name, text: &str, most: u64| match text.parse::<u64>() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(invalid(name, &format!("a whole number up to {most}"))),
        };
        let timer = |name, most, default: Duration, unit: fn(u64) -> Duration| match given(name) {
            // As in libpq, 0 stands for the system's own.
            Some(text) => whole(name, text, most).map(|number| (number > 0).then(|| unit(number))),
            None => Ok(Some(default)),
        };

        if let Some(idle) = timer("keepalives_idle", MOST_KEEPALIVE, KEEPALIVES_IDLE, Duration::from_secs)? {
            config.keepalives_idle(idle);
        }
        if let Some(interval) =
            timer("keepalives_interval", MOST_KEEPALIVE, KEEPALIVES_INTERVAL, Duration::from_secs)?
        {
            config.keepalives_interval(interval);
        }
        if let Some(timeout) = timer("tcp_user_timeout", MOST, TCP_USER_TIMEOUT, Duration::from_millis)? {
            config.tcp_user_timeout(timeout);
        }
        let count = given("keepalives_count");
        match count.map(|text| whole("keepalives_count", text, MOST_PROBES.into())).transpose()? {
            Some(0) => {}
            Some(count) => drop(config.keepalives_retries(count as u32)),
            None if config.get_keepalives_retries().is_some() => {}
            None => drop(config.keepalives_retries(KEEPALIVES_COUNT)),
        }
        if config.get_connect_timeout().is_some_and(|timeout| timeout.as_secs() > MOST) {
            return Err(invalid("connect_timeout", &format!("a whole number up to {MOST}")));
        }
        config.target_session_attrs(match given("target_session_attrs") {
            Some("any") => TargetSessionAttrs::Any,
            Some("read-write") => TargetSessionAttrs::ReadWrite,
            Some("read-only") => TargetSessionAttrs::ReadOnly,
            Some(_) => return Err(invalid("target_session_attrs", "any, read-write or read-only")),
            // Several hosts are a primary and its standbys, and spans are written.
            None if hosts(&config).len() > 1 => TargetSessionAttrs::ReadWrite,
            None => TargetSessionAttrs::Any,
        });

        let root_cert = path("sslrootcert").map(|path| match path.to_str() {
            Some("system") => RootCert::System,
            _ => RootCert::File(path),
        });
        let mode = match given("sslmode") {
            Some(text) => SslMode::parse(text)
                .ok_or_else(|| invalid("sslmode", "disable, prefer, require, verify-ca or verify-full"))?,
            None if root_cert == Some(RootCert::System) => SslMode::VerifyFull,
            None => SslMode::default(),
        };
        if root_cert == Some(RootCert::System) && mode != SslMode::VerifyFull {
            // Whoever can buy a certificate would pass.
            return Err("has `sslrootcert=system`, which needs `sslmode=verify-full`".to_owned());
        }
        let tls = Tls { mode, root_cert, cert: path("sslcert"), key: path("sslkey") };
        Ok(ConnectionString { config, tls, passfile: path("passfile") })
    }
}

fn explain(error: &tokio_postgres::Error, is_url: bool) -> String {
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    if reason.starts_with("invalid value for option") {
        return format!("has an {reason}");
    }
    let unsupported = UNSUPPORTED_OPTIONS.iter().find(|name| reason == format!("unknown option `{name}`"));
    match unsupported {
        Some(option) => format!("has the option `{option}`, which is not supported"),
        // Within key=value pairs its name may be a piece of the password.
        None if is_url && reason.starts_with("unknown option") => {
            "has an option behind its `?` that is not supported: leave it out".to_owned()
        }
        None => {
            "is neither a postgresql:// URL nor key=value pairs; special characters in a password must be \
                 percent-encoded in a URL, and 'quoted' in a key=value pair"
                .to_owned()
        }
    }
}

/// Host, port, database and user, such as `db:5432/otel_traces as app`.
pub(super) fn target(text: &str) -> String {
    let Ok(ConnectionString { config, .. }) = parse(text) else {
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
    let Ok(ConnectionString { config, tls, .. }) = parse(text) else {
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
    if tls.mode != SslMode::default() {
        pairs.push(("sslmode", tls.mode.name().to_owned()));
    }
    pairs.extend(tls.root_cert.map(|root| match root {
        RootCert::System => ("sslrootcert", "system".to_owned()),
        RootCert::File(path) => ("sslrootcert", path.display().to_string()),
    }));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        parse(text).unwrap_or_else(|reason| panic!("{text} {reason}")).config
    }

    #[test]
    fn a_dead_peer_is_noticed_unless_the_string_says_otherwise() {
        let seconds = Duration::from_secs;
        for (text, idle, interval, retries, user_timeout) in [
            ("host=db", seconds(15), Some(seconds(5)), Some(3), Some(seconds(15))),
            (
                "host=db keepalives_idle=60 keepalives_interval=7 keepalives_count=2 tcp_user_timeout=1500",
                seconds(60),
                Some(seconds(7)),
                Some(2),
                Some(Duration::from_millis(1500)),
            ),
            (
                "postgresql://db?keepalives_retries=9",
                seconds(15),
                Some(seconds(5)),
                Some(9),
                Some(seconds(15)),
            ),
            // The system's own.
            (
                "host=db keepalives_idle=0 keepalives_interval=0 keepalives_count=0 tcp_user_timeout=0",
                seconds(7200),
                None,
                None,
                None,
            ),
        ] {
            let config = config(text);
            assert_eq!(config.get_keepalives_idle(), idle, "{text}");
            assert_eq!(config.get_keepalives_interval(), interval, "{text}");
            assert_eq!(config.get_keepalives_retries(), retries, "{text}");
            assert_eq!(config.get_tcp_user_timeout(), user_timeout.as_ref(), "{text}");
        }
    }

    #[test]
    fn of_several_hosts_the_primary_is_wanted() {
        for (text, wanted) in [
            ("host=a", TargetSessionAttrs::Any),
            ("host=a,b", TargetSessionAttrs::ReadWrite),
            ("postgresql://a,b", TargetSessionAttrs::ReadWrite),
            ("host=a,b target_session_attrs=any", TargetSessionAttrs::Any),
            ("host=a target_session_attrs=read-only", TargetSessionAttrs::ReadOnly),
        ] {
            assert_eq!(config(text).get_target_session_attrs(), wanted, "{text}");
        }
    }
}

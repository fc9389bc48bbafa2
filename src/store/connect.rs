//! Opening connections: host by host, each within `connect_timeout_seconds`.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use moka::sync::Cache;
use opentelemetry::otel_debug;
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{self, Host, LoadBalanceHosts};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::Type;
use tokio_postgres::{Config, NoTls, Socket};

use super::password::{self, Login};
use super::refusal::{Refusal, tls_failure};
use super::tls;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::settings::connection::{ConnectionString, SslMode};

/// Opens the pool's connections. What the settings refer to is read for each of them, so that a password or certificate
/// may change under a running process.
pub(super) struct Connector {
    settings: Settings,
    /// The statements that prepare each session, or behind a pooler each transaction.
    set_up: String,
    /// Servers that have not answered while anybody waited, and since when.
    silent: Mutex<HashMap<String, Instant>>,
}

/// For so long others are tried before a server that has not answered.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How long a session of another runtime may take for an answer, before another one is made.
const STANDSTILL: Duration = Duration::from_millis(250);

/// A session with the server.
pub(super) struct Session {
    pub(super) client: ClientWrapper,
    /// Ends the session at once.
    pub(super) task: AbortHandle,
    /// Whether it was ended, which the client learns a little later.
    pub(super) ended: AtomicBool,
    /// Where its task runs.
    runtime: Id,
    /// Behind a pooler, nothing outlives a transaction.
    pub(super) pooled: Option<Pooled>,
}

/// A session whose transactions may run on different connections of the server.
pub(super) struct Pooled {
    /// The statements that prepare a transaction.
    pub(super) set_up: String,
    pub(super) in_transaction: AtomicBool,
    /// The types of parameters of statements that are used again.
    pub(super) types: Cache<String, Vec<Type>>,
}

/// How often the server looks whether the client of a statement is still there, in milliseconds.
const CLIENT_CHECK_MS: u32 = 1000;

/// Statements whose types are kept, more than there are.
const STATEMENTS: u64 = 100;

impl Connector {
    pub(super) fn new(settings: &Settings) -> Self {
        let set = if settings.prepared_statements { "SET" } else { "SET LOCAL" };
        let seconds = settings.statement_timeout_seconds;
        // A transaction is idle while documents are embedded: about a second, or ten on a tenth of a core.
        let idle = seconds.max(60);
        let local = !settings.prepared_statements;
        // A statement of a client that is gone ends soon, not when it is done. Not every server can look for that, and what a
        // role or a database has set stays.
        let check = format!(
            "SELECT set_config('client_connection_check_interval', '{CLIENT_CHECK_MS}', {local}) \
             WHERE current_setting('client_connection_check_interval', true) = '0' AND version() LIKE '%linux%'"
        );
        // What is looked at behind a lock has to be of after it, so each statement needs its own snapshot. Within a
        // transaction it is late for the default, and anything that takes a snapshot would make it late for this one.
        let isolation = if local { "transaction_isolation" } else { "default_transaction_isolation" };
        // What is acknowledged has to be on disk, whatever the role or the database has; a stricter value stays.
        // PostgreSQL before 17 has no transaction_timeout.
        // Bounds of partitions pass through text: other styles name time zones by letters that several have, as IST. And
        // the functions' regular expressions have backslashes.
        let set_up = format!(
            "{set} {isolation} = 'read committed'; {set} datestyle = 'ISO'; {set} standard_conforming_strings = on; \
             {set} statement_timeout = {}; {set} lock_timeout = {}; {set} idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), {local}); \
             SELECT set_config('transaction_timeout', '0', {local}) WHERE current_setting('transaction_timeout', true) <> ''; \
             {check}",
            seconds * 1000,
            seconds * 500,
            idle * 1000
        );
        Connector { settings: settings.clone(), set_up, silent: Mutex::default() }
    }

    /// The servers in the order in which they are tried.
    fn in_order(&self, string: &ConnectionString) -> Vec<Server> {
        let mut servers = servers(string);
        let mut silent = self.silent();
        silent.retain(|_, since| since.elapsed() < SILENT_FOR);
        servers.sort_by_key(|server| silent.get(&server.to_string()).copied());
        servers
    }

    /// The map is whole at every moment, so a panic elsewhere does not spoil it.
    fn silent(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long connecting to one host may take.
    fn limit(&self, string: &ConnectionString) -> Duration {
        let default = Duration::from_secs(self.settings.connect_timeout_seconds);
        string.config.get_connect_timeout().copied().unwrap_or(default)
    }

    async fn connect(&self, string: &ConnectionString, server: &Server) -> Result<Session, Refusal> {
        let limit = self.limit(string);
        let deadline = Instant::now() + limit;
        let late =
            |doing: &str| Refusal::passing(format!("{doing} did not end within {} s", limit.as_secs_f64()));
        let template = self.template(string, server)?;
        let addresses = timeout_at(deadline, server.addresses())
            .await
            .map_err(|_| late("looking up the host's name"))?
            .map_err(|error| Refusal::passing(format!("the host's name cannot be looked up: {error}")))?;
        let mut refusal = Refusal::passing("the host's name has no address");
        for (at, address) in addresses.iter().enumerate() {
            let mut config = template.clone();
            address.map(|address| config.hostaddr(address));
            // An address that does not answer leaves time for those after it.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            refusal = match timeout(share, self.open(string, server, config)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(refusal)) => refusal,
                Err(_) => late("connecting"),
            };
        }
        Err(refusal)
    }

    /// The driver's configuration for one server.
    fn template(&self, string: &ConnectionString, server: &Server) -> Result<Config, Refusal> {
        let from = &string.config;
        let mut config = Config::new();
        let user = from.get_user().filter(|user| !user.is_empty());
        let user = user.map(str::to_owned).or_else(|| std::env::var("USER").ok()).unwrap_or_default();
        let login = Login {
            host: &server.name(),
            port: server.port,
            database: from.get_dbname().unwrap_or(&user),
            user: &user,
        };
        if let Some(password) = password::find(&self.settings, string, &login).map_err(Refusal::lasting)? {
            config.password(password);
        }
        from.get_user().map(|user| config.user(user));
        from.get_dbname().map(|name| config.dbname(name));
        from.get_options().map(|options| config.options(options));
        from.get_tcp_user_timeout().map(|timeout| config.tcp_user_timeout(*timeout));
        from.get_keepalives_interval().map(|interval| config.keepalives_interval(interval));
        from.get_keepalives_retries().map(|retries| config.keepalives_retries(retries));
        config
            .application_name(from.get_application_name().unwrap_or(env!("CARGO_PKG_NAME")))
            .ssl_negotiation(from.get_ssl_negotiation())
            .keepalives(from.get_keepalives())
            .keepalives_idle(from.get_keepalives_idle())
            .target_session_attrs(from.get_target_session_attrs())
            .channel_binding(from.get_channel_binding())
            .port(server.port);
        match &server.place {
            #[cfg(unix)]
            Place::Folder(folder) => config.host_path(folder),
            _ => config.host(server.name()),
        };
        Ok(config)
    }

    async fn open(
        &self,
        string: &ConnectionString,
        server: &Server,
        mut config: Config,
    ) -> Result<Session, Refusal> {
        let mode = match server.place {
            // TLS is for networks.
            #[cfg(unix)]
            Place::Folder(_) => SslMode::Disable,
            _ => string.tls.mode,
        };
        config.ssl_mode(match mode {
            SslMode::Disable => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            _ => config::SslMode::Require,
        });
        let opened = if mode == SslMode::Disable {
            self.session(&config, NoTls).await
        } else {
            let tls = tls::connector(&string.tls).map_err(Refusal::lasting)?;
            match self.session(&config, tls).await {
                Err(error) if mode == SslMode::Prefer && tls_failure(&error).is_some() => {
                    otel_debug!(name: "TraceStore.TlsGivenUp", reason = error.to_string());
                    self.session(config.ssl_mode(config::SslMode::Disable), NoTls).await
                }
                opened => opened,
            }
        };
        opened.map_err(|error| Refusal::of(&error, &string.tls, &server.name()))
    }

    async fn session<T>(&self, config: &Config, tls: T) -> Result<Session, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // Large, and rarely needed: callers' futures stay small.
        let (client, connection) = Box::pin(config.connect(tls)).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                otel_debug!(name: "TraceStore.ConnectionLost", reason = crate::error::database_message(&error));
            }
        });
        let session = Session {
            task: task.abort_handle(),
            client: ClientWrapper::new(client, task),
            ended: AtomicBool::new(false),
            runtime: Handle::current().id(),
            pooled: (!self.settings.prepared_statements).then(|| Pooled {
                set_up: self.set_up.clone(),
                in_transaction: AtomicBool::new(false),
                types: Cache::new(STATEMENTS),
            }),
        };
        if session.pooled.is_none() {
            session.client.batch_execute(&self.set_up).await?;
        }
        Ok(session)
    }
}

impl managed::Manager for Connector {
    type Type = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session> {
        let string = self.settings.connection()?;
        let mut refusals = Vec::new();
        for server in self.in_order(&string) {
            let mut trying = Trying { connector: self, server: server.to_string(), is_answered: false };
            let begin = Instant::now();
            let connected = Box::pin(self.connect(&string, &server)).await;
            trying.is_answered = connected.is_ok() || begin.elapsed() < self.limit(&string);
            match connected {
                Ok(session) => return Ok(session),
                Err(refusal) => refusals.push((server, refusal)),
            }
        }
        // One server that may come back is enough.
        let transient = refusals.iter().any(|(_, refusal)| refusal.transient);
        let reason = match refusals.as_slice() {
            [(_, refusal)] => refusal.reason.clone(),
            several => {
                let reasons: Vec<_> =
                    several.iter().map(|(server, refusal)| format!("{server}: {}", refusal.reason)).collect();
                reasons.join("; ")
            }
        };
        Err(Error::Connect { target: self.settings.target(), reason, transient })
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        if session.client.is_closed() || *session.ended.get_mut() {
            return Err(RecycleError::message("it was closed"));
        }
        // A runtime of one thread drives its tasks only while somebody blocks on it.
        if session.runtime != Handle::current().id() {
            let answer = timeout(STANDSTILL, session.client.simple_query("")).await;
            if !matches!(answer, Ok(Ok(_))) {
                return Err(RecycleError::message("the runtime that it belongs to stands still"));
            }
        }
        Ok(())
    }
}

/// Takes note of a server that does not answer, also where nobody waits for it any more and this is dropped.
struct Trying<'a> {
    connector: &'a Connector,
    server: String,
    is_answered: bool,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        let server = std::mem::take(&mut self.server);
        match self.is_answered {
            true => self.connector.silent().remove(&server),
            false => self.connector.silent().insert(server, Instant::now()),
        };
    }
}

/// One server of a connection string.
struct Server {
    place: Place,
    /// The host's name, where its address is given too.
    named: Option<String>,
    port: u16,
}

enum Place {
    Name(String),
    Address(IpAddr),
    #[cfg(unix)]
    Folder(PathBuf),
}

impl Server {
    /// What certificates and `.pgpass` call it.
    fn name(&self) -> String {
        match (&self.named, &self.place) {
            (Some(name), _) => name.clone(),
            (None, Place::Name(name)) => name.clone(),
            (None, Place::Address(address)) => address.to_string(),
            #[cfg(unix)]
            (None, Place::Folder(folder)) => folder.display().to_string(),
        }
    }

    /// Where to connect to; a folder is its own address.
    async fn addresses(&self) -> std::io::Result<Vec<Option<IpAddr>>> {
        match &self.place {
            Place::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), self.port)).await?;
                Ok(found.map(|address| Some(address.ip())).collect())
            }
            Place::Address(address) => Ok(vec![Some(*address)]),
            #[cfg(unix)]
            Place::Folder(_) => Ok(vec![None]),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name(), self.port)
    }
}

/// The servers in the order of the connection string.
fn servers(string: &ConnectionString) -> Vec<Server> {
    let config = &string.config;
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let mut servers: Vec<Server> = (0..hosts.len().max(addresses.len()))
        .filter_map(|at| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            let (place, named) = match (addresses.get(at), hosts.get(at)) {
                (Some(address), Some(Host::Tcp(name))) => (Place::Address(*address), Some(name.clone())),
                (Some(address), _) => (Place::Address(*address), None),
                (None, Some(Host::Tcp(name))) => (Place::Name(name.clone()), None),
                #[cfg(unix)]
                (None, Some(Host::Unix(folder))) => (Place::Folder(folder.clone()), None),
                (None, None) => return None,
            };
            Some(Server { place, named, port })
        })
        .collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        let order = RandomState::new();
        servers.sort_by_cached_key(|server| order.hash_one(server.to_string()));
    }
    servers
}

//! A database of its own for each test, on the server that `make test` starts.

use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use opentelemetry_pgvector::{Settings, TraceStore};
use tokio_postgres::{Client, Config, NoTls};

/// A new database, dropped at the end of the test.
pub struct TestDatabase {
    server: Config,
    name: String,
    roles: Mutex<Vec<String>>,
    stays: bool,
}

impl TestDatabase {
    /// Creates a database that has the extension already.
    pub async fn create() -> Self {
        let database = Self::create_bare().await;
        database.execute("CREATE EXTENSION vector").await;
        database
    }

    /// Creates an empty database.
    pub async fn create_bare() -> Self {
        Self::create_with("").await
    }

    /// Creates an empty database with these options of `CREATE DATABASE`.
    pub async fn create_with(options: &str) -> Self {
        let url = std::env::var("OTEL_TEST_DATABASE_URL").expect(
            "OTEL_TEST_DATABASE_URL names no server: run `make test`, or set it to the URL of a superuser",
        );
        let server = Config::from_str(&url).expect("OTEL_TEST_DATABASE_URL is a connection string");
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let client = connect(&server).await;
        client
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .await
            .expect("the test's database is created");
        TestDatabase { server, name, roles: Mutex::default(), stays: false }
    }

    /// The database of this name, which is not dropped, or `None` where there is none yet.
    pub async fn find(name: &str) -> Option<Self> {
        let database = Self::named(name);
        let sql = "SELECT FROM pg_database WHERE datname = $1";
        let found = connect(&database.server).await.query_opt(sql, &[&name]).await.expect("the databases");
        found.map(|_| database)
    }

    /// Gives the database this name, and lets it stay.
    pub async fn keep(self, name: &str) -> Self {
        self.end_connections().await;
        let rename = format!("ALTER DATABASE {} RENAME TO {name}", self.name);
        connect(&self.server).await.batch_execute(&rename).await.expect("the database is renamed");
        Self::named(name)
    }

    fn named(name: &str) -> Self {
        let url = std::env::var("OTEL_TEST_DATABASE_URL").expect("OTEL_TEST_DATABASE_URL names a server");
        let server = Config::from_str(&url).expect("OTEL_TEST_DATABASE_URL is a connection string");
        TestDatabase { server, name: name.to_owned(), roles: Mutex::default(), stays: true }
    }

    /// The database's name, which needs no quotes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database's configuration for the driver, as superuser.
    pub fn config(&self) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// A connection string for the database, as superuser.
    pub fn url(&self) -> String {
        let user = self.server.get_user().unwrap_or("postgres");
        let password =
            self.server.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        self.url_as(user, password.as_deref())
    }

    /// Where the server listens.
    pub async fn address(&self) -> std::net::SocketAddr {
        let host = match self.server.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            _ => "127.0.0.1".into(),
        };
        let port = self.server.get_ports().first().copied().unwrap_or(5432);
        tokio::net::lookup_host((host, port)).await.expect("a name").next().expect("an address")
    }

    /// A connection string for the database by way of a proxy on this port of the loopback.
    pub fn url_through(&self, port: u16) -> String {
        let user = self.server.get_user().unwrap_or("postgres");
        let password =
            self.server.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let password = password.map(|password| format!(" password='{password}'")).unwrap_or_default();
        format!("host=127.0.0.1 port={port} dbname={} user={user}{password}", self.name)
    }

    /// A connection string for the database as another role.
    pub fn url_as(&self, user: &str, password: Option<&str>) -> String {
        let host = match self.server.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
            None => "127.0.0.1".into(),
        };
        let port = self.server.get_ports().first().copied().unwrap_or(5432);
        let password = password.map(|password| format!(" password='{password}'")).unwrap_or_default();
        format!("host={host} port={port} dbname={} user={user}{password}", self.name)
    }

    /// Settings for the database.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.connection_string = self.url();
        settings.pool_size = 8;
        // A busy machine is no outage.
        settings.hand_over_seconds = 30;
        settings.connect_timeout_seconds = 30;
        if let Ok(model) = std::env::var("OTEL_STORAGE_EMBEDDING_MODEL") {
            settings.embedding_model = model;
        }
        settings
    }

    /// A role of the test's own without any rights, dropped with the database; its password is `secret`.
    pub async fn create_role(&self) -> String {
        let name = format!("role_{}", uuid::Uuid::new_v4().simple());
        self.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'secret'")).await;
        self.roles.lock().expect("no panic").push(name.clone());
        name
    }

    /// A schema's name that no other test has, whose group roles are dropped with the database.
    pub fn schema_with_roles(&self) -> String {
        let schema = format!("schema_{}", uuid::Uuid::new_v4().simple());
        self.drop_roles_of(&schema);
        schema
    }

    /// Drops the group roles of a schema with the database.
    pub fn drop_roles_of(&self, schema: &str) {
        let mut roles = self.roles.lock().expect("no panic");
        for role in ["owner", "writer", "reader"] {
            roles.push(format!("\"{}_{role}\"", schema.replace('"', "\"\"")));
        }
    }

    /// Settings for the database as another role.
    pub fn settings_as(&self, role: &str) -> Settings {
        let mut settings = self.settings();
        settings.connection_string = self.url_as(role, Some("secret"));
        settings
    }

    /// A store on the database.
    pub fn store(&self) -> TraceStore {
        TraceStore::new(self.settings()).expect("valid settings")
    }

    /// Takes the database away: connections are ended, new ones refused.
    pub async fn take_away(&self) {
        self.alter("WITH ALLOW_CONNECTIONS false").await;
        self.end_connections().await;
    }

    /// Opens the database again.
    pub async fn bring_back(&self) {
        self.alter("WITH ALLOW_CONNECTIONS true").await;
    }

    /// Alters the database, from another one.
    pub async fn alter(&self, how: &str) {
        let alter = format!("ALTER DATABASE {} {how}", self.name);
        connect(&self.server).await.batch_execute(&alter).await.expect("the database is altered");
    }

    /// A copy of the database as it is now, for [`restore`](Self::restore). Ends all connections.
    pub async fn copy(&self) -> TestDatabase {
        let copy = TestDatabase {
            server: self.server.clone(),
            name: format!("{}_copy", self.name),
            roles: Mutex::default(),
            stays: false,
        };
        self.take_away().await;
        let create = format!("CREATE DATABASE {} TEMPLATE {}", copy.name, self.name);
        connect(&self.server).await.batch_execute(&create).await.expect("the database is copied");
        self.bring_back().await;
        copy
    }

    /// Puts a copy in the database's place.
    pub async fn restore(&self, copy: TestDatabase) {
        let server = connect(&self.server).await;
        for sql in [
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
            format!("ALTER DATABASE {} RENAME TO {}", copy.name, self.name),
        ] {
            server.batch_execute(&sql).await.expect("the database is restored");
        }
    }

    /// Ends all connections to the database.
    pub async fn end_connections(&self) {
        connect(&self.server)
            .await
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                &[&self.name],
            )
            .await
            .expect("the connections are ended");
    }

    /// The numbers that [`numbered`](super::spans::numbered) spans have, in order, as often as they are stored.
    pub async fn sequences(&self) -> Vec<i64> {
        let sql = "SELECT (attributes ->> 'load.sequence')::bigint AS n FROM otel.spans ORDER BY n";
        self.client().await.query(sql, &[]).await.expect("the spans").iter().map(|row| row.get(0)).collect()
    }

    /// A connection of the test's own.
    pub async fn client(&self) -> Client {
        connect(&self.config()).await
    }

    /// Runs statements as superuser.
    pub async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A single value as superuser.
    pub async fn value<T: tokio_postgres::types::FromSqlOwned>(&self, sql: &str) -> T {
        self.client()
            .await
            .query_one(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }

    /// The plan of a query, one line a node.
    pub async fn plan(&self, sql: &str) -> String {
        self.explain("COSTS OFF", sql).await
    }

    /// The plan of a query, with options of EXPLAIN, a line a node.
    pub async fn explain(&self, options: &str, sql: &str) -> String {
        let explain = format!("EXPLAIN ({options}) {sql}");
        let rows = self.client().await.query(&explain, &[]).await.expect("a plan");
        rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
    }
}

impl Drop for TestDatabase {
    /// Drops the database from a thread of its own, since the test's runtime may be gone.
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        let roles = self.roles.lock().map(|roles| roles.clone()).unwrap_or_default();
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = connect(&server).await;
                let database = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let roles = roles.iter().map(|role| format!("DROP ROLE IF EXISTS {role}"));
                for drop in std::iter::once(database).chain(roles) {
                    if let Err(error) = client.batch_execute(&drop).await {
                        eprintln!("{drop}: {error}");
                    }
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the test server answers");
    tokio::spawn(connection);
    client
}

/// Waits until `condition` holds, for at most two minutes: a machine may be busy.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within two minutes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

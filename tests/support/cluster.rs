//! A database of a test's own on a Citus cluster that exists.

use std::process::Command;
use std::str::FromStr;
use std::sync::Mutex;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::command::{Run, command};

/// A new database on every node, dropped at the end of the test.
pub struct Cluster {
    /// The coordinator first.
    nodes: Vec<Config>,
    name: String,
    /// Roles that are dropped with the database.
    roles: Mutex<Vec<String>>,
}

impl Cluster {
    /// A database whose nodes have both extensions and know each other; `None` with a word on the screen where
    /// `OTEL_TEST_CITUS_URL` names no coordinator, by the URL of a superuser that may log in to all nodes.
    pub async fn create() -> Option<Self> {
        let Ok(url) = std::env::var("OTEL_TEST_CITUS_URL") else {
            eprintln!("skipped: OTEL_TEST_CITUS_URL names no coordinator of a Citus cluster");
            return None;
        };
        let coordinator = Config::from_str(&url).expect("OTEL_TEST_CITUS_URL is a connection string");
        let workers = connect(&coordinator)
            .await
            .query("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 AND isactive", &[])
            .await
            .expect("workers");
        assert!(!workers.is_empty(), "the cluster of OTEL_TEST_CITUS_URL has no worker");
        let at = |host: String, port: i32| {
            let mut node = Config::new();
            node.host(host).port(port as u16).user(coordinator.get_user().unwrap_or("postgres"));
            coordinator.get_password().map(|password| node.password(password));
            node
        };
        let Some(Host::Tcp(host)) = coordinator.get_hosts().first() else {
            panic!("OTEL_TEST_CITUS_URL has no host")
        };
        let port = coordinator.get_ports().first().copied().unwrap_or(5432);
        let mut nodes = vec![at(host.clone(), port.into())];
        nodes.extend(workers.iter().map(|row| at(row.get(0), row.get(1))));
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let cluster = Cluster { nodes, name, roles: Mutex::default() };
        cluster.everywhere(&format!("CREATE DATABASE {}", cluster.name)).await;
        for number in 0..cluster.nodes.len() {
            let extensions = "CREATE EXTENSION citus; CREATE EXTENSION vector";
            connect(&cluster.config(number)).await.batch_execute(extensions).await.expect("extensions");
        }
        let client = cluster.client().await;
        for (number, row) in [(host.clone(), i32::from(port))]
            .into_iter()
            .chain(workers.iter().map(|row| (row.get(0), row.get(1))))
            .enumerate()
        {
            let add = if number == 0 { "citus_set_coordinator_host" } else { "citus_add_node" };
            client.query(&format!("SELECT {add}($1, $2)"), &[&row.0, &row.1]).await.expect("a node");
        }
        Some(cluster)
    }

    fn config(&self, node: usize) -> Config {
        let mut config = self.nodes[node].clone();
        config.dbname(&self.name);
        config
    }

    /// A connection to the coordinator, as superuser.
    pub async fn client(&self) -> Client {
        connect(&self.config(0)).await
    }

    /// A single value as superuser.
    pub async fn value<T: tokio_postgres::types::FromSqlOwned>(&self, sql: &str) -> T {
        let row = self.client().await.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// A connection string for the coordinator.
    pub fn url(&self) -> String {
        let config = self.config(0);
        let Some(Host::Tcp(host)) = config.get_hosts().first() else { panic!("no host") };
        let password = config.get_password().map(|it| format!(" password='{}'", String::from_utf8_lossy(it)));
        format!(
            "host={host} port={} dbname={} user={}{}",
            config.get_ports()[0],
            self.name,
            config.get_user().expect("a user"),
            password.unwrap_or_default()
        )
    }

    /// The command on this database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("OTEL_STORAGE_CONNECTION_STRING", self.url());
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().expect("the command runs"));
        Run::of(output.await.expect("no panic"))
    }

    /// A schema's name that no other test has. Its group roles, and theirs with `_login` behind, are dropped with the
    /// database.
    pub fn schema_with_roles(&self) -> String {
        let schema = format!("schema_{}", uuid::Uuid::new_v4().simple());
        let mut roles = self.roles.lock().expect("no panic");
        for role in ["owner", "writer", "reader"] {
            roles.extend([format!("{schema}_{role}_login"), format!("{schema}_{role}")]);
        }
        schema
    }

    /// Runs a statement on each node, outside of the database.
    async fn everywhere(&self, sql: &str) {
        for node in &self.nodes {
            let client = connect(node).await;
            // Where the nodes' own databases are a cluster, each would do it on all others, too.
            let alone = "SET citus.enable_create_database_propagation = off; \
                         SET citus.enable_create_role_propagation = off";
            client.batch_execute(alone).await.expect("set");
            client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let roles = self.roles.lock().expect("no panic").join(", ");
                runtime.expect("a runtime").block_on(async {
                    self.everywhere(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
                    if !roles.is_empty() {
                        self.everywhere(&format!("DROP ROLE IF EXISTS {roles}")).await;
                    }
                });
            });
        });
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the cluster takes connections");
    tokio::spawn(connection);
    client
}

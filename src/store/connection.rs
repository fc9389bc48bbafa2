//! Connections: the pool, and a connection that is given back only in a clean state.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use deadpool::Runtime;
use deadpool::managed::{self, Object, PoolError, TimeoutType};
use deadpool_postgres::ClientWrapper;
use futures_util::future;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, Error as DriverError, Row};

use super::TraceStore;
use super::connect::{Connector, Pooled};
use super::schema::SchemaInfo;
use crate::error::{Error, Result};
use crate::settings::Settings;

pub(super) type Pool = managed::Pool<Connector>;

pub(super) fn pool(settings: &Settings) -> Result<Pool> {
    if !settings.connection_string.is_empty() || settings.connection_string_file.is_some() {
        settings.connection()?;
    }
    Pool::builder(Connector::new(settings))
        .max_size(settings.pool_size)
        .runtime(Runtime::Tokio1)
        // Connecting limits itself, host by host.
        .wait_timeout(Some(Duration::from_secs(settings.connect_timeout_seconds)))
        .build()
        .map_err(|error| Error::Connect {
            target: settings.target(),
            reason: error.to_string(),
            transient: false,
        })
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];
type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// The most statements that stay prepared on a connection, at some 100 kB each on the server.
const MAX_PREPARED: usize = 100;

/// A connection from the pool. Dropped before [`give_back`](Connection::give_back), it is closed: it may be in the
/// middle of a transaction.
///
/// Its methods are the driver's, but for what a pooler in transaction mode needs: there each statement runs in a
/// transaction, and nothing of it is left at its end.
pub(crate) struct Connection {
    session: Object<Connector>,
    clean: bool,
}

impl Connection {
    pub(crate) fn give_back(mut self) {
        self.clean = true;
    }

    /// Prepares statements that are to travel in one flight. Behind a pooler they are never prepared.
    pub(crate) async fn prepare_ahead(&self, statements: &[&str]) -> Result<(), DriverError> {
        if self.session.pooled.is_none() {
            for sql in statements {
                self.session.client.prepare_cached(sql).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement that stays prepared on the connection.
    pub(crate) async fn query_prepared(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => {
                // Searches have as many forms as conditions can be combined.
                if client.statement_cache.size() >= MAX_PREPARED {
                    client.statement_cache.clear();
                }
                client.query(&client.prepare_cached(sql).await?, parameters).await
            }
            Some(pooled) => {
                let call = async {
                    client.query_typed(sql, &pooled.known_types(client, sql, parameters).await?).await
                };
                self.in_transaction(call).await
            }
        }
    }

    /// As [`query_prepared`](Self::query_prepared), for the number of rows that were changed.
    pub(crate) async fn execute_prepared(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.execute(&client.prepare_cached(sql).await?, parameters).await,
            Some(pooled) => {
                let call = async {
                    client.execute_typed(sql, &pooled.known_types(client, sql, parameters).await?).await
                };
                self.in_transaction(call).await
            }
        }
    }

    /// Runs a statement, prepared ahead, that is on its way as soon as this is polled: others can be sent behind it.
    pub(crate) async fn query_typed(
        &self,
        sql: &str,
        parameters: &[Typed<'_>],
    ) -> Result<Vec<Row>, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => {
                let values: Vec<_> = parameters.iter().map(|(value, _)| *value).collect();
                client.query(&client.prepare_cached(sql).await?, &values).await
            }
            Some(_) => client.query_typed(sql, parameters).await,
        }
    }

    /// Starts a COPY, within a transaction.
    pub(crate) async fn copy_in(&self, sql: &str) -> Result<CopyInSink<Bytes>, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.copy_in(&client.prepare_cached(sql).await?).await,
            // Closes its statement when it has begun, so before any COMMIT.
            Some(_) => client.copy_in(sql).await,
        }
    }

    pub(crate) async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.query(sql, parameters).await,
            Some(_) => {
                let call =
                    async { client.query_typed(sql, &with_types(client, sql, parameters).await?).await };
                self.in_transaction(call).await
            }
        }
    }

    pub(crate) async fn query_one(&self, sql: &str, parameters: Parameters<'_>) -> Result<Row, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.query_one(sql, parameters).await,
            Some(_) => {
                let call =
                    async { client.query_typed_one(sql, &with_types(client, sql, parameters).await?).await };
                self.in_transaction(call).await
            }
        }
    }

    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.query_opt(sql, parameters).await,
            Some(_) => {
                let call =
                    async { client.query_typed_opt(sql, &with_types(client, sql, parameters).await?).await };
                self.in_transaction(call).await
            }
        }
    }

    pub(crate) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, DriverError> {
        let client = &self.session.client;
        match &self.session.pooled {
            None => client.execute(sql, parameters).await,
            Some(_) => {
                let call =
                    async { client.execute_typed(sql, &with_types(client, sql, parameters).await?).await };
                self.in_transaction(call).await
            }
        }
    }

    /// Runs statements without parameters. BEGIN, COMMIT and ROLLBACK are the first word of a call of their own.
    pub(crate) async fn batch_execute(&self, sql: &str) -> Result<(), DriverError> {
        let client = &self.session.client;
        let Some(Pooled { set_up, in_transaction, .. }) = &self.session.pooled else {
            return client.batch_execute(sql).await;
        };
        if sql.starts_with("BEGIN") {
            in_transaction.store(true, Ordering::Relaxed);
            return client.batch_execute(&format!("{sql}; {set_up}")).await;
        }
        if sql.starts_with("COMMIT") || sql.starts_with("ROLLBACK") {
            in_transaction.store(false, Ordering::Relaxed);
        }
        client.batch_execute(sql).await
    }

    /// Behind a pooler, makes a transaction for a call that is not in one.
    async fn in_transaction<T>(
        &self,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        match &self.session.pooled {
            Some(pooled) if !pooled.in_transaction.load(Ordering::Relaxed) => {
                let (begun, result) = future::join(self.batch_execute("BEGIN"), call).await;
                begun?;
                // The call's error is the one to report.
                let ended = self.batch_execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
                result.and_then(|value| ended.map(|()| value))
            }
            _ => call.await,
        }
    }
}

/// Parameters with the types that the server has for them. The statement that asks for these is closed at once, since
/// rows would keep one open beyond the transaction: it is run without a name.
async fn with_types<'a>(
    client: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'a>,
) -> Result<Vec<Typed<'a>>, DriverError> {
    let statement = client.prepare(sql).await?;
    Ok(parameters.iter().copied().zip(statement.params().iter().cloned()).collect())
}

impl Pooled {
    /// As [`with_types`], which asks once for each of the statements that are used again.
    async fn known_types<'a>(
        &self,
        client: &ClientWrapper,
        sql: &str,
        parameters: Parameters<'a>,
    ) -> Result<Vec<Typed<'a>>, DriverError> {
        if let Some(types) = self.types.get(sql) {
            return Ok(parameters.iter().copied().zip(types.iter().cloned()).collect());
        }
        let typed = with_types(client, sql, parameters).await?;
        self.types.insert(sql.to_owned(), typed.iter().map(|(_, known)| known.clone()).collect());
        Ok(typed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.clean {
            self.session.ended.store(true, Ordering::Relaxed);
            self.session.task.abort();
        }
    }
}

impl TraceStore {
    /// A connection to a database whose schema is known to be there.
    pub(crate) async fn connection(&self) -> Result<(Connection, Arc<SchemaInfo>)> {
        let schema = self.ready().await?;
        Ok((self.any_connection().await?, schema))
    }

    /// A connection to a database in whatever state.
    pub(super) async fn any_connection(&self) -> Result<Connection> {
        let settings = &self.inner.settings;
        let failed = |reason, transient| Error::Connect { target: settings.target(), reason, transient };
        match self.inner.pool.get().await {
            Ok(session) => Ok(Connection { session, clean: false }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(failed(
                format!(
                    "all {} connections were in use for {} s (setting `pool_size`)",
                    settings.pool_size, settings.connect_timeout_seconds
                ),
                true,
            )),
            Err(error) => Err(failed(error.to_string(), false)),
        }
    }

    /// Runs a call on the database for at most `statement_timeout_seconds`.
    pub(crate) async fn timed<T>(
        &self,
        doing: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let seconds = self.inner.settings.statement_timeout_seconds;
        match tokio::time::timeout(Duration::from_secs(seconds), call).await {
            Ok(result) => {
                result.inspect_err(|error| self.learn_from(error)).map_err(|error| self.explained(error))
            }
            Err(_) => Err(Error::Timeout { doing, seconds: seconds as f64 }),
        }
    }

    /// Closes all connections when one turns out to lead to a server that is no longer the primary: the next are made
    /// to the one that is. Looks at the schema anew when a type or an operator is gone: pgvector's may be elsewhere now.
    pub(super) fn learn_from(&self, error: &Error) {
        let Error::Database { source, .. } = error else { return };
        let code = source.code();
        if code == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
            self.inner.pool.retain(|_, _| false);
        } else if code == Some(&SqlState::UNDEFINED_OBJECT) || code == Some(&SqlState::UNDEFINED_FUNCTION) {
            *self.known_schema() = None;
        }
    }
}

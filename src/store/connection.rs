//! Connections: the pool, and a connection that is given back only in a clean state.

use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use super::TraceStore;
use super::schema::SchemaInfo;
use crate::error::{Error, Result};
use crate::settings::Settings;

pub(super) fn pool(settings: &Settings) -> Result<Pool> {
    let timeout = Duration::from_secs(settings.connect_timeout_seconds);
    let mut config = tokio_postgres::Config::from_str(&settings.connection_string)
        .map_err(|_| refused("cannot be read"))?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(timeout);
    }
    if config.get_application_name().is_none() {
        config.application_name(env!("CARGO_PKG_NAME"));
    }
    let manager =
        Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(settings.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(timeout))
        .create_timeout(Some(timeout))
        .build()
        .map_err(|error| refused(&error.to_string()))
}

fn refused(reason: &str) -> Error {
    Error::Setting {
        key: "connection_string".into(),
        value: "<hidden>".into(),
        layer: "builder".into(),
        reason: reason.into(),
    }
}

/// A connection from the pool. Dropped before [`give_back`](Connection::give_back), it is closed: it may be in the
/// middle of a transaction.
pub(crate) struct Connection(Option<Object>);

impl Connection {
    pub(crate) fn give_back(mut self) {
        self.0.take();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Connection {
    type Target = Object;

    fn deref(&self) -> &Object {
        // `None` only while dropping.
        self.0.as_ref().unwrap_or_else(|| unreachable!("a connection is used after it was given back"))
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Object {
        self.0.as_mut().unwrap_or_else(|| unreachable!("a connection is used after it was given back"))
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
        let target = || self.inner.settings.target();
        match self.inner.pool.get().await {
            Ok(object) => Ok(Connection(Some(object))),
            Err(PoolError::Backend(error)) => Err(Error::connect(target(), &error)),
            Err(PoolError::Timeout(_)) => Err(Error::Connect {
                target: target(),
                reason: format!("no connection within {} s", self.inner.settings.connect_timeout_seconds),
                transient: true,
            }),
            Err(error) => {
                Err(Error::Connect { target: target(), reason: error.to_string(), transient: false })
            }
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
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { doing, seconds: seconds as f64 }),
        }
    }
}

//! A server on a store: it receives OTLP, answers as Jaeger does, and has a page for people.
//!
//! What it receives goes the way of the exporter: an answer of success means that the spans are committed, or in the spool.
//! Where they are neither, the sender is asked to send them again, and nothing waits in memory. Whoever looks needs the
//! reader's rights only.
//!
//! ```no_run
//! # async fn example() -> opentelemetry_pgvector::Result<()> {
//! use opentelemetry_pgvector::Settings;
//! use opentelemetry_pgvector::serve::{Config, Receive, Server};
//!
//! let settings = Settings::from_env()?;
//! let config = Config { receive: Some(Receive::new(settings.clone())), ..Config::new(settings) };
//! let server = Server::bind(config)?;
//! println!("Jaeger's API is at {:?}", server.addresses().api);
//! server.run(std::future::pending()).await
//! # }
//! ```

mod answer;
mod api;
mod auth;
mod config;
mod counting;
mod health;
#[doc(hidden)]
pub mod highlight;
mod hosts;
#[doc(hidden)]
pub mod human;
mod jaeger;
mod listen;
mod names;
mod page;
mod parameters;
mod period;
mod receive;
mod slots;
#[doc(hidden)]
pub mod trace;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::middleware::from_fn_with_state;
use axum_server::Control;
use futures_util::future::try_join_all;
use opentelemetry::{otel_info, otel_warn};
use tokio::sync::Semaphore;

pub use auth::Credentials;
pub use config::{Config, Limits, Receive, Tls};

use crate::error::Result;
use crate::store::TraceStore;
use auth::Guard;
use health::Watch;
use hosts::Hosts;
use listen::{Listener, Listeners};
use names::KnownNames;
use receive::Receiver;

/// How long requests that are under way may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// A server that has its addresses.
pub struct Server {
    listeners: Vec<Listener>,
    listening: Listeners,
    addresses: Addresses,
    receiver: Option<Arc<Receiver>>,
    counting: Option<TraceStore>,
    flush_timeout: Duration,
}

/// What the routes of the page and of the APIs share.
#[derive(Clone)]
struct Shared {
    store: TraceStore,
    limits: Limits,
    /// Room for requests that ask something of the store.
    free: Arc<Semaphore>,
    guard: Arc<Guard>,
    watch: Watch,
    names: KnownNames,
}

/// Where a server listens; the ports that the system chose where the configuration has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// The page, and Jaeger's API.
    pub api: SocketAddr,
    /// OTLP by gRPC.
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP by HTTP.
    pub otlp_http: Option<SocketAddr>,
}

impl Server {
    /// Takes the addresses. From now on clients can connect, but are not answered before [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where an address is taken; [`Error::Input`](crate::Error::Input) for a certificate
    /// or credentials that cannot be; [`Error::Setting`](crate::Error::Setting).
    pub fn bind(config: Config) -> Result<Self> {
        config.limits.validate()?;
        let guard = Arc::new(Guard::new(&config.credentials)?);
        let listening = Listeners::new(config.tls.as_ref())?;
        let hosts = |address| Hosts::new(&config.credentials, &config.allowed_hosts, address);
        let store = TraceStore::new(config.settings)?;
        let receiver = match &config.receive {
            Some(receive) => Some(Arc::new(Receiver::new(receive.settings.clone(), config.limits)?)),
            None => None,
        };
        let shared = Shared {
            limits: config.limits,
            free: Arc::new(Semaphore::new(config.limits.answering)),
            guard: Arc::clone(&guard),
            watch: Watch::new(store.clone(), receiver.as_ref().map(|receiver| receiver.handle())),
            names: KnownNames::new(store.clone()),
            store,
        };
        let pages = page::routes(shared.clone());
        let routes = jaeger::routes(shared.clone()).merge(api::routes(shared)?).merge(pages);
        let api =
            Listener::bind(config.api, routes.layer(from_fn_with_state(hosts(config.api), hosts::require)))?;
        let of_pages = |address| from_fn_with_state(hosts(address), hosts::require_of_pages);
        let mut addresses = Addresses { api: api.address, otlp_grpc: None, otlp_http: None };
        let mut listeners = vec![api];
        let mut counting = None;
        let mut flush_timeout = Duration::ZERO;
        if let (Some(receive), Some(receiver)) = (config.receive, &receiver) {
            flush_timeout = Duration::from_secs(receive.settings.flush_timeout_seconds);
            counting = Some(TraceStore::new(receive.settings)?);
            if let Some(address) = receive.grpc {
                let routes = receive::grpc::routes(receiver, Arc::clone(&guard));
                let listener = Listener::bind(address, routes.layer(of_pages(address)))?;
                addresses.otlp_grpc = Some(listener.address);
                listeners.push(listener);
            }
            if let Some(address) = receive.http {
                let routes = receive::http::routes(receiver, guard);
                let listener = Listener::bind(address, routes.layer(of_pages(address)))?;
                addresses.otlp_http = Some(listener.address);
                listeners.push(listener);
            }
        }
        Ok(Server { listeners, listening, addresses, receiver, counting, flush_timeout })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers requests until `stop` is ready. Then it accepts no more connections, ends what is under way within 10 s,
    /// and stores or spools what it holds within `flush_timeout_seconds`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where the system ends a listener, or where spans that wait for the spool are lost
    /// at the end.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let control = Control::new();
        let serving = try_join_all(
            self.listeners.into_iter().map(|listener| self.listening.serve(listener, control.clone())),
        );
        let counting = async {
            match self.counting {
                Some(store) => counting::run(store).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served.map(drop),
            () = counting => Ok(()),
            () = stop => {
                otel_info!(name: "Server.Stopping", connections = control.connection_count());
                control.graceful_shutdown(Some(GRACE));
                serving.await.map(drop)
            }
        };
        if let Some(receiver) = self.receiver {
            let begin = Instant::now();
            let flushed = receiver.shut_down(self.flush_timeout).await;
            if let Err(error) = &flushed {
                otel_warn!(name: "Server.FlushFailed", reason = error.to_string(), s = begin.elapsed().as_secs());
            }
            return served.and(flushed);
        }
        served
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

//! A server of the test's own, on ports that the system chooses.

use std::net::{Ipv4Addr, SocketAddr};

use opentelemetry_pgvector::serve::{Addresses, Config, Receive, Server};
use opentelemetry_pgvector::{Result, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that is stopped with the test.
pub struct TestServer {
    pub addresses: Addresses,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<()>>,
}

/// A configuration with both kinds of receiving.
pub fn receiving(settings: Settings) -> Config {
    let mut receive = Receive::new(settings.clone());
    (receive.grpc, receive.http) = (Some(any_port()), Some(any_port()));
    Config { api: any_port(), receive: Some(receive), ..Config::new(settings) }
}

/// A configuration without any.
pub fn looking(settings: Settings) -> Config {
    Config { api: any_port(), ..Config::new(settings) }
}

pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl TestServer {
    pub fn start(config: Config) -> Self {
        let server = Server::bind(config).expect("a server");
        let (stop, stopped) = oneshot::channel();
        let addresses = server.addresses();
        let run = tokio::spawn(server.run(async move { drop(stopped.await) }));
        TestServer { addresses, stop, run }
    }

    /// A URL of Jaeger's API.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.api)
    }

    /// Where traces come by HTTP.
    pub fn traces(&self) -> String {
        format!("http://{}/v1/traces", self.addresses.otlp_http.expect("it receives"))
    }

    /// Where OTLP comes by gRPC.
    pub fn grpc(&self) -> String {
        format!("http://{}", self.addresses.otlp_grpc.expect("it receives"))
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        self.run.await.expect("no panic")
    }
}

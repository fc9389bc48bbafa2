//! What a server does, where, and for whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Credentials;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// A server's configuration. All addresses are on this machine's loopback unless others are given.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store to look at. The reader's rights are enough. A server never changes the schema through it.
    pub settings: Settings,
    /// Where the page and Jaeger's API are; 127.0.0.1:16686 by default.
    pub api: SocketAddr,
    /// What is received; nothing by default.
    pub receive: Option<Receive>,
    /// How much is done at a time.
    pub limits: Limits,
    /// Who is let in; everyone by default.
    pub credentials: Credentials,
    /// By which names the page and the APIs may be called where [`api`](Self::api) is a loopback address and there are no
    /// credentials, besides `localhost` and addresses; none by default. A page of another site cannot read the traces then.
    pub allowed_hosts: Vec<String>,
    /// The certificate, for all addresses; by default connections are not encrypted.
    pub tls: Option<Tls>,
}

/// Receiving OTLP.
#[derive(Clone, Debug)]
pub struct Receive {
    /// The store to write to, with its spool. The writer's rights are enough.
    pub settings: Settings,
    /// Where OTLP comes by gRPC; 127.0.0.1:4317 by default.
    pub grpc: Option<SocketAddr>,
    /// Where OTLP comes by HTTP, to the path /v1/traces; 127.0.0.1:4318 by default.
    pub http: Option<SocketAddr>,
}

/// A server's certificate and key.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate in PEM, with those that lead to its authority behind it.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

/// How much a server does at a time. What is beyond is refused at once: nothing queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request with spans in bytes, before and after it is unpacked; 16 MiB by default.
    pub request_bytes: usize,
    /// Requests with spans at a time; 32 by default. One is given up when nothing comes of its body for 5 s. What they
    /// decode to takes so many times `request_bytes` at most, and at least 16 times.
    pub receiving: usize,
    /// Requests for traces at a time, until their answers are taken; 16 by default. More than `pool_size` of them wait for a connection.
    pub answering: usize,
    /// The most traces in an answer, up to 1000, which is the default.
    pub traces: usize,
    /// The most spans in an answer with several traces; 100,000 by default. A single trace is answered whole.
    pub spans: usize,
    /// How long a request may take, and how long a client may take nothing of an answer; 60 s by default. A statement takes
    /// `statement_timeout_seconds` at most.
    pub timeout: Duration,
}

impl Config {
    /// Looking at a store, on this machine.
    pub fn new(mut settings: Settings) -> Self {
        settings.migrate = false;
        Config {
            settings,
            api: local(16686),
            receive: None,
            limits: Limits::default(),
            credentials: Credentials::None,
            allowed_hosts: Vec::new(),
            tls: None,
        }
    }
}

impl Receive {
    /// Receiving by gRPC and by HTTP, on this machine.
    pub fn new(settings: Settings) -> Self {
        Receive { settings, grpc: Some(local(4317)), http: Some(local(4318)) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: 16 << 20,
            receiving: 32,
            answering: 16,
            traces: 1000,
            spans: 100_000,
            timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// # Errors
    /// [`Error::Input`] where nothing could be done with them.
    pub(super) fn validate(&self) -> Result<()> {
        let least =
            [self.request_bytes, self.receiving, self.answering, self.traces, self.spans].into_iter().min();
        if least == Some(0) || self.timeout.is_zero() {
            return Err(Error::Input {
                origin: "limits of the server".into(),
                reason: format!("each is at least 1: {self:?}"),
            });
        }
        Ok(())
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

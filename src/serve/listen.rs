//! Addresses: bound first, served later, with or without TLS.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use axum_server::{Control, Handle, Server};
use opentelemetry::otel_debug;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Tls;
use crate::error::{Error, Result};

/// How long a connection may be open without a request, and the handshake of TLS may take.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/1 may be open without a later one. Exporters send every few seconds.
const NEXT_REQUEST: Duration = Duration::from_secs(120);
/// How often the other end of a connection of HTTP/2 is asked whether it is still there, and how long its answer may take.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// An address that was taken, with what is served there.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    socket: TcpListener,
    routes: Router,
}

impl Listener {
    /// # Errors
    /// [`Error::Io`] where the address is taken or not this machine's.
    pub(super) fn bind(address: SocketAddr, routes: Router) -> Result<Self> {
        let listening = |source| Error::Io { doing: format!("listening at {address}"), source };
        let socket = TcpListener::bind(address).map_err(listening)?;
        socket.set_nonblocking(true).map_err(listening)?;
        Ok(Listener { address: socket.local_addr().map_err(listening)?, socket, routes })
    }
}

/// How all addresses of a server are served.
pub(super) struct Listeners {
    tls: Option<RustlsConfig>,
}

type Serving = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

impl Listeners {
    /// # Errors
    /// [`Error::Input`] for a certificate or key that cannot be used.
    pub(super) fn new(tls: Option<&Tls>) -> Result<Self> {
        Ok(Listeners { tls: tls.map(server_config).transpose()?.map(RustlsConfig::from_config) })
    }

    /// Answers until the control ends it.
    pub(super) fn serve(&self, listener: Listener, control: Control) -> Serving {
        let Listener { address, socket, routes } = listener;
        let serving = move |source| Error::Io { doing: format!("serving {address}"), source };
        let service = routes.into_make_service();
        match self.tls.clone() {
            None => Box::pin(async move {
                let server = axum_server::from_tcp(socket).map_err(serving)?;
                bounded(server, control).serve(service).await.map_err(serving)
            }),
            Some(tls) => Box::pin(async move {
                let server = axum_server::from_tcp_rustls(socket, tls).map_err(serving)?;
                bounded(server, control).serve(service).await.map_err(serving)
            }),
        }
    }
}

/// Keeps no connection of which the other end is gone, or asks for nothing.
fn bounded<A>(mut server: Server<SocketAddr, A>, control: Control) -> Server<SocketAddr, A> {
    server.http_builder().http1().header_read_timeout(NEXT_REQUEST);
    server.http_builder().http2().keep_alive_interval(PING).keep_alive_timeout(PONG);
    let server = server.handle(Handle::with_control(control)).first_request_timeout(FIRST_REQUEST);
    server.accept_error_handler(|_: Option<&SocketAddr>, error| {
        otel_debug!(name: "Server.ConnectionRefused", reason = error.to_string());
    })
}

fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let wrong = |path: &std::path::Path, reason: String| Error::Input {
        origin: format!("TLS: {}", path.display()),
        reason,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

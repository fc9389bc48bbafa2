//! By what name a server is called that lets in everyone of its own machine: a page of another site may give that site's name
//! the address of this machine, read the answers, and send spans.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Credentials;

/// The names of a server, besides `localhost` and addresses; `None` where any will do.
#[derive(Clone)]
pub(super) struct Hosts(Option<Arc<[String]>>);

impl Hosts {
    /// Names matter where nothing else tells who asks.
    pub(super) fn new(credentials: &Credentials, allowed: &[String], address: SocketAddr) -> Self {
        let is_open_here = *credentials == Credentials::None && address.ip().is_loopback();
        Hosts(is_open_here.then(|| allowed.into()))
    }

    fn lets_in(&self, request: &Request) -> bool {
        let Some(allowed) = &self.0 else { return true };
        let knows = |host: &str| {
            let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok()
                || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
        };
        let authority = request.uri().host().is_none_or(knows);
        // Browsers always send one of the two.
        let header = request.headers().get(HOST).is_none_or(|header| {
            let named = header.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            named.is_some_and(|named| knows(named.host()))
        });
        authority && header
    }
}

/// Lets a request through that calls the server by one of its names.
pub(super) async fn require(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if hosts.lets_in(&request) {
        return next.run(request).await;
    }
    refusal()
}

/// The same for what senders of spans call, by whatever name leads here: only what a page sends has an `Origin`, and browsers
/// let no page send without it.
pub(super) async fn require_of_pages(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(ORIGIN) || hosts.lets_in(&request) {
        return next.run(request).await;
    }
    refusal()
}

fn refusal() -> Response {
    let reason = "The server does not know the name by which it is called: name it in --allowed-host \
                  (OTEL_PGVECTOR_SERVE_ALLOWED_HOST), or call it localhost.\n";
    (StatusCode::FORBIDDEN, reason).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::Settings;
    use crate::serve::Config;

    fn config() -> Config {
        Config { allowed_hosts: vec!["traces.example".into()], ..Config::new(Settings::default()) }
    }

    fn lets_in(config: &Config, uri: &str, host: Option<&str>) -> bool {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let hosts = Hosts::new(&config.credentials, &config.allowed_hosts, config.api);
        hosts.lets_in(&request.body(Body::empty()).expect("a request"))
    }

    #[test]
    fn an_open_server_of_this_machine_is_called_by_its_names_alone() {
        let config = config();
        for host in [
            "localhost",
            "LOCALHOST:16686",
            "localhost.",
            "127.0.0.1:16686",
            "[::1]:16686",
            "10.0.0.7",
            "traces.example:80",
        ] {
            assert!(lets_in(&config, "/", Some(host)), "{host}");
            assert!(lets_in(&config, &format!("http://{host}/"), None), "{host}");
        }
        for host in ["evil.example", "evil.example:16686", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert!(!lets_in(&config, "/", Some(host)), "{host}");
            assert!(!lets_in(&config, &format!("http://{host}/"), None), "{host}");
        }
        assert!(!lets_in(&config, "/", Some("a b")));
        assert!(lets_in(&config, "/", None));
    }

    #[test]
    fn names_do_not_matter_where_others_may_come_or_credentials_tell_who_asks() {
        let evil = Some("evil.example");
        let config = config();
        let secret = Config { credentials: Credentials::Bearer("s3cret".into()), ..config.clone() };
        assert!(lets_in(&secret, "/", evil));
        let open = Config { api: ([0, 0, 0, 0], 16686).into(), ..config };
        assert!(lets_in(&open, "/", evil));
    }
}

//! Jaeger and Tempo, played on the loopback.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: axum::http::HeaderMap,
}

impl Asked {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> i64 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} in {self:?}"))
    }
}

type Answering = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

/// A server that answers requests as a function says, and remembers them.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Shared {
    answer: Box<Answering>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { answer: Box::new(answer), asked: Arc::clone(&asked) });
        let router = Router::new().fallback(respond).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn respond(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let asked = Asked {
        path: request.uri().path().to_owned(),
        query: pairs.map(|(key, value)| (decode(key), decode(value))).collect(),
        headers: request.headers().clone(),
    };
    let (status, body) = (shared.answer)(&asked);
    shared.asked.lock().expect("no panic").push(asked);
    (StatusCode::from_u16(status).expect("a status"), body).into_response()
}

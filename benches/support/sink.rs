//! A collector that acknowledges spans and forgets them, in a process of its own: its CPU time is not the client's.

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::child::{self, Child};

/// The sink's process, and where it listens.
pub struct Sink {
    pub grpc: String,
    pub http: String,
    _process: Child,
}

impl Sink {
    pub fn start() -> Sink {
        let mut process = Child::start("sink", "");
        let (grpc, http) = process.ask("where");
        Sink { grpc, http, _process: process }
    }
}

/// Whether this process is the sink; then it has been one for as long as it was needed.
pub fn was_sink() -> bool {
    if child::role().is_none() {
        return false;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let addresses = runtime.block_on(listen());
    child::answer_each(|_| &addresses);
    true
}

async fn listen() -> (String, String) {
    let (grpc, grpc_address) = listener().await;
    let (http, http_address) = listener().await;
    let service = TraceServiceServer::new(Forgetful);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(grpc)));
    let router = axum::Router::new().fallback(async |_: Bytes| ());
    tokio::spawn(async { axum::serve(http, router).await });
    (grpc_address, format!("{http_address}/v1/traces"))
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, format!("http://{address}"))
}

struct Forgetful;

#[tonic::async_trait]
impl TraceService for Forgetful {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

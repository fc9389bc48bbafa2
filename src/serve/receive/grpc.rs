//! OTLP by gRPC.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use prost::bytes::Buf;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use super::answer::Refusal;
use super::stall::{self, Stalled};
use super::{Received, Receiver};
use crate::serve::auth::{self, Guard};
use crate::serve::slots::{self, Slots};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The service, for whom the guard lets in.
pub(in crate::serve) fn routes(receiver: &Arc<Receiver>, guard: Arc<Guard>) -> Router {
    let slots = Slots {
        free: Arc::clone(&receiver.slots),
        timeout: receiver.limits.timeout,
        busy: || Refusal::busy().status().into_http(),
        late: || Refusal::late().status().into_http(),
    };
    let stalled: Stalled = || Refusal::stalled().status().into_http();
    let refuse: auth::Refuse = |_| Refusal::unauthenticated().status().into_http();
    Router::new()
        .route(EXPORT, post(export))
        .fallback(unknown)
        .with_state(Arc::clone(receiver))
        .layer(from_fn_with_state(receiver.limits.request_bytes, too_large))
        .layer(from_fn_with_state(stalled, stall::give_up))
        .layer(from_fn_with_state(slots, slots::take))
        .layer(from_fn_with_state((guard, refuse), auth::require))
        .layer(from_fn(only_grpc))
}

async fn export(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let mut service = Grpc::new(Undecoded).max_decoding_message_size(receiver.limits.request_bytes);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        service = service.accept_compressed(encoding).send_compressed(encoding);
    }
    service.unary(Service(receiver), request).await.map(Body::new)
}

struct Service(Arc<Receiver>);

impl UnaryService<Bytes> for Service {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<tonic::Response<ExportTraceServiceResponse>, Status>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let receiver = Arc::clone(&self.0);
        Box::pin(async move {
            match receiver.receive_protobuf(request.into_inner()).await {
                Ok(received) => Ok(tonic::Response::new(response(received))),
                Err(refused) => Err(refused.status()),
            }
        })
    }
}

/// Leaves requests as bytes, so that they are weighed before they are decoded.
#[derive(Clone, Copy)]
struct Undecoded;

impl Codec for Undecoded {
    type Encode = ExportTraceServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Undecoded
    }

    fn decoder(&mut self) -> Self {
        Undecoded
    }
}

impl Encoder for Undecoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, message: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Undecoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What was received; partially where spans were rejected.
pub(super) fn response(received: Received) -> ExportTraceServiceResponse {
    let partial_success = (received.rejected > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(received.rejected).unwrap_or(i64::MAX),
        error_message: received.reason,
    });
    ExportTraceServiceResponse { partial_success }
}

/// The services for logs and metrics, and anything else.
async fn unknown(request: Request) -> Response {
    Refusal::traces_only(request.uri().path()).status().into_http()
}

/// A message beyond the limit is `OUT_OF_RANGE` for the library, at which a sender of OTLP tries again for ever.
async fn too_large(State(limit): State<usize>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_too_large = Status::from_header_map(response.headers())
        .is_some_and(|status| matches!(status.code(), Code::OutOfRange));
    if is_too_large { Refusal::too_large(limit).status().into_http() } else { response }
}

/// Whoever speaks plain HTTP to this port is told where to go.
async fn only_grpc(request: Request, next: Next) -> Response {
    let is_grpc = request
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return next.run(request).await;
    }
    let mut response = Response::new("this is OTLP by gRPC; OTLP by HTTP has a port of its own\n".into());
    *response.status_mut() = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

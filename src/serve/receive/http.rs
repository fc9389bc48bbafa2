//! OTLP by HTTP: protobuf and JSON, packed with gzip or zstd or not.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{from_fn_with_state, map_request};
use axum::response::Response;
use axum::routing::post;
use http_body_util::LengthLimitError;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use serde_json::json;
use tonic::Code;
use tower_http::decompression::RequestDecompressionLayer;

use super::answer::Refusal;
use super::stall::{self, Stalled};
use super::{Received, Receiver, grpc, weigh};
use crate::import::otlp_json::read_spans;
use crate::serve::auth::{self, Guard};
use crate::serve::slots::{self, Slots};
use crate::span::{Span, spans_to_otlp};

/// The path /v1/traces, for whom the guard lets in.
pub(in crate::serve) fn routes(receiver: &Arc<Receiver>, guard: Arc<Guard>) -> Router {
    let slots = Slots {
        free: Arc::clone(&receiver.slots),
        timeout: receiver.limits.timeout,
        busy: || refusal(Form::Protobuf, Refusal::busy()),
        late: || refusal(Form::Protobuf, Refusal::late()),
    };
    let stalled: Stalled = || refusal(Form::Protobuf, Refusal::stalled());
    let refuse: auth::Refuse = |challenge| {
        let mut response = refusal(Form::Protobuf, Refusal::unauthenticated());
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    };
    Router::new()
        .route("/v1/traces", post(traces))
        .fallback(unknown)
        .with_state(Arc::clone(receiver))
        .layer(RequestDecompressionLayer::new())
        .layer(map_request(coding))
        .layer(from_fn_with_state(stalled, stall::give_up))
        .layer(from_fn_with_state(slots, slots::take))
        .layer(from_fn_with_state((guard, refuse), auth::require))
}

/// Names of content codings are the same in capitals, and `x-gzip` is `gzip`.
async fn coding(mut request: Request) -> Request {
    if let Some(coding) = request.headers_mut().get_mut(CONTENT_ENCODING) {
        let known = ["gzip", "x-gzip", "zstd", "identity"];
        if let Some(name) = known.iter().find(|name| coding.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
        {
            *coding = HeaderValue::from_static(name.trim_start_matches("x-"));
        }
    }
    request
}

/// How a request is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Form::Protobuf),
            "application/json" => Some(Form::Json),
            _ => None,
        }
    }
}

async fn traces(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let Some(form) = Form::of(request.headers()) else {
        let kinds = "expected the Content-Type application/x-protobuf or application/json";
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, Form::Json, Refusal::malformed(kinds));
    };
    let result = match body(request.into_body(), receiver.limits.request_bytes).await {
        Ok(bytes) => receive(&receiver, form, bytes).await,
        Err(refused) => Err(refused),
    };
    match result {
        Ok(response) => success(form, &response),
        Err(refused) => refusal(form, refused),
    }
}

/// All of the body, unpacked.
async fn body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        match std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>()) {
            true => Refusal::too_large(limit),
            false => Refusal::malformed(error),
        }
    })
}

async fn receive(
    receiver: &Receiver,
    form: Form,
    bytes: Bytes,
) -> Result<ExportTraceServiceResponse, Refusal> {
    let received = match form {
        Form::Protobuf => receiver.receive_protobuf(bytes).await?,
        Form::Json => receive_json(receiver, &bytes).await?,
    };
    Ok(grpc::response(received))
}

async fn receive_json(receiver: &Receiver, bytes: &[u8]) -> Result<Received, Refusal> {
    let _room = receiver.room(weigh::json(bytes))?;
    let mut unread = Vec::new();
    let resource_spans = from_json(bytes, &mut unread)?;
    let mut received =
        receiver.receive(resource_spans).await.map_err(|error| Refusal::unavailable(&error))?;
    if let Some(reason) = unread.first() {
        received.reason.clone_from(reason);
        received.rejected += unread.len();
    }
    Ok(received)
}

/// Spans of JSON; `unread` gets the reasons of those that cannot be.
fn from_json(bytes: &[u8], unread: &mut Vec<String>) -> Result<Vec<ResourceSpans>, Refusal> {
    let spans: Vec<Span<'_>> = read_spans(bytes)
        .map_err(Refusal::malformed)?
        .into_iter()
        .filter_map(|span| span.map_err(|reason| unread.push(reason)).ok())
        .collect();
    Ok(spans_to_otlp(&spans).resource_spans)
}

/// The paths for logs and metrics, and anything else.
async fn unknown(uri: Uri, headers: HeaderMap) -> Response {
    let form = Form::of(&headers).unwrap_or(Form::Json);
    answer(StatusCode::NOT_FOUND, form, Refusal::traces_only(uri.path()))
}

fn success(form: Form, message: &ExportTraceServiceResponse) -> Response {
    let body = match form {
        Form::Protobuf => message.encode_to_vec(),
        Form::Json => match &message.partial_success {
            None => b"{}".to_vec(),
            Some(partial) => json!({"partialSuccess": {
                "rejectedSpans": partial.rejected_spans.to_string(),
                "errorMessage": partial.error_message,
            }})
            .to_string()
            .into_bytes(),
        },
    };
    respond(StatusCode::OK, form, body)
}

/// A refusal with the status that tells whether to send again.
fn refusal(form: Form, refused: Refusal) -> Response {
    let status = match (refused.code, refused.retry) {
        (Code::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Code::ResourceExhausted, Some(_)) => StatusCode::TOO_MANY_REQUESTS,
        (Code::ResourceExhausted, None) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Code::Unimplemented, _) => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    answer(status, form, refused)
}

/// A `google.rpc.Status`, as OTLP has errors.
fn answer(status: StatusCode, form: Form, refused: Refusal) -> Response {
    let code = i32::from(refused.code);
    let body = match form {
        Form::Protobuf => {
            tonic_types::Status { code, message: refused.message, details: Vec::new() }.encode_to_vec()
        }
        Form::Json => json!({"code": code, "message": refused.message}).to_string().into_bytes(),
    };
    let mut response = respond(status, form, body);
    if let Some(delay) = refused.retry {
        let seconds = delay.as_secs_f64().ceil().max(1.0) as u64;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn respond(status: StatusCode, form: Form, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = match form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

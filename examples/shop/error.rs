//! What can go wrong, how the customer is told, and how the trace is.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use deadpool_postgres::PoolError;
use opentelemetry::trace::Status;
use serde_json::json;
use tokio_postgres::error::SqlState;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::record_exception;

pub type Result<T, E = ShopError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error("there is no product {0}")]
    UnknownProduct(String),
    #[error("there is no order {0}")]
    UnknownOrder(i64),
    #[error("the cart is empty")]
    EmptyCart,
    #[error("the warehouse has not enough stock left of {product}: {wanted} wanted")]
    OutOfStock { product: String, wanted: i64 },
    #[error("payment declined: {reason}")]
    PaymentDeclined { order: i64, reason: String },
    #[error("the payment service did not answer in time")]
    PaymentTimeout { order: i64 },
    #[error("the payment service failed: {0}")]
    PaymentService(#[from] reqwest::Error),
    #[error("only a paid order can be refunded, this one is {status}")]
    NotPaid { status: String },
    #[error("the database call timed out: {0}")]
    DatabaseTimeout(String),
    #[error("the database failed: {}", .0.as_db_error().map_or_else(|| .0.to_string(), ToString::to_string))]
    Database(tokio_postgres::Error),
    #[error("no connection to the database: {0}")]
    Pool(#[from] PoolError),
}

impl From<tokio_postgres::Error> for ShopError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::QUERY_CANCELED => {
                ShopError::DatabaseTimeout(db.message().into())
            }
            _ => ShopError::Database(error),
        }
    }
}

impl ShopError {
    /// A name for this kind of error (`error.type` and `exception.type`), and the status of the answer.
    fn classified(&self) -> (&'static str, StatusCode) {
        match self {
            ShopError::UnknownProduct(_) => ("UnknownProduct", StatusCode::NOT_FOUND),
            ShopError::UnknownOrder(_) => ("UnknownOrder", StatusCode::NOT_FOUND),
            ShopError::EmptyCart => ("EmptyCart", StatusCode::CONFLICT),
            ShopError::OutOfStock { .. } => ("OutOfStock", StatusCode::CONFLICT),
            ShopError::NotPaid { .. } => ("NotPaid", StatusCode::CONFLICT),
            ShopError::PaymentDeclined { .. } => ("PaymentDeclined", StatusCode::PAYMENT_REQUIRED),
            ShopError::PaymentTimeout { .. } => ("PaymentTimeout", StatusCode::GATEWAY_TIMEOUT),
            ShopError::PaymentService(_) => ("PaymentService", StatusCode::BAD_GATEWAY),
            ShopError::DatabaseTimeout(_) => ("DatabaseTimeout", StatusCode::SERVICE_UNAVAILABLE),
            ShopError::Pool(_) => ("Pool", StatusCode::SERVICE_UNAVAILABLE),
            ShopError::Database(_) => ("Database", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    pub fn kind(&self) -> &'static str {
        self.classified().0
    }
}

impl IntoResponse for ShopError {
    /// Answers, and tells the server span, which is the current one here. By the conventions, what the client did wrong
    /// is no failure of the server.
    fn into_response(self) -> Response {
        let (span, status) = (Span::current(), self.classified().1);
        record_exception(&span, &self);
        if status.is_server_error() {
            span.set_attribute("error.type", self.kind());
            span.set_status(Status::error(self.to_string()));
        }
        let mut answer = json!({ "error": self.to_string() });
        if let ShopError::PaymentDeclined { order, .. } | ShopError::PaymentTimeout { order } = self {
            answer["order_id"] = order.into();
        }
        (status, Json(answer)).into_response()
    }
}

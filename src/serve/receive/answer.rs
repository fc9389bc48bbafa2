//! What a sender is told, as the OpenTelemetry protocol has it: whether to send again, and when.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::stall::PATIENCE;
use crate::error::Error;

/// When to send again what could not be stored.
const LATER: Duration = Duration::from_secs(1);
/// When to send again what came while there was no room for it.
const SOON: Duration = Duration::from_millis(500);

/// A refusal, and when to send again; `None` is never.
pub(super) struct Refusal {
    pub code: Code,
    pub message: String,
    pub retry: Option<Duration>,
}

impl Refusal {
    /// The spans are neither stored nor spooled.
    pub(super) fn unavailable(error: &Error) -> Self {
        let retry = match error {
            Error::CircuitOpen { seconds } => Duration::from_secs_f64(seconds.max(0.1)),
            _ => LATER,
        };
        Refusal { code: Code::Unavailable, message: error.to_string(), retry: Some(retry) }
    }

    pub(super) fn busy() -> Self {
        Refusal {
            code: Code::ResourceExhausted,
            message: "as many requests as the server takes at a time are under way".into(),
            retry: Some(SOON),
        }
    }

    /// Whether the spans are stored is not known; they are recognised when they are sent again.
    pub(super) fn late() -> Self {
        let message = "the request took longer than it may".into();
        Refusal { code: Code::Unavailable, message, retry: Some(LATER) }
    }

    /// As [`late`](Self::late), for want of the body.
    pub(super) fn stalled() -> Self {
        let message = format!("nothing has come of the request's body for {} s", PATIENCE.as_secs());
        Refusal { code: Code::Unavailable, message, retry: Some(LATER) }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("a request may have {limit} bytes when unpacked: send smaller batches");
        Refusal { code: Code::ResourceExhausted, message, retry: None }
    }

    /// Of a request that is small enough, but for what it decodes to.
    pub(super) fn too_heavy(limit: usize) -> Self {
        let message = format!("a request may take {limit} bytes when decoded: send smaller batches");
        Refusal { code: Code::ResourceExhausted, message, retry: None }
    }

    pub(super) fn malformed(reason: impl std::fmt::Display) -> Self {
        Refusal { code: Code::InvalidArgument, message: format!("not OTLP traces: {reason}"), retry: None }
    }

    pub(super) fn traces_only(what: &str) -> Self {
        let message = format!("{what}: this server receives traces only; send logs and metrics elsewhere");
        Refusal { code: Code::Unimplemented, message, retry: None }
    }

    pub(super) fn unauthenticated() -> Self {
        let message = "the header Authorization is missing, or not the one that the server expects".into();
        Refusal { code: Code::Unauthenticated, message, retry: None }
    }

    /// As gRPC has it.
    pub(super) fn status(self) -> Status {
        match self.retry {
            Some(delay) => {
                let details = ErrorDetails::with_retry_info(Some(delay));
                Status::with_error_details(self.code, self.message, details)
            }
            None => Status::new(self.code, self.message),
        }
    }
}

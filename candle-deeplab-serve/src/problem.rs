//! What is answered to a request that cannot be served.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request is not served: a status and a sentence, which is the answer `{"error": "…"}` of the Open Inference
/// Protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Seconds after which it may be tried again.
    retry_after: Option<u32>,
    /// What failed, for the log.
    cause: Option<String>,
}

/// An answer to a request that is not served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What is wrong, and the way out.
    error: String,
}

pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: cut(message.into()), retry_after: None, cause: None }
    }

    /// The request itself is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// More of something than this server takes.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The server is busy with others.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// The model cannot be used now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// The request took too long.
    pub(crate) fn late() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "this took longer than the server's time limit: try again later, or send a smaller image",
        )
    }

    /// The same, with what it is about before the message.
    pub(crate) fn about(self, what: &str) -> Self {
        Self { message: cut(format!("{what}: {}", self.message)), ..self }
    }

    /// Something failed that the client is not to blame for. What it was is logged, and not told.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        let message = "the server failed to answer this request: its log says why";
        Self { cause: Some(cause.to_string()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, message) }
    }
}

/// Cuts a message that repeats what a client sent.
fn cut(mut message: String) -> String {
    /// Characters of a sentence.
    const MOST: usize = 500;
    if let Some((end, _)) = message.char_indices().nth(MOST) {
        message.truncate(end);
        message.push('…');
    }
    message
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Here and not where it failed, so that the log names the request.
        if let Some(cause) = &self.cause {
            tracing::error!(cause, "a request failed");
        }
        let mut response = (self.status, Json(ErrorBody { error: self.message })).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

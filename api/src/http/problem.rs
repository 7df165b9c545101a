//! What went wrong, as a status and one JSON body for all of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use session_pipeline_host::fault::error_chain;
use utoipa::IntoResponses;

use super::server::ServeError;
use crate::body::Problem;
use crate::problem::{Classify, ProblemClass};

/// Seconds after which a client can try again what is busy now.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A request that is rejected or failed.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) class: ProblemClass,
    status: StatusCode,
    pub(super) detail: String,
    /// Whether it is a failure of the program or the system that no log has yet.
    is_for_log: bool,
}

impl ApiError {
    pub(super) fn new(class: ProblemClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            status: class.status(),
            detail: detail.into(),
            is_for_log: false,
        }
    }

    /// A rejection by a library, which chose its status.
    pub(super) fn of_library(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            class: ProblemClass::from_status(status),
            status,
            detail: detail.into(),
            is_for_log: false,
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(ProblemClass::BadRequest, detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(ProblemClass::InvalidParameter, detail)
    }

    pub(super) fn stopping() -> Self {
        let detail = "the service is stopping; try again when it is back";
        Self::new(ProblemClass::Unavailable, detail)
    }

    /// A failure of the program or the system, with all its causes.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        Self::failure(ProblemClass::Internal, error)
    }

    fn failure(class: ProblemClass, error: &dyn std::error::Error) -> Self {
        let error = Self::new(class, error_chain(error));
        Self {
            is_for_log: error.status == StatusCode::INTERNAL_SERVER_ERROR,
            ..error
        }
    }

    /// Logs a failure that is sent to no client.
    pub(super) fn log(&self) {
        if self.is_for_log {
            tracing::error!("{}", self.detail);
        }
    }
}

impl<E: Classify> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::failure(error.class(), &error)
    }
}

impl Classify for ServeError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Listen { .. } | Self::Threads(_) | Self::NoPipeline => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

/// A failure that belongs into the server's log. It is not logged where it occurs, because a command
/// that runs alone prints it.
#[derive(Clone)]
struct LoggedFailure(Arc<str>);

/// Logs the failures of the program and the system.
pub(super) async fn logged(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(LoggedFailure(detail)) = response.extensions().get() {
        tracing::error!("{detail}");
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let for_the_log = self
            .is_for_log
            .then(|| LoggedFailure(self.detail.as_str().into()));
        let problem = Problem {
            detail: self.detail,
            class: Some(self.class),
        };
        let mut response = (self.status, Json(problem)).into_response();
        if let Some(failure) = for_the_log {
            response.extensions_mut().insert(failure);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        let is_busy = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if is_busy.contains(&self.status) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// What any request may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes what other types answer")]
pub(super) enum CommonResponses {
    /// Our own failure; the reason is in the body, more of it in the log.
    #[response(status = 500)]
    Internal(Problem),
    /// The service is stopping.
    #[response(status = 503)]
    Stopping(Problem),
}

/// What a request that needs a token may be answered with beside that.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes what other types answer")]
pub(super) enum AuthenticatedResponses {
    /// There is no token, or it is not good.
    #[response(status = 401)]
    NoToken(Problem),
    /// The token does not allow this.
    #[response(status = 403)]
    NotAllowed(Problem),
    /// The client was too slow.
    #[response(status = 408)]
    Slow(Problem),
    /// The request is too large.
    #[response(status = 413)]
    TooLarge(Problem),
    /// A parameter is missing, unknown, or not allowed.
    #[response(status = 422)]
    Parameters(Problem),
    /// Our own failure; the reason is in the body, more of it in the log.
    #[response(status = 500)]
    Internal(Problem),
    /// The service is stopping, other requests keep it busy, or this one took too long.
    #[response(status = 503)]
    Stopping(Problem),
}

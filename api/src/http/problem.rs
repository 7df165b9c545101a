//! Errors of requests, as a status and a JSON problem.

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
use crate::body::upload::StoredFileBody;
use crate::problem::{Classify, ProblemClass};

/// The `Retry-After` header of busy responses, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// The error of a rejected or failed request.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) class: ProblemClass,
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    /// The value of `Retry-After`, in seconds. `None`: the default of the status.
    retry_after: Option<u32>,
    /// What is stored of the file that an upload continues.
    stored: Option<StoredFileBody>,
    /// Whether this is an internal error that is not logged yet.
    needs_log: bool,
}

impl ApiError {
    pub(crate) fn new(class: ProblemClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            status: class.status(),
            detail: detail.into(),
            retry_after: None,
            stored: None,
            needs_log: false,
        }
    }

    /// A rejection by a library, which chose the status.
    pub(super) fn from_status(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            class: ProblemClass::from_status(status),
            status,
            detail: detail.into(),
            retry_after: None,
            stored: None,
            needs_log: false,
        }
    }

    /// Adds the time after which a client can retry, in seconds.
    pub(super) fn with_retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Adds what is stored of the file that an upload continues.
    pub(super) fn with_stored(self, stored: StoredFileBody) -> Self {
        Self {
            stored: Some(stored),
            ..self
        }
    }

    /// The error in a response of the API.
    pub(crate) fn from_problem(status: StatusCode, problem: Problem) -> Self {
        let class = problem.class;
        Self {
            class: class.unwrap_or_else(|| ProblemClass::from_status(status)),
            stored: problem.stored.clone(),
            ..Self::from_status(status, problem.detail)
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemClass::BadRequest, detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(ProblemClass::InvalidParameter, detail)
    }

    pub(super) fn stopping() -> Self {
        let detail = "the service is stopping; retry after it has restarted";
        Self::new(ProblemClass::Unavailable, detail)
    }

    /// An internal error, with all its causes.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        Self::failure(ProblemClass::Internal, error)
    }

    fn failure(class: ProblemClass, error: &dyn std::error::Error) -> Self {
        let error = Self::new(class, error_chain(error));
        Self {
            needs_log: error.status == StatusCode::INTERNAL_SERVER_ERROR,
            ..error
        }
    }

    /// Logs an internal error that is not sent to a client.
    pub(super) fn log(&self) {
        if self.needs_log {
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
            Self::Listen { .. }
            | Self::ListenForMetrics { .. }
            | Self::Threads(_)
            | Self::NoPipeline => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

/// An internal error for the log of the server. It is logged by middleware instead of at its
/// origin, because a command without a server prints it instead.
#[derive(Clone)]
struct UnloggedFailure(Arc<str>);

/// Middleware that logs internal errors.
pub(super) async fn log_failures(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // Removed, because the response to a call in this process can become that to a client.
    if let Some(UnloggedFailure(detail)) = response.extensions_mut().remove() {
        tracing::error!("{detail}");
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let unlogged = self
            .needs_log
            .then(|| UnloggedFailure(self.detail.as_str().into()));
        let problem = Problem {
            detail: self.detail,
            class: Some(self.class),
            stored: self.stored,
        };
        let mut response = (self.status, Json(problem)).into_response();
        if let Some(failure) = unlogged {
            response.extensions_mut().insert(failure);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        let busy = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        let retry_after = match self.retry_after {
            Some(seconds) => Some(HeaderValue::from(seconds)),
            None => busy.contains(&self.status).then_some(RETRY_AFTER),
        };
        if let Some(retry_after) = retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}

/// Error responses of every route.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only for the OpenAPI document")]
pub(super) enum CommonResponses {
    /// Internal error. The body has the reason, and the log has more.
    #[response(status = 500)]
    Internal(Problem),
    /// The service is stopping.
    #[response(status = 503)]
    Stopping(Problem),
}

/// Error responses of routes that require a token.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only for the OpenAPI document")]
pub(super) enum AuthenticatedResponses {
    /// The token is missing, unknown, expired or revoked.
    #[response(status = 401)]
    Unauthenticated(Problem),
    /// The role of the token does not allow this.
    #[response(status = 403)]
    Forbidden(Problem),
    /// The client sent the request too slowly.
    #[response(status = 408)]
    Timeout(Problem),
    /// The request is too large.
    #[response(status = 413)]
    TooLarge(Problem),
    /// A parameter is missing, unknown or invalid.
    #[response(status = 422)]
    InvalidParameter(Problem),
    /// Internal error. The body has the reason, and the log has more.
    #[response(status = 500)]
    Internal(Problem),
    /// The service is stopping or busy, or the request took too long.
    #[response(status = 503)]
    Unavailable(Problem),
}

//! What went wrong, as a status and one JSON body for all of it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use session_pipeline_pipeline::knowledge::KnowledgeError;
use session_pipeline_pipeline::listing::ListingError;
use session_pipeline_pipeline::quarantine::QuarantineError;
use session_pipeline_pipeline::registry::RegistryError;
use session_pipeline_pipeline::report::PricesError;
use session_pipeline_pipeline::reprocess::ReprocessError;
use session_pipeline_pipeline::run::RunError;
use session_pipeline_pipeline::token::TokenError;
use session_pipeline_store::StoreError;
use utoipa::IntoResponses;

use crate::body::Problem;
use session_pipeline_host::fault::chain;

/// Seconds after which a client can try again what is busy now.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A request that is refused or failed.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    /// Whether nothing else will work any more either.
    pub(super) is_fatal: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            is_fatal: false,
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(super) fn stopping() -> Self {
        let detail = "the service is stopping; try again when it is back";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Our own failure, told with all its causes.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let detail = chain(error);
        tracing::error!("{detail}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            detail: self.detail,
        };
        let mut response = (self.status, Json(problem)).into_response();
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

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let is_fatal = matches!(
            error,
            StoreError::Invalidated(_) | StoreError::WriterStopped
        );
        if matches!(error, StoreError::Cancelled(_)) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        Self {
            is_fatal,
            ..Self::internal(&error)
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => error.into(),
            error if error.is_refusal() => Self::bad(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::AlreadyRunning(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            RunError::Registry(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Stopping | RunError::Interrupted => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            error @ (RunError::Sessions { .. } | RunError::Halted(_) | RunError::Broken(_)) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<ListingError> for ApiError {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::UnknownSession { .. } => {
                Self::new(StatusCode::NOT_FOUND, error.to_string())
            }
            ListingError::Store(error) => error.into(),
            error @ ListingError::Root { .. } => Self::internal(&error),
        }
    }
}

impl From<ReprocessError> for ApiError {
    fn from(error: ReprocessError) -> Self {
        match error {
            ReprocessError::Registry(error) => error.into(),
            ReprocessError::Listing(error) => error.into(),
            ReprocessError::Store(error) => error.into(),
        }
    }
}

impl From<KnowledgeError> for ApiError {
    fn from(error: KnowledgeError) -> Self {
        match error {
            KnowledgeError::Store(error) => error.into(),
            KnowledgeError::Unknown(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
        }
    }
}

impl From<QuarantineError> for ApiError {
    fn from(error: QuarantineError) -> Self {
        match error {
            QuarantineError::Registry(error) => error.into(),
            QuarantineError::Listing(error) => error.into(),
            QuarantineError::Store(error) => error.into(),
            QuarantineError::NotHeld { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Email(_) | TokenError::Label | TokenError::Expired(_) => {
                Self::unprocessable(error.to_string())
            }
            TokenError::Unknown(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            TokenError::Store(error) => error.into(),
            error @ TokenError::Randomness(_) => Self::internal(&error),
        }
    }
}

impl From<PricesError> for ApiError {
    fn from(error: PricesError) -> Self {
        Self::internal(&error)
    }
}

/// What any request may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes what other types answer")]
pub(super) enum Failures {
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
pub(super) enum Refusals {
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

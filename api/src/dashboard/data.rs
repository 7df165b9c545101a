//! Mirrors the GET routes of the API below `/data`, for the charts and downloads of pages.
//!
//! Routes of the API accept only tokens, never the cookie.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};

use super::DashboardState;
use super::call;
use super::visitor::Visitor;
use crate::http::ApiError;
use crate::problem::ProblemClass;

/// The prefix of mirrored routes.
pub(super) const PREFIX: &str = "/data";

/// Returns the response of a GET route of the API to the visitor.
pub(super) async fn mirror(
    State(state): State<Arc<DashboardState>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
) -> Response {
    let path = uri.path_and_query().map(|path| path.as_str());
    let path = path.and_then(|path| path.strip_prefix(PREFIX));
    match path.filter(|path| path.starts_with("/api/")) {
        Some(path) => call::send(&state.api, &visitor, Method::GET, path, None).await,
        None => {
            let detail = "unknown path; the paths below `/data` are those of the API";
            ApiError::new(ProblemClass::NotFound, detail).into_response()
        }
    }
}

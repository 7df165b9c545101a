//! Extractors for parameters, bodies and path names, with errors in the service's format. Also
//! paging.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use crate::problem::ProblemClass;

/// The query parameters of a request. Unknown and invalid parameters are rejected.
pub(super) struct ValidQuery<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(query)| Self(query))
            .map_err(|error| ApiError::unprocessable(root_cause(&error)))
    }
}

/// The JSON body of a request.
pub(super) struct ValidJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Json::from_request(request, state).await;
        body.map(|Json(body)| Self(body))
            .map_err(|error: JsonRejection| {
                ApiError::from_status(error.status(), root_cause(&error))
            })
    }
}

/// An id in the last segment of a path.
pub(super) struct ValidName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ValidName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| {
                ApiError::new(ProblemClass::NotFound, "invalid id in the path: not UTF-8")
            })?;
        Ok(Self(name))
    }
}

/// Parses the name of a time zone.
pub(super) fn zone(name: &str) -> Result<TimeZone, ApiError> {
    TimeZone::get(name).map_err(|_| {
        ApiError::unprocessable(format!(
            "unknown time zone `{}`; use a name such as `Europe/Berlin` or `UTC`",
            session_pipeline_host::fault::printable(name)
        ))
    })
}

/// The innermost cause of a rejection, which names the field and its error.
fn root_cause(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.unwrap_or(error).to_string()
}

/// The default of `limit`.
pub(super) fn default_limit() -> u32 {
    100
}

/// Truncates rows to a page. The caller fetches one row more than `limit`: if it exists, the second
/// value is the cursor of the next page, which is the position of the last row.
pub(super) fn page<T>(
    mut rows: Vec<T>,
    limit: u32,
    position: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(position);
    (rows, next)
}

/// Parses a cursor, if there is one.
pub(super) fn cursor<T>(
    cursor: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    parse(cursor).map(Some).ok_or_else(|| {
        ApiError::unprocessable(format!(
            "invalid cursor `{}`; send `next` from the previous page, or omit `cursor`",
            session_pipeline_host::fault::printable(cursor)
        ))
    })
}

/// Validates `limit`, the number of rows on a page.
pub(super) fn limit(limit: u32) -> Result<u32, ApiError> {
    if (1..=1000).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("invalid limit `{limit}`; send a number from 1 to 1000");
    Err(ApiError::unprocessable(detail))
}

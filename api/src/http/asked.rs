//! The query of a request, and its body, with refusals in our own words.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use crate::problem::ProblemClass;

/// The parameters of a request: all known, all of the right kind.
pub(super) struct ValidQuery<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Self(asked))
            .map_err(|error| ApiError::unprocessable(cause(&error)))
    }
}

/// The JSON body of a request.
pub(super) struct ValidJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let sent = Json::from_request(request, state).await;
        sent.map(|Json(sent)| Self(sent))
            .map_err(|error: JsonRejection| ApiError::of_library(error.status(), cause(&error)))
    }
}

/// The last part of a path, where it names something.
pub(super) struct ValidName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ValidName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| {
                ApiError::new(ProblemClass::NotFound, "nothing has a name that is no text")
            })?;
        Ok(Self(name))
    }
}

/// What lies at the bottom of a refusal: the field, and what is wrong with it.
fn cause(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last();
    last.unwrap_or(error).to_string()
}

/// The rows of one page if the caller gives no number.
pub(super) fn hundred() -> u32 {
    100
}

/// Cuts what was read, one row more than the page has, to the page. The second value is where the
/// next page begins: the place of the last row, where there are more.
pub(super) fn page<T>(
    mut rows: Vec<T>,
    limit: u32,
    place: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(place);
    (rows, next)
}

/// What a cursor says, by a function that takes it apart.
pub(super) fn cursor<T>(
    cursor: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    parse(cursor).map(Some).ok_or_else(|| {
        ApiError::unprocessable(format!(
            "invalid `cursor` `{}`; send the `next` of the page before, or leave it out",
            session_pipeline_host::fault::printable(cursor)
        ))
    })
}

/// A number of rows that one answer may have.
pub(super) fn limit(limit: u32) -> Result<u32, ApiError> {
    if (1..=1000).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("`limit` can't be {limit}; give a number from 1 to 1000");
    Err(ApiError::unprocessable(detail))
}

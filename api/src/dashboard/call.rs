//! Calls of the API in this process, as a visitor.
//!
//! Pages use this for everything that they show and change. Roles, limits on queries and the audit
//! log apply as for any other client.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use super::visitor::Visitor;
use crate::body::Problem;
use crate::http::{ApiError, CallerIdentity};

/// Maximum size of a response for a page. Larger ones would be too much for a page.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Gets a resource of the API, such as `/api/usage/summary?by=day`.
///
/// # Errors
/// The API rejects the request or fails. The error is that of the API.
pub(crate) async fn get<T: DeserializeOwned>(
    api: &Router,
    visitor: &Visitor,
    path: &str,
) -> Result<T, ApiError> {
    body_of(send(api, visitor, Method::GET, path, None).await).await
}

/// Posts a body to a resource of the API. `None`: no body.
///
/// # Errors
/// The API rejects the request or fails. The error is that of the API.
pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
    api: &Router,
    visitor: &Visitor,
    path: &str,
    body: Option<&B>,
) -> Result<T, ApiError> {
    let body = body.map(serde_json::to_vec).transpose();
    let body = body.map_err(|error| ApiError::internal(&error))?;
    body_of(send(api, visitor, Method::POST, path, body).await).await
}

/// Deletes a resource of the API.
///
/// # Errors
/// The API rejects the request or fails. The error is that of the API.
pub(crate) async fn delete<T: DeserializeOwned>(
    api: &Router,
    visitor: &Visitor,
    path: &str,
) -> Result<T, ApiError> {
    body_of(send(api, visitor, Method::DELETE, path, None).await).await
}

/// Sends a request to the API, and returns its response, of any status.
pub(super) async fn send(
    api: &Router,
    visitor: &Visitor,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Response {
    let Ok(uri) = path.parse::<Uri>() else {
        return ApiError::bad_request("invalid path").into_response();
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    if let Some(body) = body {
        *request.body_mut() = Body::from(body);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    let extensions = request.extensions_mut();
    extensions.insert(CallerIdentity(Ok(visitor.caller.clone())));
    if let Some(ip) = visitor.ip {
        extensions.insert(ConnectInfo(SocketAddr::new(ip, 0)));
    }
    let response = api.clone().oneshot(request).await;
    response.unwrap_or_else(|error| match error {})
}

/// The body of a successful response.
async fn body_of<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let status = response.status();
    let body = to_bytes(response.into_body(), RESPONSE_BYTES_MAX).await;
    let body = body.map_err(|error| ApiError::internal(&error))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| ApiError::internal(&error));
    }
    let problem: Problem =
        serde_json::from_slice(&body).map_err(|error| ApiError::internal(&error))?;
    Err(ApiError::from_problem(status, problem))
}

//! The headers of all responses except those of the API, and pages for errors.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::format::with_code;
use super::frame::{Frame, Reader};
use super::page::{accepts_html, page};
use super::sign_in;
use super::visitor::{self, Visitor};
use crate::body::Problem;
use crate::http::ServiceState;

/// Maximum size of an error response of the API. They are much shorter.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// What a browser can load for a page: only files of this server, and no inline scripts or styles.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of each response. HSTS is up to the proxy that adds TLS.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A page for an error, with the navigation of the reader.
fn error_page(status: StatusCode, detail: &str, reader: Option<&Reader>) -> Markup {
    let reason = status.canonical_reason().unwrap_or("Error");
    let content = html! {
        h1 { (status.as_u16()) " " (reason) }
        p { (with_code(detail)) }
        p { a href="/" { "Overview" } }
    };
    if reader.is_none() {
        return page(reason, &content);
    }
    let frame = Frame {
        title: reason,
        section: None,
        reader,
        filters: None,
        has_charts: false,
    };
    frame.render(&html! { section .panel { (content) } })
}

/// Whether a path belongs to the API, whose responses are for programs.
fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Middleware of all routes: adds the headers, and turns errors for browsers into pages.
pub(super) async fn finish(
    State(service): State<Arc<ServiceState>>,
    request: Request,
    next: Next,
) -> Response {
    if is_api(request.uri().path()) {
        return next.run(request).await;
    }
    let accepts_html = accepts_html(request.headers());
    let cookie = sign_in::cookie(request.headers(), visitor::is_tls(&service, &request));
    let mut response = next.run(request).await;
    let status = response.status();
    if accepts_html && (status.is_client_error() || status.is_server_error()) {
        // No route identifies the visitor of an address that no route has.
        let by_cookie = || visitor::of_cookie_text(&service, cookie?, None);
        let visitor = response
            .extensions_mut()
            .remove::<Visitor>()
            .or_else(by_cookie);
        let reader = visitor.as_ref().map(Visitor::reader);
        response = without_problem(response, reader.as_ref()).await;
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Replaces the JSON problem of an error by a page.
async fn without_problem(response: Response, reader: Option<&Reader>) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let detail = serde_json::from_slice(&body).map_or_else(
        |_| String::from_utf8_lossy(&body).into_owned(),
        |problem: Problem| problem.detail,
    );
    let page = error_page(status, &detail, reader).into_response();
    let (page, body) = page.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(page.headers);
    Response::from_parts(parts, body)
}

//! The frame of every page, pages for errors, and the headers of all responses except those of the
//! API.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::format::with_code;
use super::frame::Frame;
use crate::body::Problem;

/// Maximum size of an error response of the API. They are much shorter.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// What a browser can load for a page: only files of this server, and no inline scripts or styles.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of each response. HSTS is up to the proxy that adds TLS.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// A page without a visitor.
pub(super) fn page(title: &str, content: &Markup) -> Markup {
    let frame = Frame {
        title,
        section: None,
        reader: None,
        filters: None,
        has_charts: false,
    };
    frame.render(&html! { div .sign-in { (content) } })
}

/// A page for an error.
fn error_page(status: StatusCode, detail: &str) -> Markup {
    let reason = status.canonical_reason().unwrap_or("Error");
    let content = html! {
        h1 { (status.as_u16()) " " (reason) }
        p { (with_code(detail)) }
        p { a href="/" { "Overview" } }
    };
    page(reason, &content)
}

/// Whether the client is a browser that shows the response as a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"))
}

/// Whether a path belongs to the API, whose responses are for programs.
fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Middleware of all routes: adds the headers, and turns errors for browsers into pages.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    if is_api(request.uri().path()) {
        return next.run(request).await;
    }
    let accepts_html = accepts_html(request.headers());
    let mut response = next.run(request).await;
    if accepts_html {
        response = without_problem(response).await;
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

/// Replaces a JSON problem by a page.
async fn without_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let detail = serde_json::from_slice(&body).map_or_else(
        |_| String::from_utf8_lossy(&body).into_owned(),
        |problem: Problem| problem.detail,
    );
    let page = error_page(status, &detail).into_response();
    let (page, body) = page.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(page.headers);
    Response::from_parts(parts, body)
}

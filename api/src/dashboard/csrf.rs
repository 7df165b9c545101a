//! CSRF tokens: every request that changes something proves that it comes from a page of this server.
//!
//! A token is derived from the secret of the visitor's cookie, so that it needs no storage and is
//! valid as long as the sign-in. Pages contain it in forms, and for scripts.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use maud::{Markup, html};
use session_pipeline_host::sandbox::sha256_hex;

use super::visitor::Visitor;
use crate::http::ApiError;
use crate::problem::ProblemClass;

/// The field of a form with the token.
const FIELD: &str = "csrf";
/// The header with the token, for requests of scripts.
const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// Maximum size of a form, as for other requests.
const FORM_BYTES_MAX: usize = 64 << 10;

/// The token for a cookie.
pub(super) fn token_of_cookie(cookie: &str) -> String {
    sha256_hex(format!("session-pipeline csrf cookie\n{cookie}").as_bytes())
}

/// The token for a user that a proxy signed in. It is valid until the process ends.
pub(super) fn token_of_proxy_user(secret: &[u8; 32], email: &str) -> String {
    // Both parts have a fixed length, so that no token can be extended to that of another address.
    let email = sha256_hex(format!("session-pipeline csrf proxy\n{email}").as_bytes());
    sha256_hex(&[&secret[..], email.as_bytes()].concat())
}

/// The field for a form on a page.
pub(super) fn field(token: &str) -> Markup {
    html! { input type="hidden" name=(FIELD) value=(token); }
}

/// Middleware of routes that require a visitor: rejects a change without the visitor's token.
pub(super) async fn require_token(request: Request, next: Next) -> Result<Response, ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let visitor = request.extensions().get::<Visitor>();
    let expected = visitor.map(|visitor| visitor.csrf.clone());
    let (parts, body) = request.into_parts();
    let (given, body) = match parts.headers.get(HEADER) {
        Some(token) => (token.to_str().ok().map(str::to_owned), body),
        None if is_form(&parts.headers) => {
            let bytes = to_bytes(body, FORM_BYTES_MAX)
                .await
                .map_err(|error| ApiError::bad_request(format!("cannot read the form: {error}")))?;
            (field_of(&bytes, FIELD), Body::from(bytes))
        }
        None => (None, body),
    };
    // The hashes reveal nothing through the duration of the comparison.
    let hash = |token: String| sha256_hex(token.as_bytes());
    let is_valid = expected.is_some() && expected.map(hash) == given.map(hash);
    if !is_valid {
        let detail = "this page is outdated or the request comes from another site; reload the page and try again";
        return Err(ApiError::new(ProblemClass::Forbidden, detail));
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// A field of a form, if the form has it exactly once.
pub(super) fn field_of(form: &[u8], name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(form).filter(|(field, _)| field == name);
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.into_owned())
}

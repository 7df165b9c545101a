//! Signs visitors in and out: exchanges a token for a cookie.

mod failures;
mod next;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use session_pipeline_pipeline::token::SignInError;

use super::DashboardState;
use super::csrf::field_of;
use super::format::with_code;
use super::page::page;
use super::visitor::{is_tls, of_cookie};
use crate::http::{ApiError, ServiceState, client_address};
use crate::problem::{Classify, ProblemClass};

pub(super) use failures::SignInFailures;
pub(super) use next::location;
use next::target;

/// The name of the cookie over plain HTTP.
const COOKIE: &str = "session-pipeline";
/// The name of the cookie over TLS. With this prefix, browsers do not accept it from other hosts.
const SECURE_COOKIE: &str = "__Host-session-pipeline";
/// The length of the text of a cookie.
const COOKIE_CHARS: usize = 64;
/// Maximum size of the form.
const FORM_BYTES_MAX: usize = 16 << 10;

/// The text of the visitor's cookie.
pub(super) fn cookie(headers: &HeaderMap, is_tls: bool) -> Option<String> {
    let wanted = name(is_tls);
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, text) = pairs.find(|(name, _)| *name == wanted)?;
    let is_text = text.len() == COOKIE_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_text.then(|| text.to_owned())
}

fn name(is_tls: bool) -> &'static str {
    if is_tls { SECURE_COOKIE } else { COOKIE }
}

/// The `Set-Cookie` header. The cookie lasts until the browser is closed, or the sign-in ends.
fn set_cookie(text: &str, is_tls: bool) -> String {
    let (name, secure) = (name(is_tls), if is_tls { "; Secure" } else { "" });
    let removal = if text.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={text}; Path=/; HttpOnly; SameSite=Strict{secure}{removal}")
}

/// Ends a sign-in whose cookie is no longer valid. The request does not wait for this.
pub(super) fn forget(service: &Arc<ServiceState>, cookie: String) {
    let service = Arc::clone(service);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = end(&service, &cookie) {
            tracing::warn!("cannot remove a sign-in: {}", error.detail);
        }
    });
}

fn end(service: &ServiceState, cookie: &str) -> Result<(), ApiError> {
    if let Some(keyring) = service.keyring() {
        keyring.sign_out(service.database()?, cookie)?;
    }
    Ok(())
}

/// Shows the form. A visitor who is signed in goes on.
pub(super) async fn form(State(state): State<Arc<DashboardState>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let next = target(field_of(query, next::FIELD).as_deref());
    match of_cookie(&state.service, &request) {
        Some(_) => Redirect::to(&next).into_response(),
        None => form_page(&next, None).into_response(),
    }
}

fn form_page(next: &str, error: Option<&str>) -> Markup {
    let content = html! {
        h1 { "Sign in" }
        @if let Some(error) = error {
            p role="alert" { (with_code(error)) }
        }
        form method="post" action="/sign-in" {
            input type="hidden" name=(next::FIELD) value=(next);
            label for="token" { "API token" }
            input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
            button .primary { "Sign in" }
        }
        section .help aria-labelledby="help" {
            h2 #help { "What is a token?" }
            p { "A token is a password for this server. It begins with " code { "sp_" } ", and says who you are and what you can see. The browser exchanges it for a cookie and does not store it." }
            p { "Ask an administrator for a token. The administrator creates one on the page “Operations”, or on the server:" }
            pre { "session-pipeline token create \\\n  --role member --user you@example.com" }
            p { "A new server writes its first token to " code { "state/admin-token" } " in its data directory." }
        }
    };
    page("Sign in", &content)
}

/// Signs a visitor in.
pub(super) async fn sign_in(
    State(state): State<Arc<DashboardState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let service = &state.service;
    let is_tls = is_tls(service, &request);
    let earlier = cookie(request.headers(), is_tls);
    let address = client_address(request.headers(), request.extensions(), service);
    let form: Bytes = to_bytes(request.into_body(), FORM_BYTES_MAX)
        .await
        .map_err(|error| ApiError::bad_request(format!("cannot read the form: {error}")))?;
    let next = target(field_of(&form, next::FIELD).as_deref());
    let token = field_of(&form, "token").unwrap_or_default();
    let token = token.trim().to_owned();
    let keyring = service.keyring();
    let keyring = keyring.ok_or_else(|| ApiError::bad_request("this process has no tokens"))?;
    // In memory, so that wrong tokens do not delay other requests.
    if let Err(rejection) = keyring.authenticate(&token, service.clock().now()) {
        let counted = state
            .sign_in_failures
            .count(address, service.clock().monotonic());
        return Ok(match counted {
            Ok(()) => {
                let page = form_page(&next, Some(&rejection.to_string()));
                (StatusCode::UNAUTHORIZED, page).into_response()
            }
            Err(wait) => too_many_failures(&next, wait),
        });
    }
    let created = service.run_token_request(move |service| {
        let (Some(keyring), now) = (service.keyring(), service.clock().now()) else {
            return Err(ApiError::bad_request("this process has no tokens"));
        };
        let (store, randomness) = (service.database()?, service.randomness());
        let ip = address.map(|address| address.to_string());
        let created = keyring.sign_in(store, &token, ip, randomness, now)?;
        if let Some(earlier) = earlier {
            keyring.sign_out(store, &earlier)?;
        }
        Ok(created)
    });
    let created = match created.await {
        Ok(created) => created,
        Err(error) if error.class == ProblemClass::Unauthenticated => {
            let page = form_page(&next, Some(&error.detail));
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        Err(error) => return Err(error),
    };
    let mut response = Redirect::to(&next).into_response();
    add_cookie(&mut response, &created.cookie, is_tls);
    Ok(response)
}

/// The response to a wrong token after too many wrong ones.
fn too_many_failures(next: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let error = format!(
        "too many sign-ins with wrong tokens; try again in {seconds} s, or use a valid token"
    );
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
    let page = form_page(next, Some(&error));
    (StatusCode::TOO_MANY_REQUESTS, retry_after, page).into_response()
}

fn add_cookie(response: &mut Response, text: &str, is_tls: bool) {
    if let Ok(value) = HeaderValue::from_str(&set_cookie(text, is_tls)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

/// Signs a visitor out. A proxy that signed the visitor in has its own way to sign out.
pub(super) async fn sign_out(
    State(state): State<Arc<DashboardState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let is_tls = is_tls(&state.service, &request);
    if let Some(cookie) = cookie(request.headers(), is_tls) {
        let ended = state
            .service
            .run_token_request(move |service| end(service, &cookie));
        ended.await?;
    }
    let mut response = Redirect::to("/sign-in").into_response();
    add_cookie(&mut response, "", is_tls);
    Ok(response)
}

impl Classify for SignInError {
    fn class(&self) -> ProblemClass {
        match self {
            Self::Token(_) | Self::SchedulerSecret => ProblemClass::Unauthenticated,
            Self::Randomness(_) => ProblemClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

//! Identifies the visitor of a page, by a cookie or by a proxy that signed the user in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use session_pipeline_pipeline::token::{AuthenticatedCaller, TokenRejection, is_email};
use session_pipeline_store::ClientKind;

use super::DashboardState;
use super::data;
use super::frame::{Reader, Section};
use super::page::{accepts_html, page};
use super::sign_in;
use crate::http::{
    ApiError, CallerKey, Connection, HiddenDenial, RecognizedCaller, ServiceState, client_address,
};
use crate::problem::ProblemClass;

/// The person who visits a page. An extension of each request to a page.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// Who the visitor is to the API.
    pub(crate) caller: AuthenticatedCaller,
    /// The token that changes of this visitor must contain.
    pub(crate) csrf: String,
    /// Whether the visitor signed in with a token, and not through a proxy.
    pub(crate) can_sign_out: bool,
    /// The address of the browser.
    pub(crate) ip: Option<IpAddr>,
}

impl Visitor {
    /// Who looks at the pages of this visitor.
    pub(super) fn reader(&self) -> Reader {
        let role = self.caller.role.as_str();
        Reader {
            name: self
                .caller
                .email
                .clone()
                .unwrap_or_else(|| self.caller.audit_id()),
            role,
            csrf: self.csrf.clone(),
            sections: Section::of_role(role),
            can_sign_out: self.can_sign_out,
        }
    }
}

/// The visitor of a request, and what is wrong with it.
#[derive(Default)]
pub(super) struct Identification {
    /// `None`: no user is signed in.
    pub(super) visitor: Option<Visitor>,
    /// Why the header of a proxy was rejected.
    rejected_proxy: Option<&'static str>,
}

/// Identifies the visitor. A cookie takes precedence, so that an admin can sign in with a token
/// although a proxy signs everyone in as a member.
pub(super) fn identify(state: &DashboardState, request: &Request) -> Identification {
    if let Some(visitor) = of_cookie(&state.service, request) {
        return Identification {
            visitor: Some(visitor),
            rejected_proxy: None,
        };
    }
    match of_proxy(state, request) {
        Ok(visitor) => Identification {
            visitor,
            rejected_proxy: None,
        },
        Err(reason) => Identification {
            visitor: None,
            rejected_proxy: Some(reason),
        },
    }
}

/// The visitor of a sign-in.
pub(super) fn of_cookie(service: &Arc<ServiceState>, request: &Request) -> Option<Visitor> {
    let cookie = sign_in::cookie(request.headers(), is_tls(service, request))?;
    let ip = client_address(request.headers(), request.extensions(), service);
    of_cookie_text(service, cookie, ip)
}

/// The visitor of the sign-in whose cookie has this text.
pub(super) fn of_cookie_text(
    service: &Arc<ServiceState>,
    cookie: String,
    ip: Option<IpAddr>,
) -> Option<Visitor> {
    let (keyring, now) = (service.keyring()?, service.clock().now());
    match keyring.signed_in(&cookie, now) {
        Ok((caller, is_use_due)) => {
            if is_use_due {
                record_use(service, cookie.clone());
            }
            Some(Visitor {
                caller,
                csrf: super::csrf::token_of_cookie(&cookie),
                can_sign_out: true,
                ip,
            })
        }
        Err(TokenRejection::Unknown) => None,
        Err(_) => {
            // Its token is no longer valid, or it was not used for too long.
            sign_in::forget(service, cookie);
            None
        }
    }
}

/// The request does not wait for this. It succeeds even if the use cannot be recorded.
fn record_use(service: &Arc<ServiceState>, cookie: String) {
    let service = Arc::clone(service);
    tokio::task::spawn_blocking(move || {
        let (Some(keyring), Some(store)) = (service.keyring(), service.store()) else {
            return;
        };
        let now = service.clock().now();
        if let Err(error) = keyring.record_sign_in_use(store, &cookie, now) {
            tracing::warn!("cannot record the use of a sign-in: {error}");
        }
    });
}

/// The visitor that a proxy signed in, if there is one.
///
/// # Errors
/// Why the header is rejected.
fn of_proxy(state: &DashboardState, request: &Request) -> Result<Option<Visitor>, &'static str> {
    let service = &state.service;
    let proxy_auth = &service.config().service.proxy_auth;
    let (Some(keyring), true) = (service.keyring(), proxy_auth.is_on()) else {
        return Ok(None);
    };
    let mut values = request.headers().get_all(&proxy_auth.header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if !peer(request).is_some_and(|peer| proxy_auth.trusts(peer)) {
        return Err(
            "the header of a proxy comes from an address that is not in `service.proxy_auth.from`",
        );
    }
    if values.next().is_some() {
        return Err("the proxy sent more than one e-mail address");
    }
    let email = value.to_str().ok().filter(|email| is_email(email));
    let email = email.ok_or("the proxy sent an invalid e-mail address")?;
    let secret = state.proxy_secret.as_ref();
    let secret = secret.ok_or("the operating system provides no random numbers")?;
    let caller = keyring.caller_of_proxy(email, proxy_auth.role);
    let caller = caller.map_err(|_| "the user is deactivated")?;
    let csrf = super::csrf::token_of_proxy_user(secret, caller.email.as_deref().unwrap_or(email));
    Ok(Some(Visitor {
        caller,
        csrf,
        can_sign_out: false,
        ip: client_address(request.headers(), request.extensions(), service),
    }))
}

/// The address at the other end of the connection: the browser, or the nearest proxy.
fn peer(request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

/// Whether the browser used TLS, as a trusted proxy reports it.
pub(super) fn is_tls(service: &ServiceState, request: &Request) -> bool {
    let trusted = &service.config().service.trusted_proxies;
    let is_trusted = |peer| trusted.iter().any(|network| network.contains(peer));
    let mut protocols = request.headers().get_all("x-forwarded-proto").iter();
    // The nearest proxy appends to the list of the others.
    let last = protocols.next_back().and_then(|value| value.to_str().ok());
    let last = last.and_then(|value| value.rsplit(',').next());
    peer(request).is_some_and(is_trusted)
        && last.is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"))
}

/// Middleware: adds the [`Visitor`] to the request. Without one, sends browsers to the sign-in.
pub(super) async fn require(
    State(state): State<Arc<DashboardState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Identification {
        visitor,
        rejected_proxy,
    } = identify(&state, &request);
    let Some(visitor) = visitor else {
        let mut response = signed_out(&request, rejected_proxy);
        if rejected_proxy.is_some() {
            response.extensions_mut().insert(HiddenDenial);
        }
        return response;
    };
    if let Some(recognized) = request.extensions().get::<RecognizedCaller>() {
        let ip = visitor.ip.map(|ip| ip.to_string());
        // Not set before: only this middleware identifies visitors.
        let _ = recognized.0.set(visitor.caller.actor(ClientKind::Web, ip));
    }
    let connection = request.extensions().get::<Arc<Connection>>();
    let key = CallerKey::from(&visitor.caller);
    let busy = connection.map(|connection| connection.busy(&key));
    request.extensions_mut().insert(visitor.clone());
    let mut response = key.run(next.run(request)).await;
    // Pages for errors have the navigation of the visitor.
    response.extensions_mut().insert(visitor);
    match busy {
        Some(busy) => response.map(|body| busy.until_sent(body)),
        None => response,
    }
}

/// The response to a visitor who must sign in.
fn signed_out(request: &Request, rejected_proxy: Option<&'static str>) -> Response {
    let headers = request.headers();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let is_part = headers.contains_key("hx-request");
    let is_page = !request.uri().path().starts_with(data::PREFIX) || accepts_html(headers);
    if is_read && is_page && !is_part {
        if rejected_proxy.is_none() && is_from_elsewhere(headers) {
            return same_site_page();
        }
        return Redirect::to(&sign_in::location(path)).into_response();
    }
    let detail = rejected_proxy.map_or_else(
        || "no user is signed in, or the sign-in has ended; sign in at `/sign-in`".to_owned(),
        |reason| format!("no user is signed in: {reason}"),
    );
    let error = ApiError::new(ProblemClass::Unauthenticated, detail);
    let mut response = error.into_response();
    // Browsers ask for a password, if a scheme is named that they know.
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    if is_part {
        // The script of the page replaces the whole page, instead of a part of it.
        let current = headers
            .get("hx-current-url")
            .and_then(|url| url.to_str().ok());
        let current = current.and_then(|url| url.parse::<axum::http::Uri>().ok());
        let current = current.as_ref().and_then(|url| url.path_and_query());
        let location = sign_in::location(current.map_or("/", |path| path.as_str()));
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert("hx-redirect", location);
        }
    }
    response
}

/// Whether the visitor followed a link on another site.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, values: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    is("sec-fetch-site", &["cross-site", "same-site"]) && is("sec-fetch-mode", &["navigate"])
}

/// A page that loads itself again. The browser does not send the cookie with a request that began on
/// another site, but it does with this one.
fn same_site_page() -> Response {
    let content = html! {
        meta http-equiv="refresh" content="0";
        p { "Loading…" }
    };
    page("Loading", &content).into_response()
}

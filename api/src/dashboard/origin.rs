//! Rejects changes that another site requests.
//!
//! A browser states the origin of a request in headers that scripts cannot set: `Sec-Fetch-Site`
//! over TLS and on this machine, and `Origin`. Pages of this server have no referrer, so the
//! `Origin` of their forms can be `null`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::DashboardState;
use crate::http::ApiError;
use crate::problem::ProblemClass;

/// Middleware: rejects a change unless it comes from a page of this server.
pub(super) async fn require_own(
    State(state): State<Arc<DashboardState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let hosts = &state.service.config().service.hosts;
    if is_read || is_own(request.headers(), hosts) {
        return Ok(next.run(request).await);
    }
    let detail = "the request comes from another site, or the browser does not say where it comes from; open the dashboard over HTTPS or on this machine";
    Err(ApiError::new(ProblemClass::Forbidden, detail))
}

fn is_own(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if let Some(site) = sites.next() {
        return site == "same-origin" && sites.next().is_none();
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return false;
    };
    let Some(origin) = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok())
    else {
        return false;
    };
    let is_web = matches!(origin.scheme_str(), Some("http" | "https"));
    let Some(authority) = origin.authority().filter(|_| is_web) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_same = host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_str()));
    // A proxy can replace the host. The names of the server in its configuration are its own.
    is_same
        || hosts
            .iter()
            .any(|own| own.eq_ignore_ascii_case(authority.as_str()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::is_own;

    fn check(fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        is_own(&headers, &["pipeline.example.com".to_owned()])
    }

    #[test]
    fn a_request_from_a_page_of_this_server_is_its_own() {
        let host = ("host", "127.0.0.1:8080");
        for fields in [
            &[host, ("origin", "http://127.0.0.1:8080")][..],
            &[("host", "Pipeline"), ("origin", "https://pipeline")],
            &[host, ("origin", "https://pipeline.example.com")],
            &[host, ("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "same-origin")],
        ] {
            assert!(check(fields), "{fields:?}");
        }
    }

    #[test]
    fn any_other_request_is_not() {
        let host = ("host", "127.0.0.1:8080");
        let own = ("origin", "http://127.0.0.1:8080");
        for fields in [
            &[host][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "")],
            &[host, ("origin", "127.0.0.1:8080")],
            &[host, ("origin", "http://127.0.0.1")],
            &[host, ("origin", "http://127.0.0.1:8081")],
            &[host, ("origin", "http://evil.example")],
            &[host, ("origin", "https://evil.example/127.0.0.1:8080")],
            &[
                host,
                ("origin", "https://pipeline.example.com.evil.example"),
            ],
            &[host, ("origin", "file://127.0.0.1:8080")],
            &[host, own, own],
            &[own],
            &[host, own, ("sec-fetch-site", "cross-site")],
            &[host, own, ("sec-fetch-site", "same-site")],
            &[host, own, ("sec-fetch-site", "none")],
            &[
                host,
                own,
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(!check(fields), "{fields:?}");
        }
    }
}

//! The origin of a server URL.

use std::net::IpAddr;

use ureq::http::Uri;

/// The scheme, host and port of a URL. Two URLs with the same origin lead to the same server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerOrigin {
    is_tls: bool,
    host: String,
    port: u16,
}

impl ServerOrigin {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        Some(Self {
            is_tls,
            host: authority.host().to_ascii_lowercase(),
            port: authority
                .port_u16()
                .unwrap_or(if is_tls { 443 } else { 80 }),
        })
    }

    /// Whether traffic leaves this machine unencrypted.
    pub(super) fn exposes_traffic(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        };
        !self.is_tls && !is_loopback
    }
}

/// Whether `text` is an HTTP or HTTPS URL with a host and without credentials.
pub(in crate::cli) fn is_server_url(text: &str) -> bool {
    ServerOrigin::parse(text).is_some_and(|origin| !origin.host.is_empty())
}

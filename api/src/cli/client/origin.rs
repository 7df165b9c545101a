//! The address of a server, as far as a command has to know it.

use std::net::IpAddr;

use ureq::http::Uri;

/// Who answers at an address: its scheme, host and port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerOrigin {
    is_tls: bool,
    host: String,
    port: u16,
}

impl ServerOrigin {
    pub(super) fn of(url: &str) -> Option<Self> {
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

    /// Whether others can read along.
    pub(super) fn exposes(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        };
        !self.is_tls && !is_loopback
    }
}

/// Whether a text is an address of a server.
pub(in crate::cli) fn is_address(text: &str) -> bool {
    ServerOrigin::of(text).is_some_and(|origin| !origin.host.is_empty())
}

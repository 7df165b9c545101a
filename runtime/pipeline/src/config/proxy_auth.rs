//! Sign-in by a proxy in front of the dashboard, such as oauth2-proxy, Cloudflare Access or
//! Tailscale.

use std::net::IpAddr;

use session_pipeline_store::Role;

use super::IpNetwork;

/// How a proxy signs users in: it authenticates them, and sends their e-mail address in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAuth {
    /// The name of the header, in lower case.
    pub header: String,
    /// The addresses of the proxies. The header of any other peer is rejected. Empty: no proxy signs
    /// users in, and the header has no meaning.
    pub from: Vec<IpNetwork>,
    /// The role of all users that a proxy signs in.
    pub role: Role,
}

impl ProxyAuth {
    /// Whether proxies can sign users in.
    pub fn is_on(&self) -> bool {
        !self.from.is_empty()
    }

    /// Whether an address is that of a proxy. Pass the peer of the connection, never an address
    /// from a header.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(peer))
    }
}

impl Default for ProxyAuth {
    fn default() -> Self {
        Self {
            header: "x-forwarded-email".to_owned(),
            from: Vec::new(),
            role: Role::Member,
        }
    }
}

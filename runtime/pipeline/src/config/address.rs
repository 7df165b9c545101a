//! Where a provider answers: an address that is checked before anything is sent to it.
//!
//! In logs and errors it is its scheme and host only: a path may name an account.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The address of a provider, or of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// What is allowed, in words that fit after "give".
pub const ALLOWED: &str =
    "an address like \"https://api.example.com/v1\", without user, password, `?` and `#`";

impl Address {
    /// Reads one; `None` for what is none, holds a secret, or would not be taken literally.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        is_plain.then_some(Self(url))
    }

    /// Whether what is sent there can be read on its way to another network: it goes without TLS
    /// to neither this machine nor one of a private network.
    pub fn is_readable_on_its_way(&self) -> bool {
        !self.has_tls() && !self.is_near()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// This machine, or one whose address or name is of no use on the internet.
    fn is_near(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
            // A name without a dot is one of this network, such as a container beside ours.
            Err(_) => {
                let is_local = |end| host.ends_with(end);
                !host.contains('.') || [".local", ".internal", ".localhost"].iter().any(is_local)
            }
        }
    }

    /// The address of something below it.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let below = self.0.path().trim_end_matches('/');
        url.set_path(&format!("{below}/{path}"));
        url
    }

    /// The same address without this last part of its path.
    pub(crate) fn without(mut self, last: &str) -> Self {
        let path = self.0.path().trim_end_matches('/');
        if let Some(rest) = path.strip_suffix(last) {
            let rest = rest.to_owned();
            self.0.set_path(&rest);
        }
        self
    }

    /// As text, in full.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            self.0.scheme(),
            self.0.host_str().unwrap_or_default()
        )?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! The address of a provider or proxy, validated before anything is sent to it.
//!
//! Logs and errors show only its scheme, host and port. Its path can name an account.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The address of a provider or a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderUrl(Url);

/// The accepted form, as a noun phrase for error messages.
pub const ALLOWED: &str =
    "an address like \"https://api.example.com/v1\", without user, password, `?` and `#`";

impl ProviderUrl {
    /// Parses an address. Returns `None` if it is invalid, contains credentials, a query or a
    /// fragment.
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

    /// Whether data sent to the address can be read in transit: it uses no TLS and leads neither to
    /// this machine nor to a private network.
    pub fn is_readable_in_transit(&self) -> bool {
        !self.has_tls() && !is_local(&self.0)
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Appends a path.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let below = self.0.path().trim_end_matches('/');
        url.set_path(&format!("{below}/{path}"));
        url
    }

    /// Removes a suffix from the path.
    pub(crate) fn without(mut self, last: &str) -> Self {
        let path = self.0.path().trim_end_matches('/');
        if let Some(rest) = path.strip_suffix(last) {
            let rest = rest.to_owned();
            self.0.set_path(&rest);
        }
        self
    }

    /// The full address.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Whether the host is this machine or in a private network, judged by its address or name.
pub(super) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        // A name without a dot belongs to this network, such as the name of a container.
        Err(_) => {
            let is_local = |end| host.ends_with(end);
            !host.contains('.') || [".local", ".internal", ".localhost"].iter().any(is_local)
        }
    }
}

/// The scheme, host and port of an address, without the path, which can be a secret.
pub(super) fn origin(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let host = url.host_str().unwrap_or_default();
    write!(f, "{}://{host}", url.scheme())?;
    url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        origin(&self.0, f)
    }
}

impl fmt::Debug for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Gets a price table for `prices update`: from a file, or with one GET request over HTTP.
//!
//! No other part of the program fetches prices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Proxy, Url, redirect};
use session_pipeline_host::regular;
use tokio::runtime::Builder;

use super::FILE_BYTES_MAX;
use crate::config::LlmConfig;

/// LiteLLM's table.
const DEFAULT: &str =
    "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Maximum time for the whole table.
const TIME_MAX: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 3;

/// The source of a price table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceSource {
    /// A file.
    File(PathBuf),
    /// An address with `http` or `https`.
    Url(Url),
}

impl Default for PriceSource {
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    fn default() -> Self {
        Self::Url(Url::parse(DEFAULT).expect("the default address is valid"))
    }
}

/// The text names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file or an address like https://example.com/prices.json, without user and password")]
pub struct InvalidPriceSource;

impl std::str::FromStr for PriceSource {
    type Err = InvalidPriceSource;

    fn from_str(text: &str) -> Result<Self, InvalidPriceSource> {
        if text.is_empty() {
            return Err(InvalidPriceSource);
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|_| InvalidPriceSource)?;
        let is_valid = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none();
        is_valid.then_some(Self::Url(url)).ok_or(InvalidPriceSource)
    }
}

impl PriceSource {
    /// The source as notes and messages show it. The query of an address can contain a secret and
    /// is not part of it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => {
                let mut url = url.clone();
                url.set_query(None);
                url.set_fragment(None);
                url.into()
            }
        }
    }
}

/// Why a price table can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read price table `{source_name}`: {reason}; check the address, or name a file with --from"
)]
pub struct PriceFetchError {
    source_name: String,
    reason: String,
    /// Whether the source is wrong, and not the network.
    pub is_wrong_use: bool,
}

/// The text of a price table. Sends a request if the source is an address, through the proxy of
/// language models if there is one.
///
/// # Errors
/// If it can't be read completely, is larger than 16 MiB, or is not UTF-8.
pub fn fetch_prices(source: &PriceSource, config: &LlmConfig) -> Result<String, PriceFetchError> {
    let failed = |reason: String, is_wrong_use| PriceFetchError {
        source_name: source.shown(),
        reason,
        is_wrong_use,
    };
    match source {
        PriceSource::File(path) => read_file(path).map_err(|error| failed(error.to_string(), true)),
        PriceSource::Url(url) => {
            let bytes = download(url, config).map_err(|reason| failed(reason, false))?;
            String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned(), true))
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    regular::read_to_string(path, FILE_BYTES_MAX)
}

fn download(url: &Url, config: &LlmConfig) -> Result<Vec<u8>, String> {
    // Fails if a provider is already installed, which then stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::custom(followed))
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(TIME_MAX)
        // Only `main` reads the environment.
        .no_proxy();
    if let Some(proxy) = &config.proxy {
        let proxy = Proxy::all(proxy.as_str());
        client = client.proxy(proxy.map_err(|error| deepest(&error))?);
    }
    let client = client.build().map_err(|error| deepest(&error))?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(exchange(client.get(url.clone())))
}

/// Follows few redirects, and none from `https` to `http`.
fn followed(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let had_tls = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else if had_tls && attempt.url().scheme() != "https" {
        attempt.error("a redirect from https to http")
    } else {
        attempt.follow()
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Vec<u8>, String> {
    let described = |error: reqwest::Error| match error.is_timeout() {
        true => format!("it did not arrive within {} s", TIME_MAX.as_secs()),
        false => deepest(&error),
    };
    let mut response = request.send().await.map_err(described)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!(
            "the server responded with status {}",
            status.as_u16()
        ));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(described)? {
        if (body.len() + chunk.len()) as u64 > FILE_BYTES_MAX {
            return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost error. The outer ones contain the full address.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source()).last();
    let innermost = innermost.unwrap_or(error);
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) => "the connection failed".to_owned(),
        None => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_file_or_an_http_address_without_credentials() {
        assert!(PriceSource::default().shown().starts_with("https://"));
        let source = |text: &str| text.parse::<PriceSource>().map(|source| source.shown());
        assert_eq!(source("a/prices.json").unwrap(), "a/prices.json");
        assert_eq!(
            source("http://example.com/p.json?key=secret#x").unwrap(),
            "http://example.com/p.json"
        );
        for invalid in [
            "",
            "ftp://example.com/p",
            "file:///etc/passwd",
            "https://u:p@example.com/p",
            "https://",
        ] {
            assert_eq!(source(invalid), Err(InvalidPriceSource), "{invalid}");
        }
    }
}

//! Sends one message to a webhook, and decides whether the receiver could have accepted it.
//!
//! The path and query of the address are secret. Nothing that this module returns contains them.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Proxy, StatusCode, redirect};
use tokio::runtime::Builder;

use crate::config::{ProviderUrl, WebhookUrl};

/// Maximum time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Maximum time for a message and its answer. Shorter than the time that a stopping service has.
const TIME_MAX: Duration = Duration::from_secs(6);

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The receiver accepted it.
    Accepted,
    /// The receiver certainly did not accept it, and could accept it later.
    NotSent {
        /// The reason.
        reason: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// The receiver rejected it, and would reject it again.
    Rejected(String),
    /// The receiver could have accepted it.
    Unknown(String),
}

/// The receiver of messages.
#[derive(Debug)]
pub(super) struct Webhook {
    url: WebhookUrl,
    proxy: Option<ProviderUrl>,
}

impl Webhook {
    pub(super) fn new(url: WebhookUrl, proxy: Option<ProviderUrl>) -> Self {
        Self { url, proxy }
    }

    pub(super) fn url(&self) -> &WebhookUrl {
        &self.url
    }

    /// Sends a message and waits for the answer. `id` lets the receiver recognize a message.
    pub(super) fn send(&self, id: &str, body: String) -> Delivery {
        let not_sent = |reason: &str| Delivery::NotSent {
            reason: reason.to_owned(),
            retry_after: None,
        };
        let Ok(client) = self.client() else {
            return not_sent("cannot set up the connection");
        };
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
            return not_sent("cannot start the async runtime");
        };
        let request = client
            .post(self.url.expose().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", id)
            .body(body);
        runtime.block_on(async { delivery(request.send().await) })
    }

    fn client(&self) -> reqwest::Result<Client> {
        // Fails if a provider is already installed, which then stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            // A redirect would repeat the message.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(TIME_MAX)
            // Only `main` reads the environment.
            .no_proxy();
        if self.url.expose().scheme() != "https" {
            // Without TLS, no certificates are needed. A minimal container has none.
            client = client.tls_certs_only([]);
        }
        if let Some(proxy) = &self.proxy {
            client = client.proxy(Proxy::all(proxy.as_str())?);
        }
        client.build()
    }
}

/// Judges an answer. An error with a connection can have occurred after the receiver accepted the
/// message, and so can a failure of the receiver or of a gateway in front of it.
fn delivery(answer: reqwest::Result<reqwest::Response>) -> Delivery {
    let response = match answer {
        Ok(response) => response,
        Err(error) if error.is_connect() => {
            return Delivery::NotSent {
                reason: "the receiver cannot be reached".to_owned(),
                retry_after: None,
            };
        }
        Err(error) if error.is_timeout() => {
            return Delivery::Unknown(format!("no answer within {} s", TIME_MAX.as_secs()));
        }
        Err(_) => return Delivery::Unknown("the connection broke".to_owned()),
    };
    let status = response.status();
    let reason = format!("the receiver answered with status {}", status.as_u16());
    match status {
        status if status.is_success() => Delivery::Accepted,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds = response.headers().get(RETRY_AFTER);
            let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Delivery::NotSent {
                reason,
                retry_after: seconds.map(Duration::from_secs),
            }
        }
        status if status.is_server_error() => Delivery::Unknown(reason),
        _ => Delivery::Rejected(reason),
    }
}

//! HTTP transport: one request to a provider and its answer as bytes, limited in time and size,
//! without redirects.
//!
//! The caller blocks its own thread. Requests run on a separate small async runtime, so the caller
//! can be on a thread of any other runtime.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Proxy, Url, redirect};
use tokio::runtime::{Builder, Runtime};

use crate::config::{LlmConfig, ProviderUrl};

/// Far more than the longest answer of a model.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Maximum time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Sends requests.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    /// `None` after [`Transport::stop`].
    runtime: Mutex<Option<Runtime>>,
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// Why there is no complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TransportError {
    /// The request timed out.
    TimedOut,
    /// The server could not be reached.
    Unreachable(String),
    /// The connection broke during the answer.
    Interrupted,
    /// The answer exceeds the maximum size.
    TooLarge,
    /// The program is shutting down.
    Stopped,
}

impl Transport {
    /// Creates the HTTP client and its runtime.
    ///
    /// # Errors
    /// If the thread can't be started, or certificates can't be loaded.
    pub fn new(config: &LlmConfig, base: &ProviderUrl) -> Result<Self, String> {
        // Fails if a provider is already installed, which then stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // Retries cost money, so only the connector decides about them.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIME_MAX)
            .tls_danger_accept_invalid_certs(!config.verify_ssl)
            // Only `main` reads the environment.
            .no_proxy();
        if !base.has_tls() {
            // Without TLS, no certificates are needed. A minimal container has none.
            client = client.tls_certs_only([]);
        }
        if let Some(proxy) = &config.proxy {
            let proxy = Proxy::all(proxy.as_str());
            client = client.proxy(proxy.map_err(|error| deepest(&error))?);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("llm-requests")
            .enable_all()
            .build();
        Ok(Self {
            client: client.build().map_err(|error| deepest(&error))?,
            runtime: Mutex::new(Some(runtime.map_err(|error| error.to_string())?)),
        })
    }

    /// Sends a request and waits for the complete answer.
    pub fn send(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        time: Duration,
    ) -> Result<HttpAnswer, TransportError> {
        let request = self
            .client
            .post(url)
            .headers(headers)
            .body(body)
            .timeout(time);
        let (answer, received) = bounded(1);
        {
            let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = runtime.as_ref().ok_or(TransportError::Stopped)?;
            runtime.spawn(async move {
                // Cannot fail: the caller waits.
                let _ = answer.send(exchange(request).await);
            });
        }
        // The channel is closed if the runtime is gone.
        received.recv().unwrap_or(Err(TransportError::Stopped))
    }

    /// Aborts requests in progress and rejects new ones.
    pub fn stop(&self) {
        let runtime = self
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed on a thread of another runtime.
        self.stop();
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<HttpAnswer, TransportError> {
    let mut response = request
        .send()
        .await
        .map_err(|error| transport_error(&error))?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok().map(str::to_owned));
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport_error(&error))?
    {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(TransportError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpAnswer {
        status,
        retry_after,
        body,
    })
}

fn transport_error(error: &reqwest::Error) -> TransportError {
    if error.is_timeout() {
        TransportError::TimedOut
    } else if error.is_connect() {
        TransportError::Unreachable(deepest(error))
    } else {
        TransportError::Interrupted
    }
}

/// The innermost error. The outer ones contain the full URL.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<reqwest::Error>() {
        Some(_) => "cannot set up the connection".to_owned(),
        None => deepest.to_string(),
    }
}

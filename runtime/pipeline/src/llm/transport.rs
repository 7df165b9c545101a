//! One request to a provider and its answer, as bytes: bounded in time and size, and never led
//! elsewhere.
//!
//! Whoever asks waits on a thread of its own. The requests run on a small runtime of theirs, so that
//! it does not matter whether that thread belongs to another one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Proxy, Url, redirect};
use tokio::runtime::{Builder, Runtime};

use crate::config::Address;
use crate::config::LlmConfig;

/// Far more than the longest answer that a model can give.
const BODY_BYTES_MAX: usize = 8 << 20;
/// A machine that is there answers sooner.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Sends requests.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    /// `None` once it was stopped.
    runtime: Mutex<Option<Runtime>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Received {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The time ran out.
    TimedOut,
    /// Nobody took the request.
    Unreachable(String),
    /// The answer broke off.
    BrokenOff,
    /// The answer is larger than any.
    TooLarge,
    /// We ourselves are ending.
    Stopped,
}

impl Transport {
    /// Makes ready what requests need.
    ///
    /// # Errors
    /// When the system has no thread left or no certificates.
    pub fn new(config: &LlmConfig, base: &Address) -> Result<Self, String> {
        // One that the program chose before stands as it is.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // Repeated requests cost money: who repeats them is decided in one place.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIME_MAX)
            .tls_danger_accept_invalid_certs(!config.verify_ssl)
            // The environment is read by `main` alone.
            .no_proxy();
        if !base.has_tls() {
            // Nor needs a machine any certificates that only asks a server beside it.
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

    /// Sends a request and waits for the whole answer.
    pub fn send(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        time: Duration,
    ) -> Result<Received, Lost> {
        let request = self
            .client
            .post(url)
            .headers(headers)
            .body(body)
            .timeout(time);
        let (answer, received) = bounded(1);
        {
            let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = runtime.as_ref().ok_or(Lost::Stopped)?;
            runtime.spawn(async move {
                // Whoever asked waits for it.
                let _ = answer.send(exchange(request).await);
            });
        }
        // Nobody sends anything any more where the runtime is gone.
        received.recv().unwrap_or(Err(Lost::Stopped))
    }

    /// Breaks off what is under way, and takes no more.
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
        // A runtime that is merely dropped waits, which it must not do on another one's thread.
        self.stop();
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Received, Lost> {
    let mut response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok().map(str::to_owned));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Lost::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received {
        status,
        retry_after,
        body,
    })
}

fn lost(error: &reqwest::Error) -> Lost {
    if error.is_timeout() {
        Lost::TimedOut
    } else if error.is_connect() {
        Lost::Unreachable(deepest(error))
    } else {
        Lost::BrokenOff
    }
}

/// The reason behind all others: those above it name the whole address.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<reqwest::Error>() {
        Some(_) => "it can't be set up".to_owned(),
        None => deepest.to_string(),
    }
}

//! Sends calls to a server over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use session_pipeline_host::fault::printable;
use session_pipeline_host::regular;
use session_pipeline_store::Holder;
use ureq::Agent;

use super::origin::ServerOrigin;
use super::{RouteCall, RouteResponse};
use crate::cli::{CommandFailure, GlobalArgs, hint};

/// A running server accepts connections immediately.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// More than the list of a million sessions.
const RESPONSE_BYTES_MAX: u64 = 1 << 30;
/// More than the length of any token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// A server and the token for it.
pub(in crate::cli) struct RemoteClient {
    agent: Agent,
    url: String,
    token: String,
}

impl GlobalArgs {
    /// Whether `url` is the URL of the running server that has the data directory open. The URL of a
    /// server that has stopped does not count, because any program can listen there now.
    pub(super) fn is_own_server(&self, url: &str) -> Result<bool, CommandFailure> {
        let holder = Holder::current(&self.config()?.state_dir());
        let announced = holder.and_then(|holder| ServerOrigin::parse(&holder.url?));
        Ok(announced.is_some_and(|announced| ServerOrigin::parse(url) == Some(announced)))
    }

    pub(super) fn server(&self, url: &str, is_own: bool) -> Result<RemoteClient, CommandFailure> {
        let url = url.trim_end_matches('/').to_owned();
        let display_url = printable(&url);
        let explicit = self.token.as_deref().and_then(trimmed);
        let token = match explicit {
            Some(token) => Some(token),
            None if is_own => self.stored_token()?,
            None => {
                return Err(CommandFailure::could_not_run(format!(
                    "no token for the server at {display_url}: the stored token is sent only to the server that has this data \
                     directory open; set SESSION_PIPELINE_TOKEN to a token of that server"
                )));
            }
        };
        let Some(token) = token else {
            let file = self.admin_token_path()?.display().to_string();
            return Err(CommandFailure::could_not_run(format!(
                "the server at {display_url} requires a token; set SESSION_PIPELINE_TOKEN; an admin can create a token with \
                 `session-pipeline token create --role analyst`, and the first admin token is in `{}`",
                printable(&file),
            )));
        };
        if ServerOrigin::parse(&url).is_none_or(|origin| origin.exposes_traffic()) {
            hint(&format!(
                "warning: {display_url} uses plain HTTP on a network, so others can read the token and the data; use https"
            ));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy from the environment could read the token, even for a server on loopback.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(RemoteClient { agent, url, token })
    }

    /// The token for the server of this data directory.
    fn stored_token(&self) -> Result<Option<String>, CommandFailure> {
        if let Some(token) = self.scheduler_token.as_deref().and_then(trimmed) {
            return Ok(Some(token));
        }
        let file = self.admin_token_path()?;
        let text = regular::read_to_string(&file, TOKEN_BYTES_MAX);
        Ok(text.ok().as_deref().and_then(trimmed))
    }

    fn admin_token_path(&self) -> Result<PathBuf, CommandFailure> {
        Ok(self.config()?.state_dir().join("admin-token"))
    }
}

/// A token without surrounding white space. `None` if it is empty.
fn trimmed(token: &str) -> Option<String> {
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

impl RemoteClient {
    pub(super) fn send(&self, call: &RouteCall<'_>) -> Result<RouteResponse, CommandFailure> {
        let mut request = ureq::http::Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.url, call.target()))
            .header("Authorization", format!("Bearer {}", self.token));
        if call.body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        let unreachable = |error: &dyn std::error::Error| {
            let url = printable(&self.url);
            CommandFailure::could_not_run(format!(
                "cannot reach the server at {url}: {error}; check the URL and that the server is running"
            ))
        };
        let sent = match &call.body {
            Some(body) => request
                .body(body.clone())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        let mut response = sent.map_err(|error| unreachable(&error))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(RESPONSE_BYTES_MAX)
            .read_to_string()
            .map_err(|error| unreachable(&error))?;
        Ok(RouteResponse {
            status: response.status(),
            text,
        })
    }

    /// The URL, safe to print.
    pub(super) fn display_url(&self) -> String {
        printable(&self.url)
    }
}

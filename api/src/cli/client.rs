//! Asking the server that holds the data dir, instead of the data dir itself.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session_pipeline_host::fault::printable;
use session_pipeline_host::regular;
use session_pipeline_pipeline::run::RunError;
use session_pipeline_store::{Holder, StoreError};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::{Failure, Global, hint};
use crate::body::Problem;

/// A server that is there answers a connection at once.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// More than a list of a million sessions.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// More than any token has.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Who does what a command asks for.
pub(super) enum Reach<T> {
    /// This process, which holds the data dir now.
    Here(T),
    /// The server that holds it.
    Server(Client),
}

/// An error that may say that a server holds the data dir.
pub(super) trait MayBeLocked: Into<Failure> {
    fn server(&self) -> Option<&str>;
}

impl MayBeLocked for StoreError {
    fn server(&self) -> Option<&str> {
        match self {
            Self::Locked { holder, .. } => holder.url.as_deref(),
            _ => None,
        }
    }
}

impl MayBeLocked for RunError {
    fn server(&self) -> Option<&str> {
        match self {
            Self::Store(error) => error.server(),
            _ => None,
        }
    }
}

impl Global {
    /// Opens what a command needs, or finds the server that has it open: the one that `--api`
    /// names, else the one in the lock file.
    pub(super) fn reach<T, E: MayBeLocked>(
        &self,
        open: impl FnOnce() -> Result<T, E>,
    ) -> Result<Reach<T>, Failure> {
        if let Some(url) = &self.api {
            return Ok(Reach::Server(self.client(url, self.is_own_server(url)?)?));
        }
        match open() {
            Ok(opened) => Ok(Reach::Here(opened)),
            Err(error) => match error.server() {
                Some(url) => Ok(Reach::Server(self.client(url, true)?)),
                None => Err(error.into()),
            },
        }
    }

    /// Whether this address is the one that the server which holds the data dir announced. Of a
    /// server that is gone the address is worth nothing: anybody may listen there now.
    fn is_own_server(&self, url: &str) -> Result<bool, Failure> {
        let holder = Holder::of(&self.config()?.state_dir());
        let announced = holder.and_then(|holder| Origin::of(&holder.url?));
        Ok(announced.is_some_and(|announced| Origin::of(url) == Some(announced)))
    }

    fn client(&self, url: &str, is_own: bool) -> Result<Client, Failure> {
        let url = url.trim_end_matches('/').to_owned();
        let shown = printable(&url);
        let explicit = self.token.as_deref().and_then(filled);
        let token = match explicit {
            Some(token) => Some(token),
            None if is_own => self.stored_token()?,
            None => {
                return Err(Failure::could_not_run(format!(
                    "no token for the server at {shown}: the stored token is sent only to the server that holds this data \
                     directory; set SESSION_PIPELINE_TOKEN to a token of that server"
                )));
            }
        };
        let Some(token) = token else {
            let file = self.admin_token_path()?.display().to_string();
            return Err(Failure::could_not_run(format!(
                "the server at {shown} wants a token: put one into SESSION_PIPELINE_TOKEN; an admin makes one by \
                 `session-pipeline token create --role analyst`, and the first one lies in `{}`",
                printable(&file),
            )));
        };
        if Origin::of(&url).is_none_or(|origin| origin.exposes()) {
            hint(&format!(
                "warning: {shown} is plain HTTP beyond this machine, so the token and the data can be read on the way; use https"
            ));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy of the environment would read the token, even one for a server on loopback.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client { agent, url, token })
    }

    /// The token that belongs to the server of this data dir.
    fn stored_token(&self) -> Result<Option<String>, Failure> {
        if let Some(token) = self.scheduler_token.as_deref().and_then(filled) {
            return Ok(Some(token));
        }
        let file = self.admin_token_path()?;
        let text = regular::read_to_string(&file, TOKEN_BYTES_MAX);
        Ok(text.ok().as_deref().and_then(filled))
    }

    fn admin_token_path(&self) -> Result<PathBuf, Failure> {
        Ok(self.config()?.state_dir().join("admin-token"))
    }
}

/// A token without the white space around it; `None` for an empty one.
fn filled(token: &str) -> Option<String> {
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Who answers at an address: its scheme, host and port.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(url: &str) -> Option<Self> {
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
    fn exposes(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        };
        !self.is_tls && !is_loopback
    }
}

/// Whether a text is an address that [`Global::reach`] can use.
pub(super) fn is_address(text: &str) -> bool {
    Origin::of(text).is_some_and(|origin| !origin.host.is_empty())
}

/// A server, and the token to show.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: String,
}

impl Client {
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.read(&self.get_text(path, query)?)
    }

    /// As [`Client::get`], as the server wrote it.
    pub(super) fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
        let request = self.agent.get(self.url_of(path));
        let request = request.query_pairs(query.iter().copied());
        self.answer(request.header("Authorization", self.bearer()).call())
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let request = self.agent.post(self.url_of(path));
        let request = request.query_pairs(query.iter().copied());
        let sent = request.header("Authorization", self.bearer()).send_empty();
        self.read(&self.answer(sent)?)
    }

    pub(super) fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_string(body)
            .map_err(|error| Failure::could_not_run(error.to_string()))?;
        let request = self.agent.post(self.url_of(path));
        let sent = request
            .header("Authorization", self.bearer())
            .header("Content-Type", "application/json")
            .send(body);
        self.read(&self.answer(sent)?)
    }

    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.agent.delete(self.url_of(path));
        let sent = request.header("Authorization", self.bearer()).call();
        self.read(&self.answer(sent)?)
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn answer(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<String, Failure> {
        let url = printable(&self.url);
        let failed = |error: &dyn std::error::Error| {
            Failure::could_not_run(format!(
                "the server at {url} can't be reached ({error}); check the address, and that it is running"
            ))
        };
        let mut response = sent.map_err(|error| failed(&error))?;
        let status = response.status();
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| failed(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        let detail = serde_json::from_str(&text).map_or_else(
            |_| format!("the server at {url} answers {status}; is it Session Pipeline?"),
            |Problem { detail }| detail,
        );
        let detail = printable(&detail);
        Err(match status.as_u16() {
            400 | 404 | 422 => Failure::wrong_use(detail),
            401 | 403 => Failure::could_not_run(format!(
                "the server at {url} refuses: {detail}; another token goes into SESSION_PIPELINE_TOKEN"
            )),
            _ => Failure::could_not_run(detail),
        })
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Failure> {
        serde_json::from_str(text).map_err(|error| {
            Failure::could_not_run(format!(
                "the answer of the server at {} can't be read ({error}); it may be of another version",
                printable(&self.url)
            ))
        })
    }
}

/// A part of a path.
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

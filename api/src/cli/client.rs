//! Asking the server that holds the data dir, instead of the data dir itself.

use std::fs;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session_pipeline_runtime::fault::printable;
use session_pipeline_runtime::run::RunError;
use session_pipeline_runtime::store::StoreError;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::{Failure, Global};
use crate::body::Problem;

/// A server that is there answers a connection at once.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// More than a list of a million sessions.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

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
            return Ok(Reach::Server(self.client(url)?));
        }
        match open() {
            Ok(opened) => Ok(Reach::Here(opened)),
            Err(error) => match error.server() {
                Some(url) => Ok(Reach::Server(self.client(url)?)),
                None => Err(error.into()),
            },
        }
    }

    fn client(&self, url: &str) -> Result<Client, Failure> {
        let file = self.config()?.state_dir().join("admin-token");
        let given = [&self.token, &self.scheduler_token].into_iter().flatten();
        let token = given
            .map(|token| token.trim().to_owned())
            .find(|token| !token.is_empty())
            .or_else(|| {
                fs::read_to_string(&file)
                    .ok()
                    .map(|text| text.trim().to_owned())
            })
            .filter(|token| !token.is_empty());
        let url = url.trim_end_matches('/').to_owned();
        let Some(token) = token else {
            return Err(Failure::could_not_run(format!(
                "the server at {} wants a token: put one into SESSION_PIPELINE_TOKEN; an admin makes one by \
                 `session-pipeline token create --role analyst`, and the first one lies in `{}`",
                printable(&url),
                printable(&file.display().to_string()),
            )));
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .user_agent(concat!("session-pipeline/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client { agent, url, token })
    }
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

//! The one way from the commands to their data: a router, that of a server over HTTP or that of this
//! process.

mod local;
mod open;
mod origin;
mod remote;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session_pipeline_host::fault::printable_lines;
use ureq::http::{Method, StatusCode};

use super::CommandFailure;
use crate::body::Problem;
use crate::http::Listener;
use crate::problem::ProblemClass;

pub(super) use local::LocalClient;
pub(super) use open::OpenMode;
pub(super) use origin::is_address;
pub(super) use remote::RemoteClient;

/// Where a command sends its calls.
pub(super) enum Client {
    /// The router in this process, which holds the data directory now.
    Local(LocalClient),
    /// The server that holds it.
    Server(RemoteClient),
}

/// One call of a route.
#[derive(Clone)]
pub(super) struct RouteCall<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, &'a str)>,
    body: Option<String>,
    listener: Option<Arc<dyn Listener>>,
}

impl<'a> RouteCall<'a> {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            listener: None,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds parameters.
    pub(super) fn query(mut self, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.query.extend(query);
        self
    }

    /// Adds a parameter, where it has a value.
    pub(super) fn given(self, name: &'a str, value: Option<&'a str>) -> Self {
        self.query(value.map(|value| (name, value)))
    }

    /// Sends a JSON document.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, CommandFailure> {
        let body = serde_json::to_string(body);
        self.body = Some(body.map_err(|error| CommandFailure::could_not_run(error.to_string()))?);
        Ok(self)
    }

    /// Listens to what a handler in this process reports; a server reports nothing.
    pub(super) fn heard_by(mut self, listener: Arc<dyn Listener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The path with the query.
    fn target(&self) -> String {
        let mut target = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&format!("{name}={}", segment(value)));
        }
        target
    }
}

/// What a router answered.
struct RouteResponse {
    status: StatusCode,
    text: String,
}

impl Client {
    /// The document that a call returns.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        call: &RouteCall<'_>,
    ) -> Result<T, CommandFailure> {
        let text = self.text(call)?;
        serde_json::from_str(&text).map_err(|error| {
            CommandFailure::could_not_run(match self {
                Self::Server(server) => format!(
                    "the answer of the server at {} can't be read ({error}); it may be of another version",
                    server.shown()
                ),
                Self::Local(_) => format!("the result can't be read ({error}); please report it"),
            })
        })
    }

    /// The same as text.
    pub(super) fn text(&self, call: &RouteCall<'_>) -> Result<String, CommandFailure> {
        let RouteResponse { status, text } = match self {
            Self::Local(local) => local.answer(call)?,
            Self::Server(server) => server.answer(call)?,
        };
        if status.is_success() {
            return Ok(text);
        }
        let problem = serde_json::from_str(&text).unwrap_or_else(|_| Problem {
            detail: match self {
                Self::Server(server) => format!(
                    "the server at {} answers {status}; is it Session Pipeline?",
                    server.shown()
                ),
                Self::Local(_) => format!("the command failed ({status}); please report it"),
            },
            class: None,
        });
        // A server of an earlier version names no class.
        let class = problem.class.unwrap_or_else(|| ProblemClass::of(status));
        let detail = match self {
            Self::Local(_) => problem.detail,
            Self::Server(server) => match (class, printable_lines(&problem.detail)) {
                (ProblemClass::Unauthenticated | ProblemClass::Forbidden, detail) => format!(
                    "the server at {} refuses: {detail}; another token goes into SESSION_PIPELINE_TOKEN",
                    server.shown()
                ),
                (_, detail) => detail,
            },
        };
        Err(CommandFailure::of(class, detail))
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

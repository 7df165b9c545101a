//! Sends the calls of commands to a router: over HTTP to a server, or in this process.

mod local;
mod open;
mod origin;
mod remote;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session_pipeline_host::fault::printable_lines;
use session_pipeline_pipeline::run::Pipeline;
use ureq::http::{Method, StatusCode};

use super::CommandFailure;
use crate::body::Problem;
use crate::http::{HandlerSource, Listener};
use crate::percent::encode;
use crate::problem::ProblemClass;

pub(super) use local::LocalClient;
pub(super) use open::OpenMode;
pub(super) use origin::is_server_url;
pub(super) use remote::RemoteClient;

/// The router that a command uses.
pub(super) enum Client {
    /// The router in this process, which has the data directory open.
    Local(LocalClient),
    /// A server.
    Server(RemoteClient),
}

/// A call of a route.
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

    /// Adds query parameters.
    pub(super) fn query(mut self, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.query.extend(query);
        self
    }

    /// Adds a query parameter if it has a value.
    pub(super) fn optional(self, name: &'a str, value: Option<&'a str>) -> Self {
        self.query(value.map(|value| (name, value)))
    }

    /// Sets the body to a JSON document.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, CommandFailure> {
        let body = serde_json::to_string(body);
        self.body = Some(body.map_err(|error| CommandFailure::could_not_run(error.to_string()))?);
        Ok(self)
    }

    /// Sets the body to a text that contains a JSON document.
    pub(super) fn body(mut self, text: String) -> Self {
        self.body = Some(text);
        self
    }

    /// Sets a listener for the reports of a handler in this process. A server sends no reports.
    pub(super) fn with_listener(mut self, listener: Arc<dyn Listener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The path and query.
    fn target(&self) -> String {
        let mut target = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&format!("{name}={}", encode(value)));
        }
        target
    }
}

/// The response of a router.
struct RouteResponse {
    status: StatusCode,
    text: String,
}

impl Client {
    /// The router in this process over an open pipeline.
    pub(super) fn over(pipeline: Arc<Pipeline>) -> Result<Self, CommandFailure> {
        LocalClient::new(HandlerSource::Pipeline(pipeline))
            .map(Self::Local)
            .map_err(|error| {
                CommandFailure::could_not_run(format!("cannot start the async runtime: {error}"))
            })
    }

    /// Sends a call and parses the JSON document in the response.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        call: &RouteCall<'_>,
    ) -> Result<T, CommandFailure> {
        let text = self.text(call)?;
        serde_json::from_str(&text).map_err(|error| {
            CommandFailure::could_not_run(match self {
                Self::Server(server) => format!(
                    "cannot parse the response of the server at {}: {error}; check that it runs the same version as this program",
                    server.display_url()
                ),
                Self::Local(_) => format!("cannot parse the result: {error}; please report this bug"),
            })
        })
    }

    /// Sends a call and returns the body of the response.
    pub(super) fn text(&self, call: &RouteCall<'_>) -> Result<String, CommandFailure> {
        let RouteResponse { status, text } = match self {
            Self::Local(local) => local.send(call)?,
            Self::Server(server) => server.send(call)?,
        };
        if status.is_success() {
            return Ok(text);
        }
        let problem = serde_json::from_str(&text).unwrap_or_else(|_| Problem {
            detail: match self {
                Self::Server(server) => format!(
                    "the server at {} returned {status} without a problem document; check that the URL is a Session Pipeline server",
                    server.display_url()
                ),
                Self::Local(_) => format!("the command failed with {status}; please report this bug"),
            },
            class: None,
            stored: None,
        });
        // Servers of earlier versions send no class.
        let class = problem
            .class
            .unwrap_or_else(|| ProblemClass::from_status(status));
        let detail = match self {
            Self::Local(_) => problem.detail,
            Self::Server(server) => match (class, printable_lines(&problem.detail)) {
                (ProblemClass::Unauthenticated | ProblemClass::Forbidden, detail) => format!(
                    "the server at {} rejected the request: {detail}; set SESSION_PIPELINE_TOKEN to another token",
                    server.display_url()
                ),
                (_, detail) => detail,
            },
        };
        Err(CommandFailure::with_class(class, detail))
    }
}

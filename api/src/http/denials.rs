//! Requests that were denied, and those that failed to change something, in the audit log.
//!
//! The sender of such requests must not be able to fill the disk with them. The first of a kind is
//! written down at once; those that follow within [`WINDOW`] are counted, and written as one row
//! when it is over. Kinds beyond [`KINDS_MAX`] in one window are one kind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::{Actor, AuditEntry, ClientKind};

use super::ServiceState;
use super::caller::client_address;

/// How long requests of one kind are counted before they are written down.
const WINDOW: Duration = Duration::from_secs(600);
/// Kinds in one window: two rows for each of them at most.
const KINDS_MAX: usize = 32;
/// A denied client waits at most this long for its row, so that it does not hang on a busy database.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// Who asks, as soon as a token was recognised.
#[derive(Clone, Default)]
pub(super) struct RecognizedCaller(pub(super) Arc<OnceLock<Actor>>);

/// What makes two requests alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct DenialKind {
    status: u16,
    resource: String,
    user_id: Option<String>,
    client_ip: Option<String>,
    is_scheduler: bool,
}

impl DenialKind {
    fn of(status: StatusCode, resource: String, actor: Actor) -> Self {
        Self {
            status: status.as_u16(),
            resource,
            is_scheduler: actor.client_kind == ClientKind::Scheduler,
            user_id: actor.user_id,
            client_ip: actor.client_ip,
        }
    }

    /// All kinds for which there is no room.
    fn other() -> Self {
        Self {
            status: 0,
            resource: "other requests".to_owned(),
            user_id: None,
            client_ip: None,
            is_scheduler: false,
        }
    }

    fn entry(self, count: u64, now: UtcMicros) -> AuditEntry {
        let action = match self.status {
            401 | 403 => "request.denied",
            _ => "request.failed",
        };
        let actor = Actor {
            user_id: self.user_id,
            client_kind: match self.is_scheduler {
                true => ClientKind::Scheduler,
                false => ClientKind::Web,
            },
            client_ip: self.client_ip,
        };
        let params = serde_json::json!({ "status": self.status, "count": count });
        AuditEntry {
            params: Some(params.to_string()),
            result: "failed".to_owned(),
            ..AuditEntry::new(action, self.resource, actor, now)
        }
    }
}

/// What was denied since the window began.
#[derive(Default)]
pub(super) struct Denials(Mutex<DenialWindow>);

#[derive(Default)]
struct DenialWindow {
    began: UtcMicros,
    /// How many of each kind came after the first.
    more: HashMap<DenialKind, u64>,
}

impl Denials {
    /// Counts a request; gives what is to be written down now.
    fn note(&self, kind: DenialKind, now: UtcMicros) -> Vec<AuditEntry> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = now >= window.began.plus(WINDOW) || now < window.began;
        let mut entries = match is_over {
            true => window.restart(now),
            false => Vec::new(),
        };
        let has_room = window.more.len() < KINDS_MAX || window.more.contains_key(&kind);
        let kind = if has_room { kind } else { DenialKind::other() };
        match window.more.get_mut(&kind) {
            Some(more) => *more = more.saturating_add(1),
            None => {
                window.more.insert(kind.clone(), 0);
                entries.push(kind.entry(1, now));
            }
        }
        entries
    }

    /// What was counted and not written down; for the end of the service.
    pub(super) fn rest(&self, now: UtcMicros) -> Vec<AuditEntry> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.restart(now)
    }
}

impl DenialWindow {
    fn restart(&mut self, now: UtcMicros) -> Vec<AuditEntry> {
        self.began = now;
        let more = self.more.drain().filter(|(_, more)| *more > 0);
        more.map(|(kind, more)| kind.entry(more, now)).collect()
    }
}

/// Writes down what comes of a request, where it was denied or failed to change something.
pub(super) async fn watched(
    State(service): State<Arc<ServiceState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let recognised = RecognizedCaller::default();
    request.extensions_mut().insert(recognised.clone());
    let method = request.method().clone();
    // The route and never the path, which a caller may fill at will.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let address = client_address(request.headers(), request.extensions(), &service);
    let response = next.run(request).await;
    let status = response.status();
    let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let changes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let has_failed = status.is_client_error() || status.is_server_error();
    let (Some(route), true) = (route, is_denied || (changes && has_failed)) else {
        return response;
    };
    let actor = recognised.0.get().cloned().unwrap_or_else(|| Actor {
        user_id: None,
        client_kind: ClientKind::Web,
        client_ip: address.map(|address| address.to_string()),
    });
    let resource = format!("{method} {}", route.as_str());
    let now = service.clock().now();
    let entries = service
        .denials
        .note(DenialKind::of(status, resource, actor), now);
    if !entries.is_empty() {
        let service = Arc::clone(&service);
        let written = tokio::task::spawn_blocking(move || service.write_denials(entries));
        // What is late is written all the same.
        let _ = tokio::time::timeout(WAIT_MAX, written).await;
    }
    response
}

impl ServiceState {
    fn write_denials(&self, entries: Vec<AuditEntry>) {
        for entry in entries {
            let Some(store) = self.store() else { return };
            if let Err(error) = store.audit(entry) {
                tracing::warn!("a denied request is missing in the audit log: {error}");
            }
        }
    }

    /// Writes down what was denied and only counted so far.
    pub fn finish_denials(&self) {
        self.write_denials(self.denials.rest(self.clock().now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(number: usize) -> DenialKind {
        DenialKind {
            status: 401,
            client_ip: Some(format!("10.0.0.{number}")),
            ..DenialKind::other()
        }
    }

    #[test]
    fn however_many_requests_are_denied_the_rows_are_few() {
        let denials = Denials::default();
        let start = UtcMicros(1_000_000_000_000);
        let mut rows = Vec::new();
        for number in 0..100_000 {
            rows.extend(denials.note(kind(number % 5_000), start));
        }
        assert_eq!(rows.len(), KINDS_MAX + 1);
        let later = start.plus(WINDOW);
        let rows = denials.note(kind(0), later);
        assert_eq!(
            rows.len(),
            KINDS_MAX + 2,
            "their counts, and the first of the next window"
        );
        let count = |entry: &AuditEntry| {
            let params: serde_json::Value =
                serde_json::from_str(entry.params.as_deref().unwrap()).unwrap();
            params
                .get("count")
                .and_then(|count| count.as_u64())
                .unwrap()
        };
        let counted: u64 = rows.iter().map(count).sum();
        assert_eq!(counted + KINDS_MAX as u64 + 1, 100_001);
        assert!(denials.rest(later).is_empty());
    }
}

//! Records denied requests, and failed requests that would change data, in the audit log.
//!
//! A client must not be able to fill the disk with such requests. The first request of a kind is
//! recorded immediately. Later ones within [`WINDOW`] are counted, and recorded as one row when the
//! window ends. Kinds beyond [`KINDS_MAX`] in one window are recorded as one kind.

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

/// How long requests of one kind are counted before the count is recorded.
const WINDOW: Duration = Duration::from_secs(600);
/// Maximum number of kinds in one window. Each kind has at most two rows.
const KINDS_MAX: usize = 32;
/// How long a response waits for its audit row, so that a busy database does not delay it.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// The caller of a request. Set after authentication.
#[derive(Clone, Default)]
pub(crate) struct RecognizedCaller(pub(crate) Arc<OnceLock<Actor>>);

/// A mark of a response that denies a request, although its status does not show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HiddenDenial;

/// A mark of a response whose request was recorded.
#[derive(Clone, Copy, Debug)]
struct RecordedDenial;

/// The properties by which failed requests are grouped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct DenialKind {
    status: u16,
    resource: String,
    user_id: Option<String>,
    client_ip: Option<String>,
    is_scheduler: bool,
}

impl DenialKind {
    fn new(status: StatusCode, resource: String, actor: Actor) -> Self {
        Self {
            status: status.as_u16(),
            resource,
            is_scheduler: actor.client_kind == ClientKind::Scheduler,
            user_id: actor.user_id,
            client_ip: actor.client_ip,
        }
    }

    /// The kind for all requests beyond [`KINDS_MAX`].
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

/// The denied requests of the current window.
#[derive(Default)]
pub(super) struct Denials(Mutex<DenialWindow>);

#[derive(Default)]
struct DenialWindow {
    started_at: UtcMicros,
    /// The number of requests of each kind after the first.
    repeats: HashMap<DenialKind, u64>,
}

impl Denials {
    /// Counts a request. Returns the entries to record now.
    fn count(&self, kind: DenialKind, now: UtcMicros) -> Vec<AuditEntry> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = now >= window.started_at.plus(WINDOW) || now < window.started_at;
        let mut entries = match is_over {
            true => window.restart(now),
            false => Vec::new(),
        };
        let has_room = window.repeats.len() < KINDS_MAX || window.repeats.contains_key(&kind);
        let kind = if has_room { kind } else { DenialKind::other() };
        match window.repeats.get_mut(&kind) {
            Some(repeats) => *repeats = repeats.saturating_add(1),
            None => {
                window.repeats.insert(kind.clone(), 0);
                entries.push(kind.entry(1, now));
            }
        }
        entries
    }

    /// Ends the window. Returns the counts that are not recorded yet.
    pub(super) fn drain(&self, now: UtcMicros) -> Vec<AuditEntry> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.restart(now)
    }
}

impl DenialWindow {
    fn restart(&mut self, now: UtcMicros) -> Vec<AuditEntry> {
        self.started_at = now;
        let repeated = self.repeats.drain().filter(|(_, repeats)| *repeats > 0);
        repeated
            .map(|(kind, repeats)| kind.entry(repeats, now))
            .collect()
    }
}

/// Middleware that records denied requests, and failed requests that would change data.
pub(crate) async fn audit_failures(
    State(service): State<Arc<ServiceState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let recognized = RecognizedCaller::default();
    request.extensions_mut().insert(recognized.clone());
    let method = request.method().clone();
    // The route, not the path: clients control the path.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let address = client_address(request.headers(), request.extensions(), &service);
    let mut response = next.run(request).await;
    let is_hidden = response.extensions_mut().remove::<HiddenDenial>().is_some();
    let status = match is_hidden {
        true => StatusCode::UNAUTHORIZED,
        false => response.status(),
    };
    let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let changes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    let has_failed = status.is_client_error() || status.is_server_error();
    let (Some(route), true) = (route, is_denied || (changes && has_failed)) else {
        return response;
    };
    // A page that calls the API can return the response of the API.
    if response.extensions().get::<RecordedDenial>().is_some() {
        return response;
    }
    response.extensions_mut().insert(RecordedDenial);
    let actor = recognized.0.get().cloned().unwrap_or_else(|| Actor {
        user_id: None,
        client_kind: ClientKind::Web,
        client_ip: address.map(|address| address.to_string()),
    });
    let resource = format!("{method} {}", route.as_str());
    let now = service.clock().now();
    let entries = service
        .denials
        .count(DenialKind::new(status, resource, actor), now);
    if !entries.is_empty() {
        let service = Arc::clone(&service);
        let written = tokio::task::spawn_blocking(move || service.write_denials(entries));
        // After the timeout the entries are still written.
        let _ = tokio::time::timeout(WAIT_MAX, written).await;
    }
    response
}

impl ServiceState {
    fn write_denials(&self, entries: Vec<AuditEntry>) {
        for entry in entries {
            let Some(store) = self.store() else { return };
            if let Err(error) = store.audit(entry) {
                tracing::warn!("cannot record a denied request in the audit log: {error}");
            }
        }
    }

    /// Records the counts of the current window in the audit log. Called when the service stops.
    pub fn flush_denials(&self) {
        self.write_denials(self.denials.drain(self.clock().now()));
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
    fn a_flood_of_denied_requests_writes_a_limited_number_of_rows() {
        let denials = Denials::default();
        let start = UtcMicros(1_000_000_000_000);
        let mut rows = Vec::new();
        for number in 0..100_000 {
            rows.extend(denials.count(kind(number % 5_000), start));
        }
        assert_eq!(rows.len(), KINDS_MAX + 1);
        let later = start.plus(WINDOW);
        let rows = denials.count(kind(0), later);
        assert_eq!(
            rows.len(),
            KINDS_MAX + 2,
            "expected the counts, and the first request of the next window"
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
        assert!(denials.drain(later).is_empty());
    }
}

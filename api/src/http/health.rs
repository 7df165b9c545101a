//! Whether the service is alive, and which it is. Open to everybody, so it tells nothing else.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Service;
use super::problem::{ApiError, Failures};
use crate::body::{Health, Liveness, SchemaState, Version};

/// How long an answer holds: probes may come by the dozen.
const HEALTH_KEPT_FOR: Duration = Duration::from_secs(30);

/// Whether the service is alive. Always 200; the body tells.
#[utoipa::path(get, path = "/api/health", operation_id = "health", tag = "health", security(()),
    responses((status = 200, body = Health), Failures))]
pub(super) async fn health(State(service): State<Arc<Service>>) -> Result<Json<Health>, ApiError> {
    let now = service.pipeline.clock().monotonic();
    if let Some(health) = kept(&service, now) {
        return Ok(Json(health));
    }
    // Without a place in the queue: a probe must not wait for reports.
    let health = service
        .off_thread(None, |service| Ok(look(service)))
        .await?;
    if health.db_schema != SchemaState::Unreachable {
        let mut kept = service
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some((now, health.clone()));
    }
    Ok(Json(health))
}

/// What an earlier probe found, as long as it holds.
fn kept(service: &Service, now: Duration) -> Option<Health> {
    let kept = service
        .health
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (at, health) = kept.as_ref()?;
    (now.saturating_sub(*at) < HEALTH_KEPT_FOR).then(|| health.clone())
}

fn look(service: &Service) -> Health {
    let store = service.pipeline.store();
    let expected = store.expected_schema_version();
    let (db_schema, current, detail) = match store.schema_version() {
        Ok(Some(current)) if current == expected => (SchemaState::Ok, Some(current), None),
        Ok(Some(current)) => (SchemaState::Mismatch, Some(current), None),
        Ok(None) => {
            let detail = "the database tells no version".to_owned();
            (SchemaState::Unreachable, None, Some(detail))
        }
        Err(error) => {
            // The reason may name paths, and this route is open.
            tracing::error!(
                "the database does not answer: {}",
                crate::cli::chain(&error)
            );
            let detail = "the database does not answer; the log has the reason".to_owned();
            (SchemaState::Unreachable, None, Some(detail))
        }
    };
    Health {
        status: match db_schema {
            SchemaState::Ok => Liveness::Ok,
            SchemaState::Mismatch | SchemaState::Unreachable => Liveness::Unhealthy,
        },
        db_schema,
        expected: current.map(|_| expected),
        current,
        detail,
    }
}

/// Which version serves, and since when.
#[utoipa::path(get, path = "/api/version", operation_id = "version", tag = "health", security(()),
    responses((status = 200, body = Version), Failures))]
pub(super) async fn version(State(service): State<Arc<Service>>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: service.pipeline.store().expected_schema_version(),
        deployed_at: service.started_at.to_string(),
    })
}

//! Whether the service is alive, which it is, and whether everything works and keeps up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use session_pipeline_pipeline::health::{
    self, Health, HealthFacts, HealthReport, HealthSources, SchemaStatus, SessionSurvey, SystemDisk,
};
use session_pipeline_pipeline::registry::Refresh;
use session_pipeline_pipeline::status;
use session_pipeline_store::AuditedAction;
use utoipa::IntoParams;

use super::asked::ValidQuery;
use super::caller::{Admin, AnyRole};
use super::problem::{ApiError, AuthenticatedResponses, CommonResponses};
use super::{ServiceState, local};
use crate::body::Version;
use crate::body::health::{AcknowledgmentBody, DetailedHealth, SchedulerBody};
use crate::build::build;

/// Whether the service is alive. Always 200; the body tells.
#[utoipa::path(get, path = "/api/health", operation_id = "health", tag = "health", security(()),
    responses((status = 200, body = Health), CommonResponses))]
pub(super) async fn health(
    State(service): State<Arc<ServiceState>>,
) -> Result<Json<Health>, ApiError> {
    if let Some(schema) = service.schema.cached(service.clock().as_ref()) {
        return Ok(Json(alive(&schema)));
    }
    // Without a place in the queue: a probe must not wait for reports.
    let schema = service
        .off_thread(None, |service| Ok(service.look_at_schema()))
        .await?;
    Ok(Json(alive(&schema)))
}

impl ServiceState {
    /// How the database's shape stands, looked at twice a minute at most.
    fn look_at_schema(&self) -> SchemaStatus {
        let clock = self.clock();
        self.schema.get(clock.as_ref(), || {
            let schema = match self.store() {
                Some(store) => health::schema(store),
                None => SchemaStatus::Unreachable {
                    detail: "there is no database yet".to_owned(),
                },
            };
            if let SchemaStatus::Unreachable { detail } = &schema {
                tracing::error!("the database does not answer: {detail}");
            }
            schema
        })
    }
}

fn alive(schema: &SchemaStatus) -> Health {
    let health = Health::from(schema);
    match schema {
        // The reason may name paths, and this route is open.
        SchemaStatus::Unreachable { .. } => Health {
            detail: Some("the database does not answer; the log has the reason".to_owned()),
            ..health
        },
        SchemaStatus::Ok | SchemaStatus::Mismatch { .. } => health,
    }
}

/// Which version serves, and since when.
#[utoipa::path(get, path = "/api/version", operation_id = "version", tag = "health", security(()),
    responses((status = 200, body = Version), CommonResponses))]
pub(super) async fn version(
    State(service): State<Arc<ServiceState>>,
) -> Result<Json<Version>, ApiError> {
    let build = build(service.started_at);
    Ok(Json(Version {
        version: build.version.to_owned(),
        channel: build.channel.to_owned(),
        image_tag: build.image_tag.to_owned(),
        schema_version: service.database()?.expected_schema_version(),
        deployed_at: service.started_at.to_string(),
    }))
}

/// What to look at besides.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DetailedQuery {
    /// Further checks, with commas between them: `schema` is the only one; others are passed over.
    include: Option<String>,
}

/// Whether everything works and keeps up. Operators' detail is shown to admins only.
#[utoipa::path(get, path = "/api/health/detailed", operation_id = "detailed_health", tag = "health", security(("bearer" = [])),
    params(DetailedQuery), responses((status = 200, body = DetailedHealth), AuthenticatedResponses))]
pub(super) async fn detailed(
    State(service): State<Arc<ServiceState>>,
    known: AnyRole,
    ValidQuery(asked): ValidQuery<DetailedQuery>,
) -> Result<Response, ApiError> {
    let includes_schema = asked
        .include
        .is_some_and(|include| include.split(',').any(|word| word.trim() == "schema"));
    let (role, local) = (known.caller.role, known.local);
    let look = move |service: &ServiceState| {
        if local.is_some() {
            let (store, now) = (service.store(), service.clock().now());
            service
                .registry()
                .refresh(service.config(), now, Refresh::Notice(store))?;
        }
        let cadences = service.cadences();
        let sources = HealthSources {
            config: service.config(),
            registry: service.registry(),
            database: service.store().into(),
            cadences: &cadences,
            scheduler: service.scheduler.as_ref().map(|watch| watch.status()),
            disk: &SystemDisk,
            schema: includes_schema.then(|| service.look_at_schema()),
            now: service.clock().now(),
        };
        let clock = service.clock().as_ref();
        let survey = service
            .survey
            .get(clock, || SessionSurvey::collect(&sources));
        let facts = HealthFacts::from_survey(&survey, sources);
        let report = HealthReport::judge(&facts).with_model_config(&service.config().llm);
        if let Some(local) = &local {
            let names = service.registry().names();
            let counts = status::processors(service.store(), names)?;
            local.report(local::LocalReport::Counts(&counts));
        }
        serde_json::to_vec(&report.body(role, &build(service.started_at)))
            .map_err(|error| ApiError::internal(&error))
    };
    let body = service.read(role, look).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Takes note of commits that were lost, so that health warns of them no more.
#[utoipa::path(post, path = "/api/admin/health/acknowledge", operation_id = "acknowledge_health", tag = "admin", security(("bearer" = ["admin"])),
    responses((status = 200, body = AcknowledgmentBody), AuthenticatedResponses))]
pub(super) async fn acknowledge(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
) -> Result<Json<AcknowledgmentBody>, ApiError> {
    let actor = known.actor();
    let acknowledged = service.query(move |service| {
        let audited = AuditedAction {
            action: "health.acknowledge",
            actor,
            now: service.clock().now(),
        };
        let lost_commits = match service.store() {
            Some(store) => store.acknowledge_lost_commits(audited)?,
            None => 0,
        };
        Ok(AcknowledgmentBody { lost_commits })
    });
    Ok(Json(acknowledged.await?))
}

/// The scheduler and its jobs.
#[utoipa::path(get, path = "/api/admin/scheduler", operation_id = "show_scheduler", tag = "admin", security(("bearer" = ["admin"])),
    responses((status = 200, body = SchedulerBody), AuthenticatedResponses))]
pub(super) async fn scheduler(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
) -> Json<SchedulerBody> {
    let status = service.scheduler.as_ref().map(|watch| watch.status());
    Json(status.into())
}

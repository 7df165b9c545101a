//! Health, version, and scheduler routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use session_pipeline_pipeline::budgets::BudgetReport;
use session_pipeline_pipeline::health::{
    self, Health, HealthFacts, HealthReport, HealthSources, SchemaStatus, SessionSurvey, SystemDisk,
};
use session_pipeline_pipeline::registry::Refresh;
use session_pipeline_pipeline::report::{Freshness, PriceTable};
use session_pipeline_pipeline::status;
use session_pipeline_store::AuditedAction;
use utoipa::IntoParams;

use super::caller::{Admin, Analyst};
use super::params::ValidQuery;
use super::problem::{ApiError, AuthenticatedResponses, CommonResponses};
use super::{ServiceState, local};
use crate::body::Version;
use crate::body::health::{AcknowledgmentBody, DetailedHealth, SchedulerBody};
use crate::build::build;

/// Reports whether the service is alive. The status is always 200. The body has the result.
#[utoipa::path(get, path = "/api/health", operation_id = "health", tag = "health", security(()),
    responses((status = 200, body = Health), CommonResponses))]
pub(super) async fn health(
    State(service): State<Arc<ServiceState>>,
) -> Result<Json<Health>, ApiError> {
    if let Some(schema) = service.schema.cached(service.clock().as_ref()) {
        return Ok(Json(alive(&schema)));
    }
    // Bypasses the queue, because a probe must not wait for reports.
    let schema = service
        .run_blocking((), |service| Ok(service.schema_status()))
        .await?;
    Ok(Json(alive(&schema)))
}

impl ServiceState {
    /// The schema status of the database, checked at most twice per minute.
    fn schema_status(&self) -> SchemaStatus {
        let clock = self.clock();
        self.schema.get(clock.as_ref(), || {
            let schema = match self.store() {
                Some(store) => health::schema(store),
                None => SchemaStatus::Unreachable {
                    detail: "there is no database yet".to_owned(),
                },
            };
            if let SchemaStatus::Unreachable { detail } = &schema {
                tracing::error!("the database is unreachable: {detail}");
            }
            schema
        })
    }
}

fn alive(schema: &SchemaStatus) -> Health {
    let health = Health::from(schema);
    match schema {
        // The reason can contain paths, and this route needs no token.
        SchemaStatus::Unreachable { .. } => Health {
            detail: Some("the database is unreachable; the server log has the reason".to_owned()),
            ..health
        },
        SchemaStatus::Ok | SchemaStatus::Mismatch { .. } => health,
    }
}

/// Returns the version and start time of the server.
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

/// Selects additional checks.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DetailedQuery {
    /// Additional checks, separated by commas. `schema` is the only one. Other names are ignored.
    include: Option<String>,
}

/// Returns all health checks. Operator details are for admins only.
#[utoipa::path(get, path = "/api/health/detailed", operation_id = "detailed_health", tag = "health", security(("bearer" = ["analyst"])),
    params(DetailedQuery), responses((status = 200, body = DetailedHealth), AuthenticatedResponses))]
pub(super) async fn detailed(
    State(service): State<Arc<ServiceState>>,
    caller: Analyst,
    ValidQuery(query): ValidQuery<DetailedQuery>,
) -> Result<Response, ApiError> {
    let includes_schema = query
        .include
        .is_some_and(|include| include.split(',').any(|word| word.trim() == "schema"));
    let Analyst { role, local } = caller;
    let collect = move |service: &ServiceState| {
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
            scheduler: service
                .scheduler
                .as_ref()
                .map(|scheduler| scheduler.status()),
            disk: &SystemDisk,
            schema: includes_schema.then(|| service.schema_status()),
            now: service.clock().now(),
        };
        let clock = service.clock().as_ref();
        let survey = service
            .survey
            .get(clock, || SessionSurvey::collect(&sources));
        let facts = HealthFacts::from_survey(&survey, sources);
        let mut report = HealthReport::judge(&facts).with_model_config(&service.config().llm);
        // A server updates the figures in the background, so health never waits for them.
        let freshness = match local {
            Some(_) => Freshness::Updated,
            None => Freshness::AsStored,
        };
        let (config, clock) = (service.config(), service.clock());
        let budgets = BudgetReport::read(config, service.store(), freshness, clock);
        report = report.with_budgets(&budgets);
        // Reports return the error of an unusable price file.
        if let (Some(store), Ok(prices)) = (service.store(), PriceTable::load(service.config())) {
            report = report.with_prices(&prices, store);
        }
        if let Some(local) = &local {
            let names = service.registry().names();
            let counts = status::processors(service.store(), names)?;
            local.report(local::LocalReport::Counts(&counts));
        }
        serde_json::to_vec(&report.body(role, &build(service.started_at)))
            .map_err(|error| ApiError::internal(&error))
    };
    let body = service.read(role, collect).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Dismisses the warning about lost commits.
#[utoipa::path(post, path = "/api/admin/health/acknowledge", operation_id = "acknowledge_health", tag = "admin", security(("bearer" = ["admin"])),
    responses((status = 200, body = AcknowledgmentBody), AuthenticatedResponses))]
pub(super) async fn acknowledge(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
) -> Result<Json<AcknowledgmentBody>, ApiError> {
    let actor = admin.actor();
    let acknowledged = service.change(move |service| {
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

/// Returns the scheduler and its jobs.
#[utoipa::path(get, path = "/api/admin/scheduler", operation_id = "show_scheduler", tag = "admin", security(("bearer" = ["admin"])),
    responses((status = 200, body = SchedulerBody), AuthenticatedResponses))]
pub(super) async fn scheduler(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
) -> Json<SchedulerBody> {
    let status = service
        .scheduler
        .as_ref()
        .map(|scheduler| scheduler.status());
    Json(status.into())
}

//! Knowledge: what users verified, shown to analysts and decided by admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_runtime::knowledge::{self, Decision, Wanted};
use utoipa::IntoParams;

use super::Service;
use super::asked::{Asked, Named};
use super::caller::{Admin, Analyst, Known};
use super::problem::{ApiError, Refusals};
use crate::body::Problem;
use crate::body::knowledge::{Item, Knowledge, ShownKnowledge};

/// Which items: all conditions hold.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KnowledgeQuery {
    /// Only of this status, for instance `pending`.
    status: Option<String>,
    /// Only of this domain, for instance `finance`.
    domain: Option<String>,
    /// Only with this text in title or content, in any case.
    text: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// What is known: what has evidence, and what a person approved.
#[utoipa::path(get, path = "/api/knowledge", operation_id = "list_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(KnowledgeQuery), responses((status = 200, body = Knowledge), Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    analyst: Analyst,
    Asked(asked): Asked<KnowledgeQuery>,
) -> Result<Json<Knowledge>, ApiError> {
    let wanted = Wanted {
        limit: super::asked::limit(asked.limit)?,
        status: asked.status,
        domain: asked.domain,
        text: asked.text,
    };
    let items = service.read(analyst.role, move |service| {
        let items = knowledge::list(Some(service.pipeline.store()), &wanted)?;
        Ok(items.iter().map(Item::from).collect())
    });
    Ok(Json(Knowledge {
        items: items.await?,
    }))
}

/// One item with all that speaks for it and against it.
#[utoipa::path(get, path = "/api/knowledge/{id}", operation_id = "show_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = ShownKnowledge),
        (status = 404, body = Problem, description = "There is no such item."),
        Refusals))]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    analyst: Analyst,
    Named(id): Named,
) -> Result<Json<ShownKnowledge>, ApiError> {
    let shown = service.read(analyst.role, move |service| {
        let shown = knowledge::show(Some(service.pipeline.store()), &id)?;
        Ok(ShownKnowledge::from(&shown))
    });
    Ok(Json(shown.await?))
}

/// Takes an item over as known.
#[utoipa::path(post, path = "/api/knowledge/{id}/approve", operation_id = "approve_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = ShownKnowledge),
        (status = 404, body = Problem, description = "There is no such item."),
        Refusals))]
pub(super) async fn approve(
    State(service): State<Arc<Service>>,
    Admin(known): Admin,
    Named(id): Named,
) -> Result<Json<ShownKnowledge>, ApiError> {
    decide(service, known, id, Decision::Approve).await
}

/// Says that an item does not hold.
#[utoipa::path(post, path = "/api/knowledge/{id}/reject", operation_id = "reject_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = ShownKnowledge),
        (status = 404, body = Problem, description = "There is no such item."),
        Refusals))]
pub(super) async fn reject(
    State(service): State<Arc<Service>>,
    Admin(known): Admin,
    Named(id): Named,
) -> Result<Json<ShownKnowledge>, ApiError> {
    decide(service, known, id, Decision::Reject).await
}

async fn decide(
    service: Arc<Service>,
    known: Known,
    id: String,
    decision: Decision,
) -> Result<Json<ShownKnowledge>, ApiError> {
    let actor = known.actor();
    let shown = service.query(move |service| {
        let pipeline = &service.pipeline;
        let (store, now) = (Some(pipeline.store()), pipeline.clock().now());
        let shown = knowledge::decide(store, &id, decision, actor, now)?;
        Ok(ShownKnowledge::from(&shown))
    });
    Ok(Json(shown.await?))
}

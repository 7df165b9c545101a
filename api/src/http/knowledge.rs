//! Routes of knowledge items: analysts read them, and admins approve or reject them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::knowledge::{
    self, Decision, KnowledgeCursor, KnowledgeFilter, KnowledgeItem,
};
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::{Admin, Analyst, AnyRole};
use super::params::{self, ValidName, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::knowledge::{KnowledgeBody, KnowledgeDetailsBody, KnowledgeItemBody};

/// Selects items that match all conditions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KnowledgeQuery {
    /// Only items with this status, such as `pending`.
    status: Option<String>,
    /// Only items of this domain, such as `finance`.
    domain: Option<String>,
    /// Only items with this text in the title or content. Case-insensitive.
    text: Option<String>,
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Parses a cursor: `0` or `1` for decided, the time, and the id.
fn position(text: &str) -> Option<KnowledgeCursor> {
    let mut parts = text.splitn(3, '.');
    let is_decided = match parts.next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let created_at = UtcMicros(parts.next()?.parse().ok()?);
    let id = parts.next()?.to_owned();
    // The list is sorted by age, the negated time, and `i64::MIN` has no negation.
    (created_at.0 != i64::MIN).then_some(KnowledgeCursor {
        is_decided,
        created_at,
        id,
    })
}

/// Lists knowledge items that have evidence or were approved.
#[utoipa::path(get, path = "/api/knowledge", operation_id = "list_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(KnowledgeQuery), responses((status = 200, body = KnowledgeBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(query): ValidQuery<KnowledgeQuery>,
) -> Result<Json<KnowledgeBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let filter = KnowledgeFilter {
        after: params::cursor(query.cursor.as_deref(), position)?,
        limit: limit + 1,
        status: query.status,
        domain: query.domain,
        text: query.text,
    };
    let items = service
        .read(analyst.role, move |service| {
            Ok(knowledge::list(service.store(), &filter)?)
        })
        .await?;
    let cursor = |item: &KnowledgeItem| {
        let cursor = KnowledgeCursor::of(item);
        let rank = u8::from(cursor.is_decided);
        format!("{rank}.{}.{}", cursor.created_at.0, cursor.id)
    };
    let (items, next) = params::page(items, limit, cursor);
    let items = items.iter().map(KnowledgeItemBody::from).collect();
    Ok(Json(KnowledgeBody { items, next }))
}

/// Returns an item with its evidence and its contradictions.
#[utoipa::path(get, path = "/api/knowledge/{id}", operation_id = "show_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "The item does not exist."),
        AuthenticatedResponses))]
pub(super) async fn show(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    let body = service.read(analyst.role, move |service| {
        let details = knowledge::show(service.store(), &id)?;
        Ok(KnowledgeDetailsBody::from(&details))
    });
    Ok(Json(body.await?))
}

/// Approves an item.
#[utoipa::path(post, path = "/api/knowledge/{id}/approve", operation_id = "approve_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "The item does not exist."),
        AuthenticatedResponses))]
pub(super) async fn approve(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    decide(service, admin, id, Decision::Approve).await
}

/// Rejects an item.
#[utoipa::path(post, path = "/api/knowledge/{id}/reject", operation_id = "reject_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "The item does not exist."),
        AuthenticatedResponses))]
pub(super) async fn reject(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    decide(service, admin, id, Decision::Reject).await
}

async fn decide(
    service: Arc<ServiceState>,
    admin: AnyRole,
    id: String,
    decision: Decision,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    let actor = admin.actor();
    let body = service.change(move |service| {
        let (store, now) = (service.store(), service.clock().now());
        let details = knowledge::decide(store, &id, decision, actor, now)?;
        Ok(KnowledgeDetailsBody::from(&details))
    });
    Ok(Json(body.await?))
}

//! Knowledge: what users verified, shown to analysts and decided by admins.

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
use super::asked::{self, ValidName, ValidQuery};
use super::caller::{Admin, Analyst, AnyRole};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::knowledge::{KnowledgeBody, KnowledgeDetailsBody, KnowledgeItemBody};

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
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A place in the list, as a cursor has it: `0` or `1` for decided, the time, and the id.
fn place(text: &str) -> Option<KnowledgeCursor> {
    let mut parts = text.splitn(3, '.');
    let is_decided = match parts.next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let created_at = UtcMicros(parts.next()?.parse().ok()?);
    let id = parts.next()?.to_owned();
    // The order goes by the age, which has to be a number as well.
    (created_at.0 != i64::MIN).then_some(KnowledgeCursor {
        is_decided,
        created_at,
        id,
    })
}

/// What is known: what has evidence, and what a person approved.
#[utoipa::path(get, path = "/api/knowledge", operation_id = "list_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(KnowledgeQuery), responses((status = 200, body = KnowledgeBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(query): ValidQuery<KnowledgeQuery>,
) -> Result<Json<KnowledgeBody>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let wanted = KnowledgeFilter {
        after: asked::cursor(query.cursor.as_deref(), place)?,
        limit: limit + 1,
        status: query.status,
        domain: query.domain,
        text: query.text,
    };
    let items = service
        .read(analyst.role, move |service| {
            Ok(knowledge::list(service.store(), &wanted)?)
        })
        .await?;
    let place = |item: &KnowledgeItem| {
        let place = KnowledgeCursor::of(item);
        let rank = u8::from(place.is_decided);
        format!("{rank}.{}.{}", place.created_at.0, place.id)
    };
    let (items, next) = asked::page(items, limit, place);
    let items = items.iter().map(KnowledgeItemBody::from).collect();
    Ok(Json(KnowledgeBody { items, next }))
}

/// One item with all that speaks for it and against it.
#[utoipa::path(get, path = "/api/knowledge/{id}", operation_id = "show_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "There is no such item."),
        AuthenticatedResponses))]
pub(super) async fn show(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    let shown = service.read(analyst.role, move |service| {
        let shown = knowledge::show(service.store(), &id)?;
        Ok(KnowledgeDetailsBody::from(&shown))
    });
    Ok(Json(shown.await?))
}

/// Takes an item over as known.
#[utoipa::path(post, path = "/api/knowledge/{id}/approve", operation_id = "approve_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "There is no such item."),
        AuthenticatedResponses))]
pub(super) async fn approve(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    decide(service, known, id, Decision::Approve).await
}

/// Says that an item does not hold.
#[utoipa::path(post, path = "/api/knowledge/{id}/reject", operation_id = "reject_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the item.")), responses(
        (status = 200, body = KnowledgeDetailsBody),
        (status = 404, body = Problem, description = "There is no such item."),
        AuthenticatedResponses))]
pub(super) async fn reject(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidName(id): ValidName,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    decide(service, known, id, Decision::Reject).await
}

async fn decide(
    service: Arc<ServiceState>,
    known: AnyRole,
    id: String,
    decision: Decision,
) -> Result<Json<KnowledgeDetailsBody>, ApiError> {
    let actor = known.actor();
    let shown = service.query(move |service| {
        let (store, now) = (service.store(), service.clock().now());
        let shown = knowledge::decide(store, &id, decision, actor, now)?;
        Ok(KnowledgeDetailsBody::from(&shown))
    });
    Ok(Json(shown.await?))
}

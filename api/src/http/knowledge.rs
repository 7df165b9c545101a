//! Knowledge: what users verified, shown to analysts and decided by admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::knowledge::{self, Decision, KnownItem, ListPlace, Wanted};
use utoipa::IntoParams;

use super::Service;
use super::asked::{self, Asked, Named};
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
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A place in the list, as a cursor has it: `0` or `1` for decided, the time, and the id.
fn place(text: &str) -> Option<ListPlace> {
    let mut parts = text.splitn(3, '.');
    let is_decided = match parts.next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let created_at = UtcMicros(parts.next()?.parse().ok()?);
    let id = parts.next()?.to_owned();
    // The order goes by the age, which has to be a number as well.
    (created_at.0 != i64::MIN).then_some(ListPlace {
        is_decided,
        created_at,
        id,
    })
}

/// What is known: what has evidence, and what a person approved.
#[utoipa::path(get, path = "/api/knowledge", operation_id = "list_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(KnowledgeQuery), responses((status = 200, body = Knowledge), Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    analyst: Analyst,
    Asked(query): Asked<KnowledgeQuery>,
) -> Result<Json<Knowledge>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let wanted = Wanted {
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
    let place = |item: &KnownItem| {
        let place = ListPlace::of(item);
        let rank = u8::from(place.is_decided);
        format!("{rank}.{}.{}", place.created_at.0, place.id)
    };
    let (items, next) = asked::page(items, limit, place);
    let items = items.iter().map(Item::from).collect();
    Ok(Json(Knowledge { items, next }))
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
        let shown = knowledge::show(service.store(), &id)?;
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
        let (store, now) = (service.store(), service.clock().now());
        let shown = knowledge::decide(store, &id, decision, actor, now)?;
        Ok(ShownKnowledge::from(&shown))
    });
    Ok(Json(shown.await?))
}

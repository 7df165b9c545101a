//! Routes of knowledge items: analysts read and export them, and admins approve or reject them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::knowledge::{
    self, Decision, ExportFilter, KnowledgeFilter, KnowledgeItem, KnowledgeRank,
};
use utoipa::{IntoParams, ToSchema};

use super::ServiceState;
use super::caller::{Admin, Analyst, AnyRole};
use super::params::{self, ValidJson, ValidName, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::knowledge::{
    DecidedItemsBody, KnowledgeBody, KnowledgeDecisionBody, KnowledgeDetailsBody,
    KnowledgeItemBody, KnowledgeVerdict,
};

/// Maximum number of items in one decision.
const IDS_MAX: usize = 100;

/// Selects items that match all conditions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KnowledgeQuery {
    /// Only items with this status, such as `pending`.
    status: Option<String>,
    /// Only items of this domain, such as `finance`.
    domain: Option<String>,
    /// Only items that were found first in this project: its name, its whole path, or the last parts of
    /// its path.
    project: Option<String>,
    /// Only items with this text in the title or content. Case-insensitive.
    text: Option<String>,
    /// The minimum score of pending items, in percent. The default is `knowledge.score_min` in the
    /// config file. Items with a decision are listed with any score.
    #[param(minimum = 0, maximum = 100)]
    score_min: Option<u8>,
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Parses a cursor: the parts of a rank with periods between them. Ids contain no periods.
fn position(text: &str) -> Option<KnowledgeRank> {
    let mut parts = text.split('.');
    let mut number = || -> Option<i64> {
        let number: i64 = parts.next()?.parse().ok()?;
        // Most parts are negated for sorting, and `i64::MIN` has no negation.
        (number != i64::MIN).then_some(number)
    };
    let (is_decided, score, users, sessions) = (number()?, number()?, number()?, number()?);
    let (created_at, is_follower) = (UtcMicros(number()?), number()?);
    let (leader, id) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let is_flag = |number: i64| matches!(number, 0 | 1);
    let is_whole = parts.next().is_none() && is_flag(is_decided) && is_flag(is_follower);
    is_whole.then_some(KnowledgeRank {
        is_decided: is_decided == 1,
        score,
        users,
        sessions,
        created_at,
        leader,
        is_follower: is_follower == 1,
        id,
    })
}

/// The cursor of a rank. See [`position`].
fn cursor_of(rank: &KnowledgeRank) -> String {
    let KnowledgeRank {
        is_decided,
        score,
        users,
        sessions,
        created_at,
        leader,
        is_follower,
        id,
    } = rank;
    let (decided, follower) = (u8::from(*is_decided), u8::from(*is_follower));
    let created_at = created_at.0;
    format!("{decided}.{score}.{users}.{sessions}.{created_at}.{follower}.{leader}.{id}")
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
    let after = params::cursor(query.cursor.as_deref(), position)?;
    let score_min = query.score_min;
    if score_min.is_some_and(|score| score > 100) {
        return Err(ApiError::unprocessable(
            "invalid `score_min`: it is a percentage from 0 to 100",
        ));
    }
    let found = service.read(analyst.role, move |service| {
        let filter = KnowledgeFilter {
            after,
            limit: limit + 1,
            status: query.status,
            domain: query.domain,
            project: query.project,
            text: query.text,
            score_min: score_min.unwrap_or(service.config().knowledge_score_min),
        };
        let items = knowledge::list(service.store(), &filter)?;
        let below = knowledge::count_below(service.store(), &filter)?;
        Ok((items, below, filter.score_min))
    });
    let (items, below, score_min) = found.await?;
    let (items, next) = params::page(items, limit, |item: &KnowledgeItem| cursor_of(&item.rank));
    let items = items.iter().map(KnowledgeItemBody::from).collect();
    Ok(Json(KnowledgeBody {
        items,
        score_min,
        below,
        next,
    }))
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
        knowledge::decide(store, std::slice::from_ref(&id), decision, None, actor, now)?;
        let details = knowledge::show(store, &id)?;
        Ok(KnowledgeDetailsBody::from(&details))
    });
    Ok(Json(body.await?))
}

/// Approves or rejects several items, all or none.
#[utoipa::path(post, path = "/api/knowledge/decisions", operation_id = "decide_knowledge", tag = "knowledge", security(("bearer" = ["admin"])),
    request_body = KnowledgeDecisionBody, responses(
        (status = 200, body = DecidedItemsBody),
        (status = 400, body = Problem, description = "The body is not valid JSON."),
        (status = 404, body = Problem, description = "One of the items does not exist. No item is changed."),
        (status = 415, body = Problem, description = "The content type is not JSON."),
        (status = 422, body = Problem, description = "There are no ids or too many, or the reason is too long."),
        AuthenticatedResponses))]
pub(super) async fn decide_several(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidJson(body): ValidJson<KnowledgeDecisionBody>,
) -> Result<Json<DecidedItemsBody>, ApiError> {
    let count = body.ids.len();
    if !(1..=IDS_MAX).contains(&count) {
        return Err(ApiError::unprocessable(format!(
            "invalid `ids`: there are {count}; send 1 to {IDS_MAX} ids"
        )));
    }
    let decision = match body.decision {
        KnowledgeVerdict::Approve => Decision::Approve,
        KnowledgeVerdict::Reject => Decision::Reject,
    };
    let actor = admin.actor();
    let decided = service.change(move |service| {
        let (store, now) = (service.store(), service.clock().now());
        let reason = body.reason.as_deref();
        let decided = knowledge::decide(store, &body.ids, decision, reason, actor, now)?;
        let items = decided.iter().map(|details| &details.item);
        Ok(DecidedItemsBody {
            items: items.map(KnowledgeItemBody::from).collect(),
        })
    });
    Ok(Json(decided.await?))
}

/// Selects what to export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// The format of the file.
    #[serde(default)]
    #[param(inline)]
    format: ExportFormat,
    /// Only items that were found first in this project: its name, its whole path, or the last parts of
    /// its path.
    project: Option<String>,
    /// Only items of this domain.
    domain: Option<String>,
    /// The address of the dashboard, such as `https://pipeline.example.com`. Without it, links to
    /// the evidence are relative.
    base_url: Option<String>,
}

/// The format of an export.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExportFormat {
    /// Markdown.
    #[default]
    Markdown,
}

/// Exports the approved items, grouped by project and domain.
#[utoipa::path(get, path = "/api/knowledge/export", operation_id = "export_knowledge", tag = "knowledge", security(("bearer" = ["analyst"])),
    params(ExportQuery), responses(
        (status = 200, body = String, content_type = "text/markdown"),
        (status = 422, body = Problem, description = "A parameter is invalid."),
        AuthenticatedResponses))]
pub(super) async fn export(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(query): ValidQuery<ExportQuery>,
) -> Result<Response, ApiError> {
    let ExportFormat::Markdown = query.format;
    let is_address = |url: &String| {
        let is_web = url.starts_with("https://") || url.starts_with("http://");
        is_web
            && url
                .chars()
                .all(|c| c.is_ascii_graphic() && !"()<>[]\"".contains(c))
    };
    if query.base_url.as_ref().is_some_and(|url| !is_address(url)) {
        return Err(ApiError::unprocessable(
            "invalid `base_url`: write an address such as `https://pipeline.example.com`",
        ));
    }
    let filter = ExportFilter {
        project: query.project,
        domain: query.domain,
        base_url: query
            .base_url
            .map(|url| url.trim_end_matches('/').to_owned()),
    };
    let text = service.read(analyst.role, move |service| {
        Ok(knowledge::markdown(service.store(), &filter)?)
    });
    let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
    Ok((kind, text.await?).into_response())
}

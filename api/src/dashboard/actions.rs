//! The changes that pages make: each is a request to the API as the visitor.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, http::HeaderMap};
use maud::Markup;
use serde::Deserialize;

use super::filters::{FilterQuery, address};
use super::format::counted;
use super::transcript::session_href;
use super::visit::Visit;
use super::{knowledge, operations};
use crate::body::admin::ReprocessBody;
use crate::body::knowledge::{
    DecidedItemsBody, KnowledgeDecisionBody, KnowledgeDetailsBody, KnowledgeVerdict,
};
use crate::body::quarantine::ReleaseBody;
use crate::body::run::RunBody;
use crate::body::token::{CreatedTokenBody, TokenBody};
use crate::http::ApiError;
use crate::percent::encode;
use crate::problem::ProblemClass;

/// A processor and a session.
#[derive(Deserialize)]
pub(super) struct SessionForm {
    processor: String,
    session: String,
}

/// Marks a session for the next run to process again.
pub(super) async fn reprocess(
    visit: Visit,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let query = [("processor", &form.processor), ("session", &form.session)];
    let path = address("/api/admin/reprocess", &query);
    let _: ReprocessBody = visit.post(&path).await?;
    Ok(Redirect::to(&session_href(&form.session)).into_response())
}

/// Releases a session from quarantine.
pub(super) async fn release(
    visit: Visit,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let query = [("processor", &form.processor), ("session", &form.session)];
    let path = address("/api/admin/quarantine/release", &query);
    let _: ReleaseBody = visit.post(&path).await?;
    Ok(Redirect::to("/operations?done=released").into_response())
}

/// A processor.
#[derive(Deserialize)]
pub(super) struct RunForm {
    processor: String,
}

/// Starts a run. It goes on when the visitor leaves the page.
pub(super) async fn run(visit: Visit, Form(form): Form<RunForm>) -> Result<Response, ApiError> {
    let path = address(
        "/api/admin/run-session-processor",
        &[("processor", &form.processor)],
    );
    let runner = visit.clone();
    let mut run = tokio::spawn(async move { runner.post::<RunBody>(&path).await });
    // A run that cannot start fails at once, and a short one has ended.
    let outcome = tokio::time::timeout(std::time::Duration::from_millis(700), &mut run).await;
    let message = match outcome {
        Err(_) => return Ok(Redirect::to("/operations?done=run").into_response()),
        Ok(Err(_)) => {
            return Err(ApiError::new(
                ProblemClass::Internal,
                "the run ended without a result",
            ));
        }
        Ok(Ok(Err(error))) => Err(error.detail),
        Ok(Ok(Ok(run))) => Ok(format!(
            "{}: {} processed, {} failed.",
            form.processor,
            counted(
                i64::try_from(run.details.processed).unwrap_or(i64::MAX),
                "session",
                "sessions"
            ),
            run.details.errors
        )),
    };
    let view = visit.view(&FilterQuery::default());
    Ok(operations::load(&visit, &view, None, Some(message))
        .await?
        .into_response())
}

/// A new token. Empty fields have no value.
#[derive(Deserialize)]
pub(super) struct TokenForm {
    role: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    label: String,
}

/// Creates a token and shows it once.
pub(super) async fn create_token(
    visit: Visit,
    Form(form): Form<TokenForm>,
) -> Result<Response, ApiError> {
    let value = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let body = serde_json::json!({ "role": form.role, "user": value(&form.user), "label": value(&form.label) });
    let created: Result<CreatedTokenBody, ApiError> =
        visit.post_json("/api/admin/tokens", &body).await;
    let (created, message) = match created {
        Ok(created) => (Some(created), None),
        Err(error) => (None, Some(Err(error.detail))),
    };
    let view = visit.view(&FilterQuery::default());
    Ok(operations::load(&visit, &view, created, message)
        .await?
        .into_response())
}

/// The id of a token.
#[derive(Deserialize)]
pub(super) struct RevokeForm {
    id: String,
}

/// Revokes a token.
pub(super) async fn revoke_token(
    visit: Visit,
    Form(form): Form<RevokeForm>,
) -> Result<Response, ApiError> {
    let path = format!("/api/admin/tokens/{}", encode(&form.id));
    let _: TokenBody = visit.delete(&path).await?;
    Ok(Redirect::to("/operations?done=revoked").into_response())
}

/// Approves or rejects an item. Scripts get the item as it is now, and other clients the list.
pub(super) async fn decide(
    visit: Visit,
    Path((id, decision)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !matches!(decision.as_str(), "approve" | "reject") {
        return Err(ApiError::new(ProblemClass::NotFound, "unknown decision"));
    }
    let path = format!("/api/knowledge/{}/{decision}", encode(&id));
    let details: KnowledgeDetailsBody = visit.post(&path).await?;
    if !headers.contains_key("hx-request") {
        return Ok(Redirect::to("/knowledge").into_response());
    }
    let view = visit.view(&FilterQuery::default());
    let item: Markup = knowledge::item(&details.item, &view.reader);
    Ok(item.into_response())
}

/// Approves or rejects the items that the form names with `id`, and returns to the list.
pub(super) async fn decide_several(
    visit: Visit,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let values = |name: &str| {
        let named = fields.iter().filter(|(field, _)| field == name);
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let decision = match values("decision").first().map(String::as_str) {
        Some("approve") => KnowledgeVerdict::Approve,
        Some("reject") => KnowledgeVerdict::Reject,
        _ => return Err(ApiError::new(ProblemClass::NotFound, "unknown decision")),
    };
    let ids = values("id");
    if !ids.is_empty() {
        let body = KnowledgeDecisionBody {
            decision,
            ids,
            reason: None,
        };
        let _: DecidedItemsBody = visit.post_json("/api/knowledge/decisions", &body).await?;
    }
    let list = knowledge::KnowledgeListQuery::of_form(&fields);
    Ok(Redirect::to(&list.address()).into_response())
}

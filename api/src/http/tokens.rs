//! Tokens: made, listed, taken back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use session_pipeline_pipeline::token;
use utoipa::IntoParams;

use super::ServiceState;
use super::asked::{self, ValidJson, ValidName, ValidQuery};
use super::caller::Admin;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::token::{CreatedTokenBody, NewTokenBody, TokenBody, TokensBody};
use crate::problem::ProblemClass;

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensQuery {
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// The tokens, without their texts, in the order in which they were created.
#[utoipa::path(get, path = "/api/admin/tokens", operation_id = "list_tokens", tag = "tokens", security(("bearer" = ["admin"])),
    params(TokensQuery), responses((status = 200, body = TokensBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<TokensQuery>,
) -> Result<Json<TokensBody>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let listed = move |service: &ServiceState| {
        let store = service.database()?;
        Ok(store.tokens_after(query.cursor.as_deref(), limit + 1)?)
    };
    let tokens = service.about_tokens(listed).await?;
    let (tokens, next) = asked::page(tokens, limit, |token| token.id.clone());
    let tokens = tokens.into_iter().map(TokenBody::from).collect();
    Ok(Json(TokensBody { tokens, next }))
}

/// Makes a token; its text is shown this once.
#[utoipa::path(post, path = "/api/admin/tokens", operation_id = "create_token", tag = "tokens", security(("bearer" = ["admin"])),
    request_body = NewTokenBody, responses(
        (status = 201, body = CreatedTokenBody),
        (status = 400, body = Problem, description = "The body is no JSON."),
        (status = 415, body = Problem, description = "The body does not say that it is JSON."),
        AuthenticatedResponses))]
pub(super) async fn create(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidJson(new): ValidJson<NewTokenBody>,
) -> Result<(StatusCode, Json<CreatedTokenBody>), ApiError> {
    if known.is_scheduler() {
        // A shared secret must not be able to outlive its own change (BEHAVIOUR.md 4.4).
        let detail = "the scheduler's secret makes no tokens; use a token of your own";
        return Err(ApiError::new(ProblemClass::Forbidden, detail));
    }
    let actor = known.actor();
    let created = service.about_tokens(move |service| {
        let (store, now) = (service.database()?, service.clock().now());
        let new = crate::body::token::asked(new).map_err(ApiError::unprocessable)?;
        let randomness = service.randomness.as_ref();
        Ok(match &service.keyring {
            Some(keyring) => keyring.create(store, &new, randomness, actor, now)?,
            None => token::create(store, &new, randomness, actor, now)?,
        })
    });
    let created = created.await?;
    let body = CreatedTokenBody {
        id: created.token.id,
        token: created.text,
        role: created.token.role.into(),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Takes a token back, from now on.
#[utoipa::path(delete, path = "/api/admin/tokens/{id}", operation_id = "revoke_token", tag = "tokens", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the token.")), responses(
        (status = 200, body = TokenBody),
        (status = 404, body = Problem, description = "There is no such token."),
        AuthenticatedResponses))]
pub(super) async fn revoke(
    State(service): State<Arc<ServiceState>>,
    Admin(known): Admin,
    ValidName(id): ValidName,
) -> Result<Json<TokenBody>, ApiError> {
    let actor = known.actor();
    let revoked = service.about_tokens(move |service| {
        let (store, now) = (service.database()?, service.clock().now());
        Ok(match &service.keyring {
            Some(keyring) => keyring.revoke(store, &id, actor, now)?,
            None => token::revoke(store, &id, actor, now)?,
        })
    });
    Ok(Json(revoked.await?.into()))
}

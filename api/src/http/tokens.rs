//! Creates, lists and revokes tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use session_pipeline_pipeline::token;
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
use super::params::{self, ValidJson, ValidName, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::token::{CreatedTokenBody, NewTokenBody, TokenBody, TokensBody};
use crate::problem::ProblemClass;

/// Selects tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensQuery {
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Lists tokens without their texts, oldest first.
#[utoipa::path(get, path = "/api/admin/tokens", operation_id = "list_tokens", tag = "tokens", security(("bearer" = ["admin"])),
    params(TokensQuery), responses((status = 200, body = TokensBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    _: Admin,
    ValidQuery(query): ValidQuery<TokensQuery>,
) -> Result<Json<TokensBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let query_tokens = move |service: &ServiceState| {
        let store = service.database()?;
        Ok(store.tokens_after(query.cursor.as_deref(), limit + 1)?)
    };
    let tokens = service.run_token_request(query_tokens).await?;
    let (tokens, next) = params::page(tokens, limit, |token| token.id.clone());
    let tokens = tokens.into_iter().map(TokenBody::from).collect();
    Ok(Json(TokensBody { tokens, next }))
}

/// Creates a token. Only this response contains its text.
#[utoipa::path(post, path = "/api/admin/tokens", operation_id = "create_token", tag = "tokens", security(("bearer" = ["admin"])),
    request_body = NewTokenBody, responses(
        (status = 201, body = CreatedTokenBody),
        (status = 400, body = Problem, description = "The body is not valid JSON."),
        (status = 415, body = Problem, description = "The content type is not JSON."),
        AuthenticatedResponses))]
pub(super) async fn create(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidJson(body): ValidJson<NewTokenBody>,
) -> Result<(StatusCode, Json<CreatedTokenBody>), ApiError> {
    if admin.is_scheduler() {
        // Otherwise, someone who knew the secret would keep access after it is changed.
        let detail = "the scheduler secret cannot create tokens; use an admin token";
        return Err(ApiError::new(ProblemClass::Forbidden, detail));
    }
    let actor = admin.actor();
    let created = service.run_token_request(move |service| {
        let (store, now) = (service.database()?, service.clock().now());
        let new = crate::body::token::new_token(body).map_err(ApiError::unprocessable)?;
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

/// Revokes a token, effective immediately.
#[utoipa::path(delete, path = "/api/admin/tokens/{id}", operation_id = "revoke_token", tag = "tokens", security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The id of the token.")), responses(
        (status = 200, body = TokenBody),
        (status = 404, body = Problem, description = "The token does not exist."),
        AuthenticatedResponses))]
pub(super) async fn revoke(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidName(id): ValidName,
) -> Result<Json<TokenBody>, ApiError> {
    let actor = admin.actor();
    let revoked = service.run_token_request(move |service| {
        let (store, now) = (service.database()?, service.clock().now());
        Ok(match &service.keyring {
            Some(keyring) => keyring.revoke(store, &id, actor, now)?,
            None => token::revoke(store, &id, actor, now)?,
        })
    });
    Ok(Json(revoked.await?.into()))
}

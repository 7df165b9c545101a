//! The OpenAPI document, generated from the handlers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::ServiceState;
use super::problem::CommonResponses;

/// The document without routes.
pub(super) fn base_document() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token from `session-pipeline token create` or `POST /api/admin/tokens`.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Session Pipeline")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Sandboxed processors over AI coding-agent transcripts. Every error has the body `{\"detail\": …, \"class\": …}`. \
                     Any request can return 400 if its head is malformed, 421 if its `Host` is not a name of this server, and \
                     503 while too many connections are open.",
                ))
                .build(),
        )
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme("bearer", SecurityScheme::Http(bearer))
                .build(),
        ))
        .build()
}

/// Renames `{*path}`, which only the router knows, to `{path}`.
pub(super) fn rename_wildcards(document: &mut OpenApi) {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
}

/// Returns this document.
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "describe_api", tag = "health", security(()),
    responses((status = 200, description = "The OpenAPI document.", content_type = "application/json"), CommonResponses))]
pub(super) async fn get(State(service): State<Arc<ServiceState>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let document = service.document.get_or_init(|| {
        let (_, document) = super::routes_with_document();
        document.to_pretty_json().unwrap_or_default()
    });
    (kind, document.clone()).into_response()
}

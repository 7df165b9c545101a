//! The description of the routes, generated from the handlers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

use super::ServiceState;
use super::problem::CommonResponses;

/// What holds for all routes.
pub(super) fn frame() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token, made by `session-pipeline token create` or by POST /api/admin/tokens.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Session Pipeline")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Sandboxed processors over AI coding-agent transcripts. Every failure answers `{\"detail\": …, \"class\": …}`. \
                     Any request can be answered with 400 where its head is malformed, 421 where its `Host` is not a name of \
                     this server, and 503 while too many connections are open.",
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

/// This description.
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "describe_api", tag = "health", security(()),
    responses((status = 200, description = "An OpenAPI document.", content_type = "application/json"), CommonResponses))]
pub(super) async fn get(State(service): State<Arc<ServiceState>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let document = service.document.get_or_init(|| {
        let (_, document) = super::documented();
        document.to_pretty_json().unwrap_or_default()
    });
    (kind, document.clone()).into_response()
}

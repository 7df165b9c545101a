//! The processors, and whether each can run.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use session_pipeline_runtime::registry::listing;

use super::Service;
use super::caller::Admin;
use super::problem::{ApiError, Refusals};
use crate::body::admin::Processors;

/// The processors, in the order of their names.
#[utoipa::path(get, path = "/api/admin/processors", operation_id = "list_processors", tag = "admin", security(("bearer" = ["admin"])),
    responses((status = 200, body = Processors), Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
) -> Result<Json<Processors>, ApiError> {
    let listed = |service: &Service| {
        let pipeline = &service.pipeline;
        // What another look finds that is at work already is listed the next time.
        pipeline.look(false)?;
        let scratch = pipeline.config().state_dir();
        let listed = listing::list(
            pipeline.registry(),
            pipeline.config(),
            Some(pipeline.store()),
            &scratch,
            pipeline.has_language_model(),
        )?;
        Ok(Processors::new(listed, &pipeline.registry().plan()))
    };
    service.query(listed).await.map(Json)
}

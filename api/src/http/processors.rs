//! The processors, and whether each can run.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::registry::listing::{self, ListedProcessor};
use utoipa::IntoParams;

use super::Service;
use super::asked::{self, Asked};
use super::caller::Admin;
use super::problem::{ApiError, Refusals};
use crate::body::admin::Processors;

/// Which processors.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProcessorsQuery {
    /// At most this many on one page.
    #[serde(default = "super::asked::hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// The processors, in the order of their names.
#[utoipa::path(get, path = "/api/admin/processors", operation_id = "list_processors", tag = "admin", security(("bearer" = ["admin"])),
    params(ProcessorsQuery), responses((status = 200, body = Processors), Refusals))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    Asked(query): Asked<ProcessorsQuery>,
) -> Result<Json<Processors>, ApiError> {
    let limit = asked::limit(query.limit)?;
    let listed = move |service: &Service| {
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
        let after = query.cursor.as_deref();
        let is_after = |name: &str| after.is_none_or(|after| name > after);
        let listed = listed.into_iter();
        let listed = listed.filter(|processor| is_after(&processor.name));
        let (listed, next) = asked::page(listed.collect(), limit, |processor: &ListedProcessor| {
            processor.name.clone()
        });
        Ok(Processors {
            next,
            ..Processors::new(listed, &pipeline.registry().plan())
        })
    };
    service.query(listed).await.map(Json)
}

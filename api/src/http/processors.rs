//! Lists the processors, and whether each can run.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_host::sandbox::Engines;
use session_pipeline_pipeline::registry::listing::{self, ListedProcessor};
use session_pipeline_pipeline::registry::{Access, Loader, Refresh};
use utoipa::IntoParams;

use super::caller::Admin;
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use super::{HandlerSource, ServiceState};
use crate::body::admin::ProcessorsBody;

/// Selects processors.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProcessorsQuery {
    /// The maximum number of rows on a page.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

/// Lists processors by name, with rejected files of the processors folder.
#[utoipa::path(get, path = "/api/admin/processors", operation_id = "list_processors", tag = "admin", security(("bearer" = ["admin"])),
    params(ProcessorsQuery), responses((status = 200, body = ProcessorsBody), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    Admin(admin): Admin,
    ValidQuery(query): ValidQuery<ProcessorsQuery>,
) -> Result<Json<ProcessorsBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let collect = move |service: &ServiceState| {
        let scratch = service.examine_processors(admin.local.is_some())?;
        let listed = listing::list(
            service.registry(),
            service.config(),
            service.store(),
            &scratch,
            service.has_language_model(),
        )?;
        let after = query.cursor.as_deref();
        let is_after = |name: &str| after.is_none_or(|after| name > after);
        let listed = listed.into_iter();
        let listed = listed.filter(|processor| is_after(&processor.name));
        let (listed, next) =
            params::page(listed.collect(), limit, |processor: &ListedProcessor| {
                processor.name.clone()
            });
        Ok(ProcessorsBody {
            next,
            ..ProcessorsBody::new(listed, &service.registry().plan())
        })
    };
    service.change(collect).await.map(Json)
}

impl ServiceState {
    /// Examines the processors folder. Returns the folder for compiling components that no run has
    /// compiled yet.
    fn examine_processors(&self, is_local: bool) -> Result<PathBuf, ApiError> {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => {
                // A server does not wait for an examination that is in progress; the next list has
                // its result. A command may run the processors next, so it compiles and stores them
                // all.
                pipeline.examine_folder(is_local)?;
                if is_local {
                    for name in pipeline.registry().names() {
                        // The list contains the reason for a failure.
                        let _ = pipeline.processor(&name);
                    }
                }
                Ok(pipeline.config().state_dir())
            }
            HandlerSource::DataDir(dir) => {
                let scratch = std::env::temp_dir();
                let engines = Engines::new(dir.config.pool_limits(), 0);
                let loader = Loader {
                    engines: &engines,
                    access: Access::ReadOnly(dir.store.as_ref(), &scratch),
                };
                let waits = false;
                let refresh = Refresh::All { loader, waits };
                dir.registry
                    .refresh(&dir.config, dir.clock.now(), refresh)?;
                Ok(scratch)
            }
        }
    }
}

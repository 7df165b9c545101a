//! Prices: the list, and their update from LiteLLM's table.
//!
//! The server never fetches the table. Its caller sends it, so no token can make the server send
//! requests.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use serde::Deserialize;
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::report::{
    self, PriceList, PriceScope, PriceTable, PriceUpdate, PriceUpdateReport,
};
use session_pipeline_store::AuditEntry;
use utoipa::IntoParams;

use super::ServiceState;

use super::caller::{Admin, Analyst};
use super::params::ValidQuery;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::problem::ProblemClass;

/// Several times the size of LiteLLM's table.
const TABLE_BYTES_MAX: usize = 16 << 20;
/// Longer than any sensible address.
const SOURCE_BYTES_MAX: usize = 2048;

/// The prices to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PricesQuery {
    /// The day, in UTC. Default: today.
    #[param(format = Date)]
    day: Option<String>,
    /// Whether to list all prices, and not only those of models in the database.
    #[serde(default)]
    all: bool,
}

/// Lists the prices in effect on a day.
#[utoipa::path(get, path = "/api/usage/prices", operation_id = "list_prices", tag = "usage", security(("bearer" = ["analyst"])),
    params(PricesQuery), responses((status = 200, body = PriceList), AuthenticatedResponses))]
pub(super) async fn list(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(query): ValidQuery<PricesQuery>,
) -> Result<Json<PriceList>, ApiError> {
    let day = query.day.map(|text| {
        text.parse::<Day>().map_err(|error| {
            ApiError::unprocessable(format!("invalid `day` `{}`: {error}", printable(&text)))
        })
    });
    let day = day.transpose()?;
    let listed = service.read(analyst.role, move |service| {
        let prices = PriceTable::load(service.config())?;
        let clock = service.clock();
        let store = service.store();
        Ok(report::list_prices(store, &prices, day, query.all, clock)?)
    });
    Ok(Json(listed.await?))
}

/// The update.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UpdateQuery {
    /// Where the table comes from. It becomes a note in each new entry.
    source: String,
    /// Whether to update all chat models of the table, and not only those in the database.
    #[serde(default)]
    all: bool,
    /// Whether to only report the changes.
    #[serde(default)]
    dry_run: bool,
}

/// Updates the operator's price file from LiteLLM's table `model_prices_and_context_window.json`,
/// which is the body. Entries that a person wrote stay unchanged.
#[utoipa::path(post, path = "/api/admin/prices/update", operation_id = "update_prices", tag = "usage", security(("bearer" = ["admin"])),
    params(UpdateQuery), request_body(content = serde_json::Value, description = "LiteLLM's price table, at most 16 MiB."),
    responses(
        (status = 200, body = PriceUpdateReport),
        (status = 400, body = Problem, description = "The body cannot be read."),
        AuthenticatedResponses))]
pub(super) async fn update(
    State(service): State<Arc<ServiceState>>,
    Admin(caller): Admin,
    ValidQuery(query): ValidQuery<UpdateQuery>,
    request: Request,
) -> Result<Json<PriceUpdateReport>, ApiError> {
    if query.source.is_empty() || query.source.len() > SOURCE_BYTES_MAX {
        let detail = format!(
            "invalid `source`: empty or longer than {SOURCE_BYTES_MAX} bytes; send the address of the table"
        );
        return Err(ApiError::unprocessable(detail));
    }
    let table = text(request).await?;
    let actor = caller.actor();
    let updated = service.change(move |service| {
        let now = service.clock().now();
        let scope = match (query.all, service.store()) {
            (true, _) => PriceScope::All,
            (false, Some(store)) => PriceScope::InUse(report::models_in_use(store)?),
            (false, None) => PriceScope::InUse(Vec::new()),
        };
        let update = PriceUpdate {
            table: &table,
            source: &query.source,
            now,
            scope,
            is_dry_run: query.dry_run,
        };
        let updated = update.apply(service.config())?;
        if let Some(store) = service.store().filter(|_| updated.is_written) {
            let params = serde_json::json!({
                "source": query.source,
                "all": query.all,
                "changes": updated.changes.len(),
            });
            store.audit(AuditEntry {
                params: Some(params.to_string()),
                ..AuditEntry::new("prices.update", "prices", actor, now)
            })?;
        }
        Ok(updated)
    });
    Ok(Json(updated.await?))
}

/// The body of a request as text. The general limit of bodies is too low for a price table.
async fn text(request: Request) -> Result<String, ApiError> {
    let body = to_bytes(request.into_body(), TABLE_BYTES_MAX);
    let body = body.await.map_err(|error| {
        use std::error::Error as _;
        let is_too_large = error
            .source()
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        match is_too_large {
            true => ApiError::new(
                ProblemClass::TooLarge,
                format!(
                    "the price table is larger than {TABLE_BYTES_MAX} bytes; send LiteLLM's table"
                ),
            ),
            false => ApiError::bad_request(format!(
                "cannot read the request body: {error}; send it again"
            )),
        }
    })?;
    String::from_utf8(body.into())
        .map_err(|_| ApiError::unprocessable("the price table is not UTF-8; send it unchanged"))
}

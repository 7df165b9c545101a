//! A request of a visitor: the visitor's requests to the API, and the frame of pages.

use std::sync::Arc;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::extract::rejection::ExtensionRejection;
use axum::http::request::Parts;
use maud::Markup;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::filters::{FilterQuery, Filters, address};
use super::frame::{Frame, Reader, Section};
use super::visitor::Visitor;
use super::{DashboardState, call};
use crate::body::usage::UsageReportBody;
use crate::http::ApiError;

/// A request of a visitor.
#[derive(Clone)]
pub(super) struct Visit {
    state: Arc<DashboardState>,
    visitor: Visitor,
}

impl FromRequestParts<Arc<DashboardState>> for Visit {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<DashboardState>,
    ) -> Result<Self, ExtensionRejection> {
        let Extension(visitor) = Extension::from_request_parts(parts, state).await?;
        Ok(Self {
            state: Arc::clone(state),
            visitor,
        })
    }
}

impl Visit {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::get(&self.state.api, &self.visitor, path).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::post(&self.state.api, &self.visitor, path, None::<&()>).await
    }

    pub(super) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        call::post(&self.state.api, &self.visitor, path, Some(body)).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        call::delete(&self.state.api, &self.visitor, path).await
    }

    pub(super) fn view(&self, query: &FilterQuery) -> View {
        View {
            reader: self.visitor.reader(),
            filters: Filters::of(query, self.state.service.clock().now()),
        }
    }

    /// A report on usage with the filters of a page.
    pub(super) async fn report(
        &self,
        filters: &Filters,
        own: &[(&'static str, &str)],
    ) -> Result<UsageReportBody, ApiError> {
        self.get(&data_address("/api/usage/summary", filters, own))
            .await
    }

    /// The number of calls of tools. The report has no rows of interest.
    pub(super) async fn tool_calls(&self, filters: &Filters) -> Result<UsageReportBody, ApiError> {
        self.get(&data_address("/api/usage/tools", filters, &[("top", "1")]))
            .await
    }
}

/// Waits for a request that some pages do not make.
pub(super) async fn maybe<T>(
    request: Option<impl Future<Output = Result<T, ApiError>>>,
) -> Result<Option<T>, ApiError> {
    match request {
        Some(request) => request.await.map(Some),
        None => Ok(None),
    }
}

/// The address of a route with the filters of a page.
pub(super) fn data_address(path: &str, filters: &Filters, own: &[(&'static str, &str)]) -> String {
    let mut parameters = filters.report();
    parameters.extend(own.iter().map(|(name, value)| (*name, (*value).to_owned())));
    address(path, &parameters)
}

/// What a page knows about its visitor and its address.
pub(super) struct View {
    pub(super) reader: Reader,
    pub(super) filters: Filters,
}

impl View {
    pub(super) fn page(
        &self,
        title: &str,
        section: Section,
        has_charts: bool,
        main: &Markup,
    ) -> Markup {
        let frame = Frame {
            title,
            section: Some(section),
            reader: Some(&self.reader),
            filters: Some(&self.filters),
            has_charts,
        };
        frame.render(main)
    }
}

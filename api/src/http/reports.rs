//! Reports: usage by causes, calls of tools, skills and commands, and waste.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::report::{
    self, DayRange, PriceTable, QualityReport, ReportFilter, ReportScope, SkillsReport,
    ToolGrouping, UsageGrouping, UsageReport, WasteGrouping, WasteReport,
};
use session_pipeline_store::{Role, Store, StoreError};
use utoipa::{IntoParams, ToSchema};

use super::ServiceState;
use super::caller::{Analyst, CallerScope, Member};
use super::csv::FormatParam;
use super::local::LocalReport;
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::grouping::{AgentParam, GroupingParam, ToolGroupingParam, WasteGroupingParam};
use crate::body::usage::UsageReportBody;
use crate::problem::ProblemClass;

/// Maximum value of `top`.
const TOP_MAX: u32 = 1_000_000;

/// Defines the query of a report: its own parameters, and those of every report.
macro_rules! report_query {
    ($name:ident { $($own:tt)* }) => {
        #[derive(Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            $($own)*
            /// The first day.
            #[param(format = Date)]
            since: Option<String>,
            /// The last day, inclusive.
            #[param(format = Date)]
            until: Option<String>,
            /// The time zone of days, weeks, months and hours, such as `Europe/Berlin`. Default:
            /// UTC.
            tz: Option<String>,
            /// Only this user: an email address, or the name of a folder.
            user: Option<String>,
            /// Only this project: its name, its whole path, or the last parts of its path. The name
            /// is the last part of the path, and selects the clones of a repository.
            project: Option<String>,
            /// Only this model, by its id.
            model: Option<String>,
            /// Only the sessions of this coding agent.
            #[param(inline)]
            agent: Option<AgentParam>,
            /// Only the session with this id.
            session: Option<String>,
            /// Maximum number of rows. The most expensive rows come first.
            #[param(minimum = 1, maximum = 1_000_000)]
            top: Option<u32>,
            /// The format of the response. CSV has the rows only.
            #[serde(default)]
            #[param(inline)]
            format: FormatParam,
        }

        impl $name {
            fn filter(&self) -> Result<ReportFilter, ApiError> {
                let days = days(self.since.as_deref(), self.until.as_deref())?;
                if let Some(top) = self.top
                    && !(1..=TOP_MAX).contains(&top)
                {
                    return Err(ApiError::unprocessable(format!(
                        "invalid value `{top}` for `top`: expected a number from 1 to {TOP_MAX}"
                    )));
                }
                let filter = ReportFilter {
                    user: self.user.clone(),
                    project: self.project.clone(),
                    model: self.model.clone(),
                    agent: self.agent.map(|agent| agent.name().to_owned()),
                    session: self.session.clone(),
                    top: self.top,
                    ..ReportFilter::from(days)
                };
                Ok(match &self.tz {
                    None => filter,
                    Some(name) => ReportFilter {
                        zone: params::zone(name)?,
                        ..filter
                    },
                })
            }
        }
    };
}

report_query!(UsageQuery {
    /// The grouping of the rows.
    #[serde(default)]
    #[param(inline)]
    by: GroupingParam,
    /// Splits each row by a second grouping. Not with `tool`.
    #[param(inline)]
    split: Option<GroupingParam>,
    /// Only the messages of this provider of models. Not with `tool`.
    provider: Option<String>,
    /// Whose sessions. Default: all that the caller can see. A member sees the totals of the team only
    /// by day, week, month, hour, model, source, effort or agent.
    #[param(inline)]
    scope: Option<ReportScopeParam>,
});

/// Whose sessions a report includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReportScopeParam {
    /// Those of the whole team.
    Team,
}

impl UsageQuery {
    /// Whose sessions a caller gets.
    ///
    /// # Errors
    /// The report would contain names that the caller must not see.
    fn scope(&self, member: &Member) -> Result<RequestedScope, ApiError> {
        if self.scope.is_none() || member.scope == CallerScope::Everyone {
            return Ok(RequestedScope::Visible);
        }
        let mut groupings = std::iter::once(self.by).chain(self.split);
        let names_work = [&self.user, &self.project, &self.session, &self.provider];
        if !groupings.all(GroupingParam::is_anonymous)
            || names_work.iter().any(|name| name.is_some())
        {
            let detail = "a member can group the totals of the team only by day, week, month, hour, model, source, effort or agent, and cannot filter them by user, project, session or provider; omit `scope` for a report on your own sessions";
            return Err(ApiError::new(ProblemClass::Forbidden, detail));
        }
        Ok(RequestedScope::Team)
    }
}

/// A report that a caller requests.
struct RequestedReport {
    scope: RequestedScope,
    filter: ReportFilter,
    format: FormatParam,
}

impl RequestedReport {
    /// A report on all that the caller can see.
    fn visible(filter: ReportFilter, format: FormatParam) -> Self {
        Self {
            scope: RequestedScope::Visible,
            filter,
            format,
        }
    }
}

/// Whose sessions a report includes, before the directories of the caller are known.
#[derive(Clone, Copy)]
enum RequestedScope {
    /// All that the caller can see.
    Visible,
    /// Those of the whole team, without names.
    Team,
}

/// Returns tokens, cost and messages. Each message counts once over all files. A member sees its own
/// sessions.
#[utoipa::path(get, path = "/api/usage/summary", operation_id = "report_usage", tag = "usage", security(("bearer" = ["member"])),
    params(UsageQuery), responses((status = 200, content((UsageReportBody = "application/json"), (String = "text/csv"))), AuthenticatedResponses))]
pub(super) async fn usage(
    State(service): State<Arc<ServiceState>>,
    member: Member,
    ValidQuery(query): ValidQuery<UsageQuery>,
) -> Result<Response, ApiError> {
    let wanted = RequestedReport {
        scope: query.scope(&member)?,
        filter: ReportFilter {
            provider: query.provider.clone(),
            ..query.filter()?
        },
        format: query.format,
    };
    let Some(by) = query.by.of_messages() else {
        if query.split.is_some() {
            let detail = "`split` does not apply to `by=tool`; omit it";
            return Err(ApiError::unprocessable(detail));
        }
        if query.provider.is_some() {
            let detail =
                "`provider` does not apply to `by=tool`, because calls have no provider; omit it";
            return Err(ApiError::unprocessable(detail));
        }
        return calls(&service, member, ToolGrouping::Tool, wanted).await;
    };
    let split = match query.split.map(GroupingParam::of_messages) {
        Some(None) => {
            let detail = "invalid value `tool` for `split`: a message has no tool";
            return Err(ApiError::unprocessable(detail));
        }
        Some(Some(split)) if split == by => {
            let detail = "`split` is the same as `by`; use another grouping";
            return Err(ApiError::unprocessable(detail));
        }
        split => split.flatten(),
    };
    let grouping = UsageGrouping { by, split };
    let read =
        move |store: &Store, prices: &PriceTable, filter: ReportFilter, clock: &Arc<dyn Clock>| {
            report::usage(store, prices, grouping, filter, clock)
        };
    let empty = move |now| UsageReport::<report::UsageTotals>::empty(by.key(), now);
    respond(&service, member, wanted, read, empty).await
}

report_query!(ToolsQuery {
    /// The grouping of the rows.
    #[serde(default)]
    #[param(inline)]
    by: ToolGroupingParam,
});

/// Returns calls of tools, their failures by class, and how long they took.
#[utoipa::path(get, path = "/api/usage/tools", operation_id = "report_tools", tag = "usage", security(("bearer" = ["member"])),
    params(ToolsQuery), responses((status = 200, content((UsageReportBody = "application/json"), (String = "text/csv"))), AuthenticatedResponses))]
pub(super) async fn tools(
    State(service): State<Arc<ServiceState>>,
    member: Member,
    ValidQuery(query): ValidQuery<ToolsQuery>,
) -> Result<Response, ApiError> {
    let filter = query.filter()?;
    let wanted = RequestedReport::visible(filter, query.format);
    calls(&service, member, query.by.into(), wanted).await
}

async fn calls(
    service: &Arc<ServiceState>,
    member: Member,
    by: ToolGrouping,
    wanted: RequestedReport,
) -> Result<Response, ApiError> {
    let read =
        move |store: &Store, prices: &PriceTable, filter: ReportFilter, clock: &Arc<dyn Clock>| {
            report::tools(store, prices, by, filter, clock)
        };
    let empty = move |now| UsageReport::<report::ToolCalls>::empty(by.key(), now);
    respond(service, member, wanted, read, empty).await
}

report_query!(SkillsQuery {});

/// Returns skills, slash commands and sub-agents: how often they were used, by which users, and
/// since when.
#[utoipa::path(get, path = "/api/usage/skills", operation_id = "report_skills", tag = "usage", security(("bearer" = ["member"])),
    params(SkillsQuery), responses((status = 200, content((SkillsReport = "application/json"), (String = "text/csv"))), AuthenticatedResponses))]
pub(super) async fn skills(
    State(service): State<Arc<ServiceState>>,
    member: Member,
    ValidQuery(query): ValidQuery<SkillsQuery>,
) -> Result<Response, ApiError> {
    let filter = query.filter()?;
    let read =
        move |store: &Store, prices: &PriceTable, filter: ReportFilter, clock: &Arc<dyn Clock>| {
            report::skills(store, prices, &filter, clock)
        };
    let wanted = RequestedReport::visible(filter, query.format);
    respond(&service, member, wanted, read, SkillsReport::empty).await
}

report_query!(WasteQuery {
    /// The grouping of the rows, in addition to the kind.
    #[serde(default)]
    #[param(inline)]
    by: WasteGroupingParam,
});

/// Returns tokens that sessions could have saved, by kind, with their cost.
#[utoipa::path(get, path = "/api/usage/waste", operation_id = "report_waste", tag = "usage", security(("bearer" = ["member"])),
    params(WasteQuery), responses((status = 200, content((WasteReport = "application/json"), (String = "text/csv"))), AuthenticatedResponses))]
pub(super) async fn waste(
    State(service): State<Arc<ServiceState>>,
    member: Member,
    ValidQuery(query): ValidQuery<WasteQuery>,
) -> Result<Response, ApiError> {
    let filter = query.filter()?;
    let by = WasteGrouping::from(query.by);
    let read =
        move |store: &Store, prices: &PriceTable, filter: ReportFilter, clock: &Arc<dyn Clock>| {
            report::waste(store, prices, by, &filter, clock)
        };
    let wanted = RequestedReport::visible(filter, query.format);
    respond(&service, member, wanted, read, WasteReport::empty).await
}

/// Which messages and session files the report on data quality includes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QualityQuery {
    /// The first day. A file belongs to the day of its last line.
    #[param(format = Date)]
    since: Option<String>,
    /// The last day, inclusive.
    #[param(format = Date)]
    until: Option<String>,
    /// The time zone of the days, such as `Europe/Berlin`. Default: UTC.
    tz: Option<String>,
    /// Only this user: an email address, or the name of a folder.
    user: Option<String>,
    /// Only this project: its name, its whole path, or the last parts of its path.
    project: Option<String>,
    /// Only the sessions of this coding agent.
    #[param(inline)]
    agent: Option<AgentParam>,
}

impl QualityQuery {
    fn filter(&self) -> Result<ReportFilter, ApiError> {
        let days = days(self.since.as_deref(), self.until.as_deref())?;
        let filter = ReportFilter {
            user: self.user.clone(),
            project: self.project.clone(),
            agent: self.agent.map(|agent| agent.name().to_owned()),
            ..ReportFilter::from(days)
        };
        Ok(match &self.tz {
            None => filter,
            Some(name) => ReportFilter {
                zone: params::zone(name)?,
                ..filter
            },
        })
    }
}

/// Returns why figures are lower bounds, which lines are in no figure, and how far figures differ
/// from those that the agent itself reports. Titles of sessions require the role `admin`.
#[utoipa::path(get, path = "/api/usage/quality", operation_id = "report_quality", tag = "usage", security(("bearer" = ["analyst"])),
    params(QualityQuery), responses((status = 200, body = QualityReport), AuthenticatedResponses))]
pub(super) async fn quality(
    State(service): State<Arc<ServiceState>>,
    analyst: Analyst,
    ValidQuery(query): ValidQuery<QualityQuery>,
) -> Result<Response, ApiError> {
    let filter = query.filter()?;
    let has_titles = analyst.role == Role::Admin;
    let read =
        move |store: &Store, prices: &PriceTable, filter: ReportFilter, clock: &Arc<dyn Clock>| {
            let report = report::quality(store, prices, filter, clock);
            report.map(|report| match has_titles {
                true => report,
                false => report.map(QualityReport::without_titles),
            })
        };
    let reader = Member {
        role: analyst.role,
        scope: CallerScope::Everyone,
        local: analyst.local,
    };
    let wanted = RequestedReport::visible(filter, FormatParam::Json);
    respond(&service, reader, wanted, read, QualityReport::empty).await
}

/// Reads a report and returns it. If nothing was processed yet, returns an empty one.
async fn respond<R: Serialize>(
    service: &Arc<ServiceState>,
    member: Member,
    wanted: RequestedReport,
    read: impl FnOnce(
        &Store,
        &PriceTable,
        ReportFilter,
        &Arc<dyn Clock>,
    ) -> Result<Option<R>, StoreError>
    + Send
    + 'static,
    empty: impl FnOnce(UtcMicros) -> R + Send + 'static,
) -> Result<Response, ApiError> {
    let Member { role, scope, local } = member;
    let format = wanted.format;
    let body = service.read(role, move |service| {
        let scope = match (scope.directories(service)?, wanted.scope) {
            (None, _) => ReportScope::Everyone,
            (Some(own), RequestedScope::Visible) => ReportScope::Own(own),
            (Some(own), RequestedScope::Team) => ReportScope::Team(own),
        };
        let filter = ReportFilter {
            scope,
            ..wanted.filter
        };
        let prices = PriceTable::load(service.config())?;
        let clock = service.clock();
        let now = clock.now();
        let report = service.store().map(|store| -> Result<Option<R>, ApiError> {
            let registry = service.registry();
            registry.upgrade_usage(service.config(), store, now)?;
            Ok(read(store, &prices, filter, clock)?)
        });
        let report = report.transpose()?.flatten().unwrap_or_else(|| {
            if let Some(local) = &local {
                local.report(LocalReport::NothingProcessed);
            }
            empty(now)
        });
        serde_json::to_vec(&report).map_err(|error| ApiError::internal(&error))
    });
    format.response(body.await?, "rows", "report")
}

fn days(since: Option<&str>, until: Option<&str>) -> Result<DayRange, ApiError> {
    let day = |name: &str, text: Option<&str>| -> Result<Option<Day>, ApiError> {
        let invalid = |text: &str, error| {
            let text = printable(text);
            ApiError::unprocessable(format!("invalid value `{text}` for `{name}`: {error}"))
        };
        let day = text.map(|text| text.parse().map_err(|error| invalid(text, error)));
        day.transpose()
    };
    let (since, until) = (day("since", since)?, day("until", until)?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let detail = format!("`until` {until} is before `since` {since}; swap them");
        return Err(ApiError::unprocessable(detail));
    }
    Ok(DayRange { since, until })
}

//! Health: named checks in one report, with what works, what lags and what to do.
//!
//! `facts` collects without judging. `backlog` and `checks` judge without collecting. This module
//! assembles the entries. A check that cannot run is `unknown` and does not degrade the overall
//! status.

mod backlog;
mod budgets;
mod checks;
mod facts;
mod memo;
mod prices;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::Role;

use crate::config::LlmConfig;

pub use backlog::{
    BacklogFigures, LagGrace, PendingSessions, ProcessorBacklog, SessionFiles, WaitingSession,
};
pub use budgets::{BudgetFigures, BudgetSubject, BudgetsFigures};
pub use checks::{
    DiskFigures, JobFigures, QuarantineFigures, SchedulerFigures, SchemaFigures, SchemaState,
    SchemaStatus, SessionsFigures, UsersFigures,
};
pub use facts::{
    DatabaseFacts, DatabaseSource, DiskProbe, DiskSpace, HealthFacts, HealthSources, SessionSurvey,
    SessionsFacts, SystemDisk, schema,
};
pub use memo::{SchemaCache, SurveyCache};

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CheckStatus))]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// No problem.
    Ok,
    /// Noteworthy. Never degrades the overall status.
    Info,
    /// The check could not run. Never degrades the overall status.
    Unknown,
    /// Something lags. The overall status is at least degraded.
    Warning,
    /// Something does not work. The overall status is unhealthy.
    Error,
}

impl CheckStatus {
    /// The name in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The overall status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OverallStatus {
    /// No check has a warning or an error.
    Healthy,
    /// At least one check has a warning.
    Degraded,
    /// At least one check has an error.
    Unhealthy,
}

impl OverallStatus {
    /// The worst of these statuses. Only `warning` and `error` have an effect.
    pub fn worst_of(statuses: impl IntoIterator<Item = CheckStatus>) -> Self {
        let effects = statuses.into_iter().map(|status| match status {
            CheckStatus::Ok | CheckStatus::Info | CheckStatus::Unknown => Self::Healthy,
            CheckStatus::Warning => Self::Degraded,
            CheckStatus::Error => Self::Unhealthy,
        });
        effects.max().unwrap_or(Self::Healthy)
    }
}

/// Who needs to know about a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CheckAudience {
    /// Every user.
    Analyst,
    /// The operators of the service.
    Operator,
}

/// One check in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The result.
    pub status: CheckStatus,
    /// Who needs to know about it.
    pub audience: CheckAudience,
    /// The finding, as a sentence.
    pub detail: Option<String>,
    /// What to do next, if anything.
    pub next_action: Option<String>,
    /// The measurements.
    pub figures: CheckFigures,
}

impl CheckResult {
    fn new(status: CheckStatus, figures: CheckFigures) -> Self {
        Self {
            status,
            audience: CheckAudience::Operator,
            detail: None,
            next_action: None,
            figures,
        }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn next(mut self, action: impl Into<String>) -> Self {
        self.next_action = Some(action.into());
        self
    }
}

/// The measurements of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Eq)]
#[serde(untagged)]
pub enum CheckFigures {
    /// No measurements.
    None {},
    /// How far a processor is behind.
    Backlog(BacklogFigures),
    /// The schema version of the database.
    Schema(SchemaFigures),
    /// The sessions on disk.
    Sessions(SessionsFigures),
    /// The number of users.
    Users(UsersFigures),
    /// The state of the scheduler's jobs.
    Scheduler(SchedulerFigures),
    /// Failed sessions of all processors.
    Quarantine(QuarantineFigures),
    /// Disk space for the data directory.
    Disk(DiskFigures),
    /// The budgets.
    Budgets(BudgetsFigures),
}

/// The results of all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The checks, by name.
    pub entries: BTreeMap<String, CheckResult>,
    /// When the facts were collected.
    pub at: UtcMicros,
}

impl HealthReport {
    /// Judges the facts.
    pub fn judge(facts: &HealthFacts) -> Self {
        let mut entries = BTreeMap::new();
        for backlog in &facts.backlogs {
            entries.insert(backlog.entry_name(), backlog.judge());
        }
        checks::add_all(facts, &mut entries);
        Self {
            entries,
            at: facts.now,
        }
    }

    /// Adds a warning if the configuration of the language model is insecure.
    #[must_use]
    pub fn with_model_config(mut self, config: &LlmConfig) -> Self {
        if !config.verify_ssl {
            let entry = CheckResult::new(CheckStatus::Warning, CheckFigures::None {})
                .detail("the language model's certificate is not verified, so anyone on the network path can read keys and sessions")
                .next("set `llm.verify_ssl = true`, and add the server's certificate to the system's trust store");
            self.entries.insert("language_model".to_owned(), entry);
        }
        self
    }

    /// The overall status.
    pub fn headline(&self) -> OverallStatus {
        OverallStatus::worst_of(self.entries.values().map(|entry| entry.status))
    }

    /// The overall status of the checks for every user.
    pub fn headline_for_analysts(&self) -> OverallStatus {
        let entries = self.entries.values();
        let for_analysts = entries.filter(|entry| entry.audience == CheckAudience::Analyst);
        OverallStatus::worst_of(for_analysts.map(|entry| entry.status))
    }

    /// The body of `GET /api/health/detailed`. Only admins see the details of operators' checks.
    pub fn body(&self, role: Role, build: &BuildInfo) -> HealthBody<'_> {
        let is_admin = role == Role::Admin;
        let services = self.entries.iter().map(|(name, entry)| {
            let is_shown = is_admin || entry.audience == CheckAudience::Analyst;
            (name.as_str(), CheckBody::of(entry, is_shown))
        });
        HealthBody {
            status: self.headline(),
            overall_analyst: self.headline_for_analysts(),
            caller_role: role,
            version: build.version,
            channel: build.channel,
            image_tag: is_admin.then_some(build.image_tag),
            commit_sha: is_admin.then_some(build.commit_sha),
            schema_version: session_pipeline_migrations::CURRENT,
            deployed_at: build.deployed_at.to_string(),
            timestamp: self.at.to_string(),
            services: services.collect(),
        }
    }
}

/// Build information, plus the start time of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The program's version.
    pub version: &'static str,
    /// The release channel.
    pub channel: &'static str,
    /// The container image.
    pub image_tag: &'static str,
    /// The source commit.
    pub commit_sha: &'static str,
    /// When this process started.
    pub deployed_at: UtcMicros,
}

/// The body of `GET /api/health/detailed` and of `status --json`.
#[derive(Clone, Debug, Serialize)]
pub struct HealthBody<'a> {
    /// The overall status.
    pub status: OverallStatus,
    /// The overall status of the checks for every user.
    pub overall_analyst: OverallStatus,
    /// The caller's role.
    pub caller_role: Role,
    /// The program's version.
    pub version: &'a str,
    /// The release channel.
    pub channel: &'a str,
    /// The container image. Admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<&'a str>,
    /// The source commit. Admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<&'a str>,
    /// The schema version that this program requires.
    pub schema_version: u32,
    /// When this process started.
    pub deployed_at: String,
    /// When the facts were collected.
    pub timestamp: String,
    /// The checks, by name.
    pub services: BTreeMap<&'a str, CheckBody<'a>>,
}

/// A check, limited to what the caller's role can see.
#[derive(Clone, Debug, Serialize)]
pub struct CheckBody<'a> {
    /// The result. Absent in the full view of the schema check, whose figures include their own
    /// status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CheckStatus>,
    /// Who needs to know about it.
    pub audience: CheckAudience,
    /// The finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_action: Option<&'a str>,
    /// The measurements.
    #[serde(flatten)]
    pub figures: Option<&'a CheckFigures>,
}

impl<'a> CheckBody<'a> {
    fn of(entry: &'a CheckResult, is_shown: bool) -> Self {
        let has_own_status = is_shown && matches!(entry.figures, CheckFigures::Schema(_));
        Self {
            status: (!has_own_status).then_some(entry.status),
            audience: entry.audience,
            detail: entry.detail.as_deref().filter(|_| is_shown),
            next_action: entry.next_action.as_deref().filter(|_| is_shown),
            figures: is_shown.then_some(&entry.figures),
        }
    }
}

/// Whether the service is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `unhealthy` if the schema version differs or cannot be read.
    pub status: Liveness,
    /// Whether the database answers, and in the version that this program writes.
    pub db_schema: SchemaState,
    /// The version that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The version that it should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Why there are no version numbers, if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The word for a service that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// All is well.
    Ok,
    /// It can't do its work.
    Unhealthy,
}

impl From<&SchemaStatus> for Health {
    fn from(schema: &SchemaStatus) -> Self {
        let figures = schema.figures();
        Self {
            status: match figures.db_schema {
                SchemaState::Ok => Liveness::Ok,
                SchemaState::Mismatch | SchemaState::Unreachable => Liveness::Unhealthy,
            },
            db_schema: figures.db_schema,
            current: figures.current,
            expected: figures.expected,
            detail: schema.detail(),
        }
    }
}

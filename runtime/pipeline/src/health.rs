//! Named checks, put together into one report: what works, what lags, and what to do.
//!
//! `facts` looks at the world and judges nothing; `backlog` and `checks` judge and look at nothing;
//! here the entries come together.
//! A check that can't run is `unknown` and worries nobody (BEHAVIOUR.md 5.1).

mod backlog;
mod checks;
mod facts;
mod memo;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::Role;

use crate::config::LlmConfig;

pub use backlog::{Backlog, BacklogFigures, Files, Grace, Oldest, Pending};
pub use checks::{
    DiskFigures, JobFigures, QuarantineFigures, SchedulerFigures, Schema, SchemaFigures,
    SchemaState, SessionsFigures, UsersFigures,
};
pub use facts::{
    Database, DatabaseFacts, DiskProbe, DiskSpace, Facts, Sessions, Sources, Survey, SystemDisk,
    schema,
};
pub use memo::{SchemaMemo, SurveyMemo};

/// The word for one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = CheckStatus))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth a look; never degrades.
    Info,
    /// The check could not run; never degrades.
    Unknown,
    /// Something lags: degraded.
    Warning,
    /// Something does not work: unhealthy.
    Error,
}

impl Status {
    /// The word for it.
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

/// The word for all checks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Headline {
    /// Nothing stands in the way.
    Healthy,
    /// Something lags.
    Degraded,
    /// Something does not work.
    Unhealthy,
}

impl Headline {
    /// The headline over these checks: the worst of them counts, and only `warning` and `error` are
    /// bad at all (BEHAVIOUR.md 5.1).
    pub fn over(statuses: impl IntoIterator<Item = Status>) -> Self {
        let effects = statuses.into_iter().map(|status| match status {
            Status::Ok | Status::Info | Status::Unknown => Self::Healthy,
            Status::Warning => Self::Degraded,
            Status::Error => Self::Unhealthy,
        });
        effects.max().unwrap_or(Self::Healthy)
    }
}

/// Whom a check concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Everybody.
    Analyst,
    /// Those who run the service.
    Operator,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How it came out.
    pub status: Status,
    /// Whom it concerns.
    pub audience: Audience,
    /// What was found, in a sentence.
    pub detail: Option<String>,
    /// What to do next, where something is to be done.
    pub next_action: Option<String>,
    /// What was measured.
    pub figures: Figures,
}

impl Entry {
    fn new(status: Status, figures: Figures) -> Self {
        Self {
            status,
            audience: Audience::Operator,
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

/// What a check measured.
#[derive(Clone, Debug, PartialEq, Serialize, Eq)]
#[serde(untagged)]
pub enum Figures {
    /// Nothing that is a number.
    None {},
    /// How far a processor is behind.
    Backlog(BacklogFigures),
    /// The version of the database.
    Schema(SchemaFigures),
    /// The sessions on disk.
    Sessions(SessionsFigures),
    /// How many users there are.
    Users(UsersFigures),
    /// How the jobs stand.
    Scheduler(SchedulerFigures),
    /// What failed, by processor.
    Quarantine(QuarantineFigures),
    /// Space for the data dir.
    Disk(DiskFigures),
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// By name.
    pub entries: BTreeMap<String, Entry>,
    /// When they were made.
    pub at: UtcMicros,
}

impl Report {
    /// Judges the facts.
    pub fn of(facts: &Facts) -> Self {
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

    /// With what the configuration of the language model gives up, if it gives up anything.
    #[must_use]
    pub fn with_model(mut self, config: &LlmConfig) -> Self {
        if !config.verify_ssl {
            let entry = Entry::new(Status::Warning, Figures::None {})
                .detail("the language model's certificate is not verified, so anyone on the network path can read keys and sessions")
                .next("set `llm.verify_ssl = true`, and add the server's certificate to those that the system trusts");
            self.entries.insert("language_model".to_owned(), entry);
        }
        self
    }

    /// The headline over all checks.
    pub fn headline(&self) -> Headline {
        Headline::over(self.entries.values().map(|entry| entry.status))
    }

    /// The headline over the checks that concern everybody.
    pub fn headline_for_analysts(&self) -> Headline {
        let entries = self.entries.values();
        let theirs = entries.filter(|entry| entry.audience == Audience::Analyst);
        Headline::over(theirs.map(|entry| entry.status))
    }

    /// The body of `/api/health/detailed` (BEHAVIOUR.md 5.3): operators' detail only for admins.
    pub fn body(&self, role: Role, build: &Build) -> Body<'_> {
        let is_admin = role == Role::Admin;
        let services = self.entries.iter().map(|(name, entry)| {
            let is_shown = is_admin || entry.audience == Audience::Analyst;
            (name.as_str(), Service::of(entry, is_shown))
        });
        Body {
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

/// What the program says of itself; known when it was built, save the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// The channel that it was released on.
    pub channel: &'static str,
    /// The image that it was packed in.
    pub image_tag: &'static str,
    /// The commit that it was built from.
    pub commit_sha: &'static str,
    /// When this process started.
    pub deployed_at: UtcMicros,
}

/// The body of `/api/health/detailed`, and of `status --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Body<'a> {
    /// The headline over all checks.
    pub status: Headline,
    /// The headline over those that concern everybody.
    pub overall_analyst: Headline,
    /// Who asks.
    pub caller_role: Role,
    /// The program's version.
    pub version: &'a str,
    /// The channel that it was released on.
    pub channel: &'a str,
    /// The image that it was packed in; admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<&'a str>,
    /// The commit that it was built from; admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<&'a str>,
    /// The version of the database that this program makes.
    pub schema_version: u32,
    /// When this process started.
    pub deployed_at: String,
    /// When the checks were made.
    pub timestamp: String,
    /// The checks, by name.
    pub services: BTreeMap<&'a str, Service<'a>>,
}

/// A check as a caller may see it.
#[derive(Clone, Debug, Serialize)]
pub struct Service<'a> {
    /// How it came out. Where it is shown in full, the schema's check says so by its own word alone
    /// (BEHAVIOUR.md 5.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whom it concerns.
    pub audience: Audience,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_action: Option<&'a str>,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Option<&'a Figures>,
}

impl<'a> Service<'a> {
    fn of(entry: &'a Entry, is_shown: bool) -> Self {
        let has_own_word = is_shown && matches!(entry.figures, Figures::Schema(_));
        Self {
            status: (!has_own_word).then_some(entry.status),
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
    /// `ok` only if the database is.
    pub status: Liveness,
    /// Whether the database answers, and in the version that this program writes.
    pub db_schema: SchemaState,
    /// The version that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The version that it should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// Why there are no versions to show.
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

impl From<&Schema> for Health {
    fn from(schema: &Schema) -> Self {
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

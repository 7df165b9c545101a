//! What a row of a report stands for, as a query parameter and as an argument of the command line.

use clap::ValueEnum;
use serde::Deserialize;
use session_pipeline_pipeline::report::{ReportGrouping, ToolGrouping, WasteGrouping};
use utoipa::ToSchema;

/// The grouping of a report on usage.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GroupingParam {
    /// Days
    #[default]
    Day,
    /// Weeks, by their Mondays
    Week,
    /// Months
    Month,
    /// Hours of the week
    Hour,
    /// Sessions, without messages copied from other sessions
    Session,
    /// Users
    User,
    /// Models
    Model,
    /// Tools, with calls and errors, each call counted once
    Tool,
    /// Projects: repositories including their worktrees, or folders, by their path
    Project,
    /// Projects by the last part of their path, with the clones of a repository together
    ProjectName,
    /// Git branches
    Branch,
    /// Pull requests; a message belongs to the one that its session linked next
    PullRequest,
    /// Main conversation, sub-agents, and auxiliary requests of the agent
    Source,
    /// Types of sub-agents
    AgentType,
    /// Skills
    Skill,
    /// Plugins
    Plugin,
    /// MCP servers
    McpServer,
    /// Efforts
    Effort,
    /// Entry points: command line, SDK, desktop and others
    Entrypoint,
    /// Coding agents, such as `claude` and `codex`
    Agent,
    /// Providers of models, as the agent recorded them
    Provider,
}

impl GroupingParam {
    /// Whether its rows have no names of people or of their work.
    pub fn is_anonymous(self) -> bool {
        matches!(
            self,
            Self::Day
                | Self::Week
                | Self::Month
                | Self::Hour
                | Self::Model
                | Self::Source
                | Self::Effort
                | Self::Agent
        )
    }

    /// The grouping of messages. `None`: the report is about calls.
    pub fn of_messages(self) -> Option<ReportGrouping> {
        Some(match self {
            Self::Day => ReportGrouping::Day,
            Self::Week => ReportGrouping::Week,
            Self::Month => ReportGrouping::Month,
            Self::Hour => ReportGrouping::Hour,
            Self::Session => ReportGrouping::Session,
            Self::User => ReportGrouping::User,
            Self::Model => ReportGrouping::Model,
            Self::Project => ReportGrouping::Project,
            Self::ProjectName => ReportGrouping::ProjectName,
            Self::Branch => ReportGrouping::Branch,
            Self::PullRequest => ReportGrouping::PullRequest,
            Self::Source => ReportGrouping::Source,
            Self::AgentType => ReportGrouping::AgentType,
            Self::Skill => ReportGrouping::Skill,
            Self::Plugin => ReportGrouping::Plugin,
            Self::McpServer => ReportGrouping::McpServer,
            Self::Effort => ReportGrouping::Effort,
            Self::Entrypoint => ReportGrouping::Entrypoint,
            Self::Agent => ReportGrouping::Agent,
            Self::Provider => ReportGrouping::Provider,
            Self::Tool => return None,
        })
    }
}

/// A coding agent: the program that wrote a session.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AgentParam {
    /// Claude Code
    Claude,
    /// Codex CLI
    Codex,
    /// GitHub Copilot CLI
    Copilot,
    /// Gemini CLI
    Gemini,
    /// Kimi CLI
    Kimi,
    /// pi and Oh My Pi
    Pi,
    /// Qwen Code
    Qwen,
    /// Another program
    Unknown,
}

impl AgentParam {
    /// The name in the tables of `usage`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Gemini => "gemini",
            Self::Kimi => "kimi",
            Self::Pi => "pi",
            Self::Qwen => "qwen",
            Self::Unknown => "unknown",
        }
    }
}

/// The grouping of a report on calls.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ToolGroupingParam {
    /// Tools
    #[default]
    Tool,
    /// MCP servers, without other tools
    McpServer,
}

impl From<ToolGroupingParam> for ToolGrouping {
    fn from(by: ToolGroupingParam) -> Self {
        match by {
            ToolGroupingParam::Tool => Self::Tool,
            ToolGroupingParam::McpServer => Self::McpServer,
        }
    }
}

/// The grouping of a report on waste, in addition to the kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WasteGroupingParam {
    /// Nothing else
    #[default]
    Kind,
    /// Sessions
    Session,
    /// Users
    User,
    /// Projects: repositories including their worktrees, or folders, by their path
    Project,
    /// Projects by the last part of their path, with the clones of a repository together
    ProjectName,
}

impl From<WasteGroupingParam> for WasteGrouping {
    fn from(by: WasteGroupingParam) -> Self {
        match by {
            WasteGroupingParam::Kind => Self::Kind,
            WasteGroupingParam::Session => Self::Session,
            WasteGroupingParam::User => Self::User,
            WasteGroupingParam::Project => Self::Project,
            WasteGroupingParam::ProjectName => Self::ProjectName,
        }
    }
}

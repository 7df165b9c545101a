//! What happened in a session, as one stream of items for all coding agents.
//!
//! Each agent writes its own format. A reader per agent converts its lines to [`Item`]s, so that a
//! processor does not depend on any format. [`Session::activity`](crate::Session::activity)
//! detects the agent and selects the reader.
//!
//! ```
//! use session_pipeline_processor::activity::Item;
//! use session_pipeline_processor::native::MemoryHost;
//! use session_pipeline_processor::{Session, SessionInfo};
//!
//! let lines = concat!(
//!     r#"{"timestamp":"2026-05-01T09:00:00Z","type":"session_meta","payload":{"id":"a1"}}"#,
//!     "\n",
//!     r#"{"timestamp":"2026-05-01T09:00:01Z","type":"event_msg","payload":{"type":"user_message","message":"fix it"}}"#,
//! );
//! let host = MemoryHost::new(lines.as_bytes());
//! let info = SessionInfo::new("ada/1.jsonl");
//! let mut prompts = Vec::new();
//! Session::new(&host, &info).activity().for_each(|origin, item| {
//!     if let Item::Prompt(prompt) = item {
//!         prompts.push((origin.agent.name(), origin.line, prompt.text.to_string()));
//!     }
//! });
//! assert_eq!(prompts, [("codex", 2, "fix it".to_owned())]);
//! ```
//!
//! # Copies
//!
//! Forks, resumed sessions, branches and backups repeat the history of another file, mostly with
//! new times. Therefore, each [`Request`] and each [`Call`] has an identity that consists only of
//! data that copies preserve. Two items of any two files with the same identity are one request or
//! call. A longer version of a file contains all identities of a shorter one.
//!
//! # What is absent
//!
//! Not every agent records everything. An absent value is `None`, and tokens that were spent but
//! not recorded are an [`Item::Unrecorded`]. No reader fails: damage affects only its value, and is
//! counted in the [`Tally`].

mod claude;
mod codex;
mod copilot;
mod counts;
mod document;
mod driver;
mod gemini;
mod kimi;
mod pi;
mod qwen;
mod values;

pub use driver::Activity;

use crate::Timestamp;
pub use crate::agent::CodingAgent;
use crate::json::{Json, Text};
pub use crate::transcript::{Tally, Tokens};

/// One thing that happened, or a fact about the session.
///
/// New kinds of items can be added, so a `match` needs a wildcard arm.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Item<'a> {
    /// Facts about the session. Occurs whenever the file states some. For each fact, the last
    /// value that is present counts.
    Session(SessionFacts<'a>),
    /// A text that a person sent.
    Prompt(Prompt<'a>),
    /// A slash command that a person sent, without its slash.
    Command(Text<'a>),
    /// A text by the model for the user.
    Answer(Text<'a>),
    /// A request to a model, with its tokens. Follows the calls that the model made in its answer,
    /// or precedes them, depending on the agent. Follows at the end of the session if the agent
    /// records some of its tokens there.
    Request(Request<'a>),
    /// What the agent itself counted and charged for requests. Adds to earlier ones of the session.
    Reported(ReportedUsage<'a>),
    /// A call of a tool, a skill, a sub-agent or an MCP server.
    Call(Call<'a>),
    /// The result of a call. A call can have several results, of which any can report a failure.
    Result(CallResult<'a>),
    /// The agent replaced the conversation by a summary.
    Compaction,
    /// Tokens were spent that the file does not contain, so that its sums are a lower bound.
    Unrecorded(Unrecorded),
    /// The reader does not know this kind of line. Its name shows what a new version of the agent
    /// writes.
    Unknown(Text<'a>),
    /// A line with nothing of the above. Its time still shows that the session was active.
    Other,
}

/// Where an item comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The 1-based number of the line in the file.
    pub line: u64,
    /// The agent that wrote the file.
    pub agent: CodingAgent,
    /// The time of the line, if it has a valid one.
    pub time: Option<Timestamp>,
    /// The id of the session. A sub-agent has the id of the session that started it.
    pub session_id: Option<Text<'a>>,
    /// Whether the item belongs to a sub-agent, and not to the conversation with the user.
    pub is_sidechain: bool,
    /// The id of the sub-agent.
    pub agent_id: Option<Text<'a>>,
    /// The type of the sub-agent.
    pub agent_type: Option<Text<'a>>,
    /// The working directory of the agent.
    pub cwd: Option<Text<'a>>,
    /// The Git branch.
    pub git_branch: Option<Text<'a>>,
    /// The version of the agent.
    pub agent_version: Option<Text<'a>>,
    /// Whether the item belongs to the history of another session, which this file repeats.
    pub is_replayed: bool,
}

/// Facts about a session. Each can be absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionFacts<'a> {
    /// The title, by the user or the agent.
    pub title: Option<Text<'a>>,
    /// The session that this one continues or was forked from.
    pub parent_session: Option<Text<'a>>,
    /// The program that ran the agent, for example `cli` or `vscode`.
    pub entrypoint: Option<Text<'a>>,
    /// Whether a program, and not a person, ran the session.
    pub is_automated: Option<bool>,
    /// The subscription plan of the user. Its requests are not billed by the token.
    pub plan: Option<Text<'a>>,
}

/// A text that a person sent.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// What the person typed, without what the agent or an editor added.
    pub text: &'a str,
}

/// A request to a model.
///
/// If a file has several requests with the same identity, they are one, and the one with the most
/// tokens counts: an agent can write a response while it grows.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The id of the response, or a hash of the data that copies preserve.
    pub message_id: &'a str,
    /// The turn, thread or session that the request belongs to. Together with `message_id`, it
    /// identifies the request across all files of all agents.
    pub request_id: &'a str,
    /// The model.
    pub model: Option<Text<'a>>,
    /// The provider of the model, for example `openai`. It shows resellers and subscriptions.
    pub provider: Option<Text<'a>>,
    /// The speed, for example `fast`.
    pub speed: Option<Text<'a>>,
    /// The effort level.
    pub effort: Option<Text<'a>>,
    /// Why the model stopped.
    pub stop_reason: Option<Text<'a>>,
    /// The tokens. `input` excludes tokens of the cache, and `output` includes thinking.
    pub tokens: Tokens,
    /// The number of requests: 1, or 0 if this only completes the tokens of other requests, which
    /// then cannot be attributed to any of them.
    pub count: u64,
    /// Whether all tokens of the request are known. Otherwise, they are a lower bound.
    pub is_final: bool,
}

/// What the agent itself counted and charged for requests, to compare it with other figures.
#[derive(Clone, Copy, Debug)]
pub struct ReportedUsage<'a> {
    /// The model.
    pub model: Option<Text<'a>>,
    /// The tokens.
    pub tokens: Tokens,
    /// The cost in US dollars, by the agent's prices. `None` if the agent has no price. Finite and
    /// not negative.
    pub cost_usd: Option<f64>,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The id that results refer to, unique across sessions.
    pub id: Option<&'a str>,
    /// The name of the tool.
    pub name: Option<Text<'a>>,
    /// What is called.
    pub target: CallTarget<'a>,
    /// The input of the tool, as JSON.
    pub input: Option<Json<'a>>,
    /// The model that made the call.
    pub model: Option<Text<'a>>,
}

/// What a call calls.
#[derive(Clone, Copy, Debug)]
pub enum CallTarget<'a> {
    /// A tool of the agent.
    Tool,
    /// A skill with this name.
    Skill(Option<Text<'a>>),
    /// A sub-agent of this type.
    SubAgent(Option<Text<'a>>),
    /// A tool of the MCP server with this name.
    Mcp(Option<Text<'a>>),
}

/// The result of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallResult<'a> {
    /// The id of the call.
    pub call_id: Option<&'a str>,
    /// How the call failed, if it did.
    pub failure: Option<CallFailure>,
    /// The result for the model, or its first part, if it is a text.
    pub text: Option<Text<'a>>,
    /// The duration of the call in milliseconds, if the agent measured it.
    pub duration_ms: Option<i64>,
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailure {
    /// The tool reports an error.
    ToolError,
    /// A command exited with an error code.
    ExitCode,
    /// A person, or a reviewer in place of a person, rejected or interrupted the call.
    Rejected,
}

/// Why tokens are not recorded.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unrecorded {
    /// A turn was aborted, and the agent does not record the tokens of the request in progress.
    AbortedTurn,
    /// The agent does not record the request that summarized the conversation.
    Compaction,
    /// The agent records all tokens when the session ends, and it did not end.
    OpenSession,
}

impl Unrecorded {
    /// The name in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AbortedTurn => "aborted_turn",
            Self::Compaction => "compaction",
            Self::OpenSession => "open_session",
        }
    }
}

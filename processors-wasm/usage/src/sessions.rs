//! The table `usage.sessions`: one row about the whole file.

mod items;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::{JsonText, Text};
use session_pipeline_processor::transcript::{Entry, Kind, Tally};
use session_pipeline_processor::{Timestamp, rows};

use crate::activity::Activity;
use crate::api_errors::ApiErrors;
use crate::prompts::Prompts;
use crate::sessions::items::ItemFacts;
use crate::strings::{Span, Strings, hash};
use crate::titles::Titles;
use crate::turns::Turns;
use crate::{Gathered, Owner, VERSION};

rows! {
    /// The totals of one file.
    pub struct SessionRow<'a> in "sessions" {
        /// The first `sessionId` of the file, or the session key.
        session_id: &'a str,
        /// The user of the session.
        username: &'a str,
        /// The earliest timestamp of any line.
        started_at: Option<Timestamp>,
        /// The latest timestamp of any line.
        ended_at: Option<Timestamp>,
        /// Working time: all time except for silences longer than ten minutes.
        active_seconds: i64,
        /// The time from the earliest to the latest timestamp.
        wall_seconds: i64,
        /// Prompts that a person typed, including prompts queued while the agent was working.
        prompts: u64,
        /// User lines without tool results.
        user_messages: u64,
        /// User lines with tool results.
        tool_results: u64,
        /// Assistant lines.
        assistant_messages: u64,
        /// API messages: the rows of this file in `usage.messages`, without compactions.
        messages: u64,
        /// Events of type `tool_use`.
        tool_calls: u64,
        /// Failed events of any type.
        tool_errors: u64,
        /// Events with a skill.
        skill_invocations: u64,
        /// Events of type `subagent`.
        subagent_dispatches: u64,
        /// Events of type `mcp_call`.
        mcp_calls: u64,
        /// Events of type `slash_command`.
        slash_commands: u64,
        /// Distinct tools.
        distinct_tools: u64,
        /// Distinct skills.
        distinct_skills: u64,
        /// The model with the most messages in the conversation. If several are equal, the first.
        primary_model: Option<&'a str>,
        /// Sum over the messages.
        input_tokens: i64,
        /// Sum over the messages.
        output_tokens: i64,
        /// Sum over the messages.
        cache_read_tokens: i64,
        /// Sum over the messages, for both lifetimes of cache writes.
        cache_creation_tokens: i64,
        /// Cache writes for five minutes.
        cache_creation_5m_tokens: i64,
        /// Cache writes for one hour.
        cache_creation_1h_tokens: i64,
        /// Whether the final usage of a message is missing.
        output_is_lower_bound: bool,
        /// Lines that are not blank, including the lines in the next counts.
        lines: u64,
        /// Lines with content that could not be read.
        bad_lines: u64,
        /// Entries with a missing or unknown type.
        unknown_types: u64,
        /// Lines above the host's line limit.
        passed_over_lines: u64,
        /// Whether the last line is incomplete.
        torn_tail: bool,
        /// Whether the whole file belongs to a sub-agent.
        is_sidechain: bool,
        /// The first version of the agent in the file.
        agent_version: Option<&'a str>,
        /// The first working directory of the agent.
        cwd: Option<&'a str>,
        /// The first Git branch.
        git_branch: Option<&'a str>,
        /// The version of this processor.
        processor_version: u32,
        /// The title by the user, by the agent, or the first line of the first prompt.
        title: Option<&'a str>,
        /// The directory in which the session began. A worktree belongs to its repository.
        project: Option<&'a str>,
        /// The session that this one continues, if the transcript names it.
        parent_session: Option<&'a str>,
        /// The session that continues this one.
        continued_in: Option<&'a str>,
        /// The first `uuid` of the file. Forks of a session begin with the same one.
        first_uuid: Option<&'a str>,
        /// The program that ran the agent first, for example `cli` or `sdk-cli`.
        entrypoint: Option<&'a str>,
        /// Whether programs began all turns.
        is_automated: bool,
        /// The distinct pull requests that the session was linked to, in order.
        pull_requests: Option<JsonText>,
        /// Lines that tools added, by the patches in their results. Without patches, by the agent's
        /// own count.
        lines_added: i64,
        /// Lines that tools removed.
        lines_removed: i64,
        /// Compactions of the conversation, by the agent or the API.
        compactions: u64,
        /// Requests to the API that failed, including attempts that the agent repeated.
        api_errors: u64,
        /// The failed requests by class: `authentication`, `context_too_long`, `other`,
        /// `overloaded`, `rate_limit`, `server_error`.
        api_errors_by_class: Option<JsonText>,
        /// Prompts that were queued while the agent was working.
        queued_prompts: u64,
        /// The agent that wrote the file, for example `claude` or `codex`. `unknown` for a file
        /// that is not a session of a supported agent.
        agent: Option<&'static str>,
        /// The subscription plan, if the agent names it. Its requests are not billed by the token.
        plan: Option<&'a str>,
        /// The number of times that tokens were spent which the agent did not record. The sums of
        /// tokens are then a lower bound.
        unrecorded_requests: Option<u64>,
        /// The reasons with their numbers: a JSON object with `aborted_turn`, `compaction` and
        /// `open_session`.
        unrecorded_usage: Option<JsonText>,
    }
}

/// Counts that are updated per entry.
#[derive(Default, Serialize, Deserialize)]
pub struct Counts {
    /// The first `sessionId`.
    pub session_id: Option<Span>,
    agent_version: Option<Span>,
    /// The first `cwd`: the directory in which the session began.
    pub cwd: Option<Span>,
    git_branch: Option<Span>,
    first_uuid: Option<Span>,
    entrypoint: Option<Span>,
    activity: Activity,
    prompts: Prompts,
    /// Who began the turns.
    pub turns: Turns,
    titles: Titles,
    api_errors: ApiErrors,
    /// Compactions by the agent, by the hash of `uuid`.
    compactions: BTreeSet<u64>,
    user_messages: u64,
    tool_results: u64,
    assistant_messages: u64,
    /// User and assistant lines of the conversation itself.
    main_messages: u64,
    /// What the items of agents other than Claude Code say about the session.
    facts: ItemFacts,
}

impl Counts {
    /// Processes an entry. Returns whether it is a prompt that a person typed.
    pub fn add(&mut self, strings: &mut Strings, entry: &Entry<'_>) -> bool {
        let mut first = |known: &mut Option<Span>, text: Option<Text<'_>>| {
            if known.is_none() {
                *known = strings.intern_text(text);
            }
        };
        first(&mut self.session_id, entry.session_id);
        first(&mut self.agent_version, entry.version);
        first(&mut self.cwd, entry.cwd);
        first(&mut self.git_branch, entry.git_branch);
        first(&mut self.first_uuid, entry.uuid);
        first(&mut self.entrypoint, entry.entrypoint);
        if let Some(time) = entry.timestamp {
            self.activity.add(time);
        }
        let is_prompt = self.prompts.add(entry);
        self.turns.add(entry, is_prompt);
        self.titles.add(strings, entry, is_prompt);
        self.api_errors.add(entry);
        match entry.kind {
            Kind::System => {
                if entry.subtype.is_some_and(|kind| kind == "compact_boundary") {
                    let uuid = entry.uuid.map(|uuid| uuid.decode());
                    self.compactions.insert(hash(&(uuid, entry.timestamp)));
                }
                return is_prompt;
            }
            Kind::Assistant => self.assistant_messages += 1,
            Kind::User if entry.says().tool_results().next().is_some() => self.tool_results += 1,
            Kind::User => self.user_messages += 1,
            _ => return is_prompt,
        }
        self.main_messages += u64::from(!entry.is_sidechain);
        is_prompt
    }

    /// The latest timestamp of any line.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.activity.last()
    }

    /// Creates the row from these counts and the other collected data.
    pub fn row<'a>(
        &self,
        owner: &'a Owner<'a>,
        gathered: &'a Gathered,
        tally: Tally,
    ) -> SessionRow<'a> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let totals = gathered.messages.totals();
        let events = gathered.events.counts();
        let metadata = &gathered.metadata;
        let patches = gathered.calls.lines;
        let patched = (patches.added, patches.removed);
        let reported = metadata
            .agent_totals
            .lines()
            .filter(|_| patches.patches == 0);
        let (lines_added, lines_removed) = reported.unwrap_or(patched);
        let compactions = self.compactions.len() + gathered.messages.compactions();
        let compactions = self.facts.compactions + compactions as u64;
        let spoken = self.assistant_messages + self.user_messages + self.tool_results;
        SessionRow {
            session_id: owner.session_id,
            username: owner.username,
            started_at: self.activity.first(),
            ended_at: self.activity.last(),
            active_seconds: self.activity.seconds(),
            wall_seconds: self.activity.wall_seconds(),
            title: string(self.facts.title.or(self.titles.title())),
            project: owner.project.as_deref(),
            parent_session: string(metadata.parent_session.or(self.facts.parent_session)),
            continued_in: string(metadata.continued_in),
            first_uuid: string(self.first_uuid),
            entrypoint: string(self.entrypoint.or(self.facts.entrypoint)),
            is_automated: self.turns.is_session_automated() || self.facts.is_automated,
            pull_requests: metadata.pull_requests.list(owner.strings),
            lines_added,
            lines_removed,
            compactions,
            api_errors: self.api_errors.count(),
            api_errors_by_class: self.api_errors.by_class(),
            prompts: self.prompts.count() + self.facts.prompts,
            queued_prompts: self.prompts.queued_count(),
            user_messages: self.user_messages,
            tool_results: self.tool_results,
            assistant_messages: self.assistant_messages,
            messages: totals.messages,
            tool_calls: events.tool_calls,
            tool_errors: events.tool_errors,
            skill_invocations: events.skill_invocations,
            subagent_dispatches: events.subagent_dispatches,
            mcp_calls: events.mcp_calls,
            slash_commands: events.slash_commands,
            distinct_tools: events.distinct_tools,
            distinct_skills: events.distinct_skills,
            primary_model: primary_model(owner.strings, gathered.messages.models()),
            input_tokens: totals.input,
            output_tokens: totals.output,
            cache_read_tokens: totals.cache_read,
            cache_creation_tokens: totals
                .cache_creation_5m
                .saturating_add(totals.cache_creation_1h),
            cache_creation_5m_tokens: totals.cache_creation_5m,
            cache_creation_1h_tokens: totals.cache_creation_1h,
            output_is_lower_bound: totals.output_is_lower_bound
                || self.facts.unrecorded_requests() > 0,
            lines: tally.lines,
            bad_lines: tally.bad_lines,
            unknown_types: tally.unknown_types,
            passed_over_lines: tally.passed_over_lines,
            torn_tail: tally.torn_tail,
            is_sidechain: self.main_messages == 0 && (spoken > 0 || self.facts.sidechain_items > 0),
            agent_version: string(self.agent_version),
            cwd: string(self.cwd),
            git_branch: string(self.git_branch),
            processor_version: VERSION,
            agent: Some(owner.agent.name()),
            plan: string(self.facts.plan),
            unrecorded_requests: Some(self.facts.unrecorded_requests()),
            unrecorded_usage: self.facts.unrecorded_usage(),
        }
    }
}

/// The model with the most messages. If several are equal, the first. Messages that the agent wrote
/// instead of a model have no model.
fn primary_model(strings: &Strings, models: impl Iterator<Item = Span>) -> Option<&str> {
    let mut counts = BTreeMap::<Span, u64>::new();
    for model in models {
        *counts.entry(model).or_default() += 1;
    }
    // Spans increase in order of first appearance. Iterate in reverse, because `max_by_key` returns
    // the last of equal maxima.
    let models = counts.into_iter().rev();
    models
        .map(|(model, count)| (strings.get(model), count))
        .filter(|(model, _)| *model != "<synthetic>")
        .max_by_key(|(_, count)| *count)
        .map(|(model, _)| model)
}

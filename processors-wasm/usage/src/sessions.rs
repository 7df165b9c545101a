//! One row about the whole file: the table `usage.sessions`.

use std::collections::BTreeMap;

use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Entry, Kind, Tally};
use session_pipeline_processor::{Timestamp, rows};

use crate::activity::Activity;
use crate::prompts::Prompts;
use crate::strings::{Span, Strings};
use crate::{Gathered, Owner, VERSION};

rows! {
    /// What one file holds.
    pub struct SessionRow<'a> in "sessions" {
        /// The first `sessionId` of the file, else the session key.
        session_id: &'a str,
        /// Whose session it is.
        username: &'a str,
        /// The earliest time of any line.
        started_at: Option<Timestamp>,
        /// The latest.
        ended_at: Option<Timestamp>,
        /// Time at work: all but silences above ten minutes.
        active_seconds: i64,
        /// From the earliest time to the latest.
        wall_seconds: i64,
        /// What a person typed, prompts queued while the agent worked included.
        prompts: u64,
        /// User lines without results of tools.
        user_messages: u64,
        /// User lines with them.
        tool_results: u64,
        /// Assistant lines.
        assistant_messages: u64,
        /// API messages: the rows of this file in `usage.messages`, compactions aside.
        messages: u64,
        /// Events `tool_use`.
        tool_calls: u64,
        /// Events of any type that failed.
        tool_errors: u64,
        /// Events with a skill.
        skill_invocations: u64,
        /// Events `subagent`.
        subagent_dispatches: u64,
        /// Events `mcp_call`.
        mcp_calls: u64,
        /// Events `slash_command`.
        slash_commands: u64,
        /// Different tools.
        distinct_tools: u64,
        /// Different skills.
        distinct_skills: u64,
        /// The model with most messages of the conversation; of equals, the first.
        primary_model: Option<&'a str>,
        /// Sums over the messages.
        input_tokens: i64,
        /// As above.
        output_tokens: i64,
        /// As above.
        cache_read_tokens: i64,
        /// Both kinds of cache writes.
        cache_creation_tokens: i64,
        /// Those for five minutes.
        cache_creation_5m_tokens: i64,
        /// Those for an hour.
        cache_creation_1h_tokens: i64,
        /// Whether a message never got its final usage.
        output_is_lower_bound: bool,
        /// Lines that are not blank; those of the next counts included.
        lines: u64,
        /// Lines with something on them that could not be read.
        bad_lines: u64,
        /// Entries whose type is absent or not known.
        unknown_types: u64,
        /// Lines above the host's limit.
        passed_over_lines: u64,
        /// Whether the last line is half written.
        torn_tail: bool,
        /// Whether the whole file is a sub-agent's.
        is_sidechain: bool,
        /// The first version of the agent that the file names.
        agent_version: Option<&'a str>,
        /// Where the agent worked first.
        cwd: Option<&'a str>,
        /// The first branch.
        git_branch: Option<&'a str>,
        /// The version of this processor.
        processor_version: u32,
    }
}

/// What is counted entry by entry.
#[derive(Default)]
pub struct Counts {
    /// The first `sessionId`.
    pub session_id: Option<Span>,
    agent_version: Option<Span>,
    /// The first `cwd`: where the session began.
    pub cwd: Option<Span>,
    git_branch: Option<Span>,
    activity: Activity,
    prompts: Prompts,
    user_messages: u64,
    tool_results: u64,
    assistant_messages: u64,
    /// User and assistant lines of the conversation itself.
    main_messages: u64,
}

impl Counts {
    /// Takes in an entry; returns whether it is a prompt that a person typed.
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
        if let Some(time) = entry.timestamp {
            self.activity.add(time);
        }
        let is_prompt = self.prompts.add(entry);
        match entry.kind {
            Kind::Assistant => self.assistant_messages += 1,
            Kind::User if entry.says().tool_results().next().is_some() => self.tool_results += 1,
            Kind::User => self.user_messages += 1,
            _ => return is_prompt,
        }
        self.main_messages += u64::from(!entry.is_sidechain);
        is_prompt
    }

    /// The latest time of any line.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.activity.last()
    }

    /// The row, out of these counts and all else that was gathered.
    pub fn row<'a>(
        &self,
        owner: &Owner<'a>,
        gathered: &'a Gathered,
        tally: Tally,
    ) -> SessionRow<'a> {
        let string = |span: Option<Span>| span.map(|span| owner.strings.get(span));
        let totals = gathered.messages.totals();
        let events = gathered.events.counts();
        let spoken = self.assistant_messages + self.user_messages + self.tool_results;
        SessionRow {
            session_id: owner.session_id,
            username: owner.username,
            started_at: self.activity.first(),
            ended_at: self.activity.last(),
            active_seconds: self.activity.seconds(),
            wall_seconds: self.activity.wall_seconds(),
            prompts: self.prompts.count(),
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
            output_is_lower_bound: totals.output_is_lower_bound,
            lines: tally.lines,
            bad_lines: tally.bad_lines,
            unknown_types: tally.unknown_types,
            passed_over_lines: tally.passed_over_lines,
            torn_tail: tally.torn_tail,
            is_sidechain: spoken > 0 && self.main_messages == 0,
            agent_version: string(self.agent_version),
            cwd: string(self.cwd),
            git_branch: string(self.git_branch),
            processor_version: VERSION,
        }
    }
}

/// The model with most messages; of equals, the first. What the agent itself wrote in a model's
/// stead has no model.
fn primary_model(strings: &Strings, models: impl Iterator<Item = Span>) -> Option<&str> {
    let mut counts = BTreeMap::<Span, u64>::new();
    for model in models {
        *counts.entry(model).or_default() += 1;
    }
    // Spans rise in the order of first appearance, and the last of equal maxima is taken.
    let models = counts.into_iter().rev();
    models
        .map(|(model, count)| (strings.get(model), count))
        .filter(|(model, _)| *model != "<synthetic>")
        .max_by_key(|(_, count)| *count)
        .map(|(model, _)| model)
}

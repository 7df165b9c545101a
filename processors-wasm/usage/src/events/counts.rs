//! The numbers of events of a file.

use crate::events::subject::Subject;
use crate::events::{Events, Record};
use crate::strings::Span;

/// Counts of events by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Tool calls, without sub-agents and MCP servers.
    pub tool_calls: u64,
    /// Failed calls of any type.
    pub tool_errors: u64,
    /// Skill calls, which are also tool calls.
    pub skill_invocations: u64,
    /// Sub-agent calls.
    pub subagent_dispatches: u64,
    /// Calls of MCP tools.
    pub mcp_calls: u64,
    /// Slash commands.
    pub slash_commands: u64,
    /// Distinct tools of any type.
    pub distinct_tools: u64,
    /// Distinct skills.
    pub distinct_skills: u64,
}

impl Events {
    /// The counts by type.
    pub fn counts(&self) -> EventCounts {
        let mut counts = EventCounts::default();
        let (mut tools, mut skills) = (Vec::new(), Vec::new());
        for record in &self.records {
            tools.extend(record.tool_name);
            match record.subject {
                Subject::Tool => counts.tool_calls += 1,
                Subject::Skill(skill) => {
                    counts.tool_calls += 1;
                    counts.skill_invocations += u64::from(skill.is_some());
                    skills.extend(skill);
                }
                Subject::Subagent(_) => counts.subagent_dispatches += 1,
                Subject::Mcp(_) => counts.mcp_calls += 1,
                Subject::Command(_) => counts.slash_commands += 1,
            }
        }
        counts.tool_errors = self.records.iter().filter_map(Record::failure).count() as u64;
        counts.distinct_tools = count_distinct(tools);
        counts.distinct_skills = count_distinct(skills);
        counts
    }
}

fn count_distinct(mut names: Vec<Span>) -> u64 {
    // Names are interned, so equal spans are equal names.
    names.sort_unstable();
    names.dedup();
    names.len() as u64
}

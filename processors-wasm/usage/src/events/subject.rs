//! The subjects of tool calls and commands.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::transcript::ToolUse;

use crate::strings::{Span, Strings};

/// The subject of an event.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Subject {
    Tool,
    Skill(Option<Span>),
    Subagent(Span),
    Mcp(Option<Span>),
    Command(Span),
}

/// The subject of a tool call, and its plugin.
pub(super) fn subject_of(
    strings: &mut Strings,
    tool: &str,
    tool_use: &ToolUse<'_>,
) -> (Subject, Option<Span>) {
    if tool == "Skill" {
        // Older versions use another name for this field.
        let fields = ["skill", "name", "command"];
        let skill = fields.iter().find_map(|field| tool_use.input_text(field));
        let plugin = skill.as_deref().and_then(|skill| plugin_of(strings, skill));
        let skill = skill.map(|skill| strings.intern(&skill));
        return (Subject::Skill(skill), plugin);
    }
    if tool == "Task" || tool == "Agent" {
        let kind = tool_use.input_text("subagent_type");
        let kind = kind.as_deref().unwrap_or(tool);
        let plugin = plugin_of(strings, kind);
        return (Subject::Subagent(strings.intern(kind)), plugin);
    }
    if let Some(name) = tool.strip_prefix("mcp__") {
        let server = name.split_once("__").map_or(name, |(server, _)| server);
        let server = (!server.is_empty()).then(|| strings.intern(server));
        return (Subject::Mcp(server), None);
    }
    (Subject::Tool, None)
}

/// The plugin in an identifier `plugin:local`.
pub(super) fn plugin_of(strings: &mut Strings, identifier: &str) -> Option<Span> {
    let (plugin, local) = identifier.split_once(':')?;
    (!plugin.is_empty() && !local.is_empty()).then(|| strings.intern(plugin))
}

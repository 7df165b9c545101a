//! The causes of a message: who asked for it, and in what environment.
//!
//! Most messages of a session have the same causes, so a message stores the number of its causes.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Entry, Usage};

use crate::index;
use crate::strings::{Span, Strings, hash};

/// Labels of the agents that the agent starts for its own work. Their ids are `a<label>-<digits>`,
/// while an agent that the model starts has an id without a label.
const HELPERS: &[&str] = &[
    "agent_summary",
    "auto_dream",
    "away_summary",
    "compact",
    "extract_memories",
    "magic_docs",
    "prompt_suggestion",
    "session_memory",
    "side_question",
    "speculation",
];

/// The part of a session that a message belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The conversation with the user.
    #[default]
    Main,
    /// A sub-agent.
    Subagent,
    /// A request besides both, such as an advisor, a compaction or a side question.
    Auxiliary,
}

impl Source {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Subagent => "subagent",
            Self::Auxiliary => "auxiliary",
        }
    }
}

/// The causes of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Causes {
    /// The part of the session.
    pub source: Source,
    /// Whether a program, and not a person, began the turn.
    pub is_automated: bool,
    /// The sub-agent.
    pub agent_id: Option<Span>,
    /// The type of the sub-agent, as the line names it.
    pub agent_type: Option<Span>,
    /// The skill.
    pub skill: Option<Span>,
    /// The plugin.
    pub plugin: Option<Span>,
    /// The MCP server.
    pub mcp_server: Option<Span>,
    /// The effort level.
    pub effort: Option<Span>,
    /// The program that runs the agent.
    pub entrypoint: Option<Span>,
    /// Where the model ran.
    pub inference_geo: Option<Span>,
    /// The service tier.
    pub service_tier: Option<Span>,
}

/// Where a message was found, borrowed from the line.
#[derive(Clone, Copy)]
pub struct MessageOrigin<'e, 'a> {
    /// The entry that is or contains the message.
    pub entry: &'e Entry<'a>,
    /// `agentId` of the message.
    pub agent_id: Option<Text<'a>>,
    /// Whether the entry reports it as the progress of a sub-agent.
    pub is_progress: bool,
    /// Whether it belongs to a sub-agent or a side question.
    pub is_sidechain: bool,
    /// Whether a program began the turn.
    pub is_automated: bool,
}

impl Causes {
    /// The causes of a message with this usage. `file_agent` is the agent of the whole file.
    pub fn new(
        strings: &mut Strings,
        origin: &MessageOrigin<'_, '_>,
        usage: &Usage<'_>,
        file_agent: Option<&str>,
    ) -> Self {
        let entry = origin.entry;
        let own_agent = origin.agent_id.filter(|id| !id.is_empty());
        let agent_id = match own_agent {
            Some(id) => Some(strings.intern(&id.decode())),
            None => file_agent.map(|id| strings.intern(id)),
        };
        let is_of_agent = origin.is_progress
            || origin.is_sidechain && own_agent.is_some()
            || file_agent.is_some();
        let source = if agent_id.is_some_and(|id| is_helper(strings.get(id))) {
            Source::Auxiliary
        } else if is_of_agent || origin.is_sidechain && is_before_agent_ids(entry) {
            Source::Subagent
        } else if origin.is_sidechain {
            Source::Auxiliary
        } else {
            Source::Main
        };
        Self {
            source,
            is_automated: origin.is_automated,
            agent_id,
            agent_type: strings.intern_text(entry.attribution.agent),
            skill: strings.intern_text(entry.attribution.skill),
            plugin: strings.intern_text(entry.attribution.plugin),
            mcp_server: strings.intern_text(entry.attribution.mcp_server),
            effort: strings.intern_text(entry.effort),
            entrypoint: strings.intern_text(entry.entrypoint),
            inference_geo: strings.intern_text(usage.inference_geo),
            service_tier: strings.intern_text(usage.service_tier),
        }
    }

    /// These causes, completed by those of another record of the same message.
    pub fn or(self, other: Self) -> Self {
        if self.source != other.source {
            return self;
        }
        Self {
            source: self.source,
            is_automated: self.is_automated,
            agent_id: self.agent_id.or(other.agent_id),
            agent_type: self.agent_type.or(other.agent_type),
            skill: self.skill.or(other.skill),
            plugin: self.plugin.or(other.plugin),
            mcp_server: self.mcp_server.or(other.mcp_server),
            effort: self.effort.or(other.effort),
            entrypoint: self.entrypoint.or(other.entrypoint),
            inference_geo: self.inference_geo.or(other.inference_geo),
            service_tier: self.service_tier.or(other.service_tier),
        }
    }
}

/// The distinct causes of a transcript.
#[derive(Default, Serialize, Deserialize)]
pub struct CauseTable {
    causes: Vec<Causes>,
    #[serde(with = "crate::index")]
    by_content: HashTable<u32>,
}

impl CauseTable {
    /// The number of these causes.
    pub fn number(&mut self, causes: Causes) -> u32 {
        let all = &self.causes;
        let is_same = |at: &u32| all[*at as usize] == causes;
        if let Some(at) = self.by_content.find(hash(&causes), is_same) {
            return *at;
        }
        // A transcript has fewer lines than this.
        let at = u32::try_from(self.causes.len()).unwrap_or(u32::MAX);
        self.causes.push(causes);
        let all = &self.causes;
        let rehash = |at: &u32| hash(&all[*at as usize]);
        self.by_content.insert_unique(hash(&causes), at, rehash);
        at
    }

    /// Completes a table that was loaded from a state.
    pub fn rebuild_index(&mut self) {
        let all = &self.causes;
        index::rebuild(&mut self.by_content, |at| hash(&all[*at as usize]));
    }

    /// The causes with a number.
    pub fn get(&self, at: u32) -> Causes {
        self.causes[at as usize]
    }
}

/// The agent that a file belongs to, by the name of the file: `agent-<id>.jsonl`.
pub fn agent_of_file(session_key: &str) -> Option<&str> {
    let name = session_key.rsplit('/').next()?;
    let id = name.strip_prefix("agent-")?.strip_suffix(".jsonl")?;
    (!id.is_empty()).then_some(id)
}

/// Whether the agent starts agents with this id for its own work.
fn is_helper(agent_id: &str) -> bool {
    let label = agent_id
        .strip_prefix('a')
        .and_then(|rest| rest.rsplit_once('-'))
        .map(|(label, _)| label);
    label.is_some_and(|label| HELPERS.contains(&label))
}

/// Whether the version of the agent writes the lines of sub-agents into the file of the session,
/// without the id of the sub-agent. It has no side questions, which look the same.
fn is_before_agent_ids(entry: &Entry<'_>) -> bool {
    entry.version.is_some_and(|version| {
        let version = version.decode();
        ["0.", "1.", "2.0."]
            .iter()
            .any(|old| version.starts_with(old))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, line: &str, is_progress: bool, expected: &str) {
        let mut strings = Strings::default();
        let entry = Entry::parse(line).unwrap();
        let origin = MessageOrigin {
            entry: &entry,
            agent_id: entry.agent_id,
            is_progress,
            is_sidechain: entry.is_sidechain,
            is_automated: false,
        };
        let file = agent_of_file(file);
        let causes = Causes::new(&mut strings, &origin, &Usage::default(), file);
        let id = causes.agent_id.map_or("-", |id| strings.get(id));
        assert_eq!(format!("{} {id}", causes.source.name()), expected, "{line}");
    }

    #[test]
    fn a_message_belongs_to_the_conversation_a_sub_agent_or_neither() {
        let file = "ada/s1.jsonl";
        check(file, "{}", false, "main -");
        check(file, r#"{"agentId":"a1"}"#, false, "main a1");
        check(
            file,
            r#"{"agentId":"a1","isSidechain":true}"#,
            false,
            "subagent a1",
        );
        check(file, r#"{"agentId":"a1"}"#, true, "subagent a1");
        check(file, "{}", true, "subagent -");
        // A side question.
        let side = r#"{"isSidechain":true,"version":"2.1.200"}"#;
        check(file, side, false, "auxiliary -");
        check(file, r#"{"isSidechain":true}"#, false, "auxiliary -");
        // Before sub-agents had ids.
        let old = r#"{"isSidechain":true,"version":"1.0.120"}"#;
        check(file, old, false, "subagent -");
    }

    #[test]
    fn agents_that_the_agent_starts_for_itself_are_auxiliary() {
        let line = r#"{"isSidechain":true}"#;
        for (id, source) in [
            ("a3f2c1b4d5e6f7a89", "subagent"),
            ("ae45c21", "subagent"),
            ("acode-review-3f2c1b4d5e6f7a89", "subagent"),
            ("acompact-767ece576f2b74e8", "auxiliary"),
            ("aside_question-c5e5c961a7749e08", "auxiliary"),
            ("aprompt_suggestion-20f424", "auxiliary"),
            ("asession_memory-20f424", "auxiliary"),
        ] {
            let file = format!("ada/s1/subagents/agent-{id}.jsonl");
            check(&file, line, false, &format!("{source} {id}"));
        }
    }

    #[test]
    fn only_a_file_with_the_name_of_an_agent_belongs_to_one() {
        for file in [
            "ada/agent.jsonl",
            "ada/agent-.jsonl",
            "agent-a1.jsonl/s1",
            "ada/my-agent-a1.jsonl",
        ] {
            assert_eq!(agent_of_file(file), None, "{file}");
        }
        assert_eq!(agent_of_file("agent-a1.jsonl"), Some("a1"));
    }

    #[test]
    fn equal_causes_have_one_number() {
        let mut table = CauseTable::default();
        let automated = Causes {
            is_automated: true,
            ..Causes::default()
        };
        let numbers: Vec<_> = [Causes::default(), automated, Causes::default()]
            .map(|causes| table.number(causes))
            .into();
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!(table.get(1), automated);
    }
}

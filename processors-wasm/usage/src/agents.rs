//! Which agent wrote a line, and which response of the model the line follows.
//!
//! A file can contain several conversations: that of the main agent, and those of sub-agents. Lines
//! form a tree by `parentUuid`, because a user can go back and continue from an earlier line. This
//! module stores one hash and two numbers per line, not the lines.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as HashEntry;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Entry, Kind};

use crate::strings::{Span, Strings, hash};

/// The largest number of responses of other models between two that are compared. It bounds the
/// time for files in which models alternate.
const STEPS_MAX: usize = 64;

/// A conversation with the model in a file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Agent {
    /// The id of the sub-agent. `None` for the main agent, and for sub-agents of old versions.
    pub id: Option<Span>,
    /// The number of the tree of lines, for sub-agents without an id. Else 0.
    tree: u32,
}

/// The response that a line follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predecessor {
    /// The file does not contain the parent.
    Unknown,
    /// No response: the conversation begins, or the lines of the file have no parents.
    Start,
    /// The response with this number.
    Response(u32),
}

/// The position of a line in its conversation.
#[derive(Clone, Copy, Debug)]
pub struct LinePosition {
    /// The hash of `uuid`.
    uuid: Option<u64>,
    /// The agent of the line.
    pub agent: Agent,
    /// The response before the line.
    pub predecessor: Predecessor,
    /// Whether an earlier line has the same `uuid`.
    pub is_copy: bool,
}

/// A response of the model.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ModelResponse {
    /// Its number, which is its index in [`Messages`](crate::messages::Messages).
    pub at: usize,
    /// The agent. `None` if it is a sub-agent without an id.
    pub agent: Option<Agent>,
    /// The number of compactions before the response.
    pub compactions: u32,
    predecessor: Predecessor,
    /// Whether the API compacted the conversation before it answered.
    has_compacted: bool,
}

/// The agents of a file.
#[derive(Default, Serialize, Deserialize)]
pub struct Agents {
    /// The lines by the hash of `uuid`.
    lines: HashMap<u64, LineNode, FixedState>,
    has_parents: bool,
    trees: u32,
    /// How often the conversation of each agent was compacted.
    compactions: BTreeMap<Agent, u32>,
    /// Ordered by number.
    responses: Vec<ModelResponse>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct LineNode {
    predecessor: Predecessor,
    tree: u32,
}

impl Agents {
    /// Determines the position of the next line.
    pub fn enter(&mut self, strings: &mut Strings, entry: &Entry<'_>) -> LinePosition {
        let key = |text: Option<Text<'_>>| {
            let text = text.filter(|text| !text.is_empty())?;
            Some(hash(&*text.decode()))
        };
        let (uuid, parent) = (key(entry.uuid), key(entry.parent_uuid));
        let known = parent.and_then(|parent| self.lines.get(&parent).copied());
        let predecessor = match (known, parent) {
            (Some(node), _) => node.predecessor,
            (None, None) if uuid.is_some() => Predecessor::Start,
            (None, _) => Predecessor::Unknown,
        };
        self.has_parents |= parent.is_some();
        let id = strings.intern_text(entry.agent_id);
        let tree = if id.is_some() || !entry.is_sidechain {
            0
        } else if let Some(tree) = known.map(|node| node.tree).filter(|tree| *tree > 0) {
            tree
        } else {
            self.trees = self.trees.saturating_add(1);
            self.trees
        };
        let node = LineNode { predecessor, tree };
        let is_copy = match uuid.map(|uuid| self.lines.entry(uuid)) {
            Some(HashEntry::Occupied(_)) => true,
            Some(HashEntry::Vacant(place)) => {
                place.insert(node);
                false
            }
            None => false,
        };
        let position = LinePosition {
            uuid,
            agent: Agent { id, tree },
            predecessor,
            is_copy,
        };
        // The summary of old versions, and the removal of old results, replace the conversation
        // too.
        let is_compaction = match entry.kind {
            Kind::System => entry.subtype.is_some_and(|subtype| {
                subtype == "compact_boundary" || subtype == "microcompact_boundary"
            }),
            Kind::User => entry.is_compact_summary,
            _ => false,
        };
        if is_compaction && !is_copy {
            self.compact(position.agent);
        }
        position
    }

    /// Adds the record of a response on the line at this position.
    pub fn add_response(&mut self, position: &LinePosition, at: usize, has_compacted: bool) {
        self.add(
            Some(position.agent),
            position.predecessor,
            at,
            has_compacted,
        );
        let node = position.uuid.and_then(|uuid| self.lines.get_mut(&uuid));
        if let (Some(node), Ok(at)) = (node, u32::try_from(at)) {
            node.predecessor = Predecessor::Response(at);
        }
    }

    /// Adds the record of a response of a sub-agent that the line of another agent reports.
    pub fn add_embedded(&mut self, agent: Option<Agent>, at: usize, has_compacted: bool) {
        self.add(agent, Predecessor::Unknown, at, has_compacted);
    }

    /// The sub-agent with an id.
    pub fn sub_agent(strings: &mut Strings, id: Option<Text<'_>>) -> Option<Agent> {
        let id = strings.intern_text(id)?;
        Some(Agent {
            id: Some(id),
            tree: 0,
        })
    }

    /// How often the conversation of an agent was compacted so far.
    pub fn compactions(&self, agent: Agent) -> u32 {
        self.compactions.get(&agent).copied().unwrap_or(0)
    }

    /// The responses, in order of their first appearance.
    pub fn responses(&self) -> &[ModelResponse] {
        &self.responses
    }

    /// The response with this number.
    pub fn response(&self, at: usize) -> Option<&ModelResponse> {
        self.responses.get(self.find(at).ok()?)
    }

    /// Whether a response continues the conversation after an earlier response, and the user did
    /// not go back to a line before that. Without the parents of lines, it does.
    pub fn continues(&self, response: &ModelResponse, earlier: usize) -> bool {
        let mut predecessor = response.predecessor;
        for _ in 0..STEPS_MAX {
            let at = match predecessor {
                Predecessor::Unknown => return true,
                Predecessor::Start => return !self.has_parents,
                Predecessor::Response(at) => at as usize,
            };
            if at <= earlier {
                return at == earlier;
            }
            // Responses of other models can be between the two.
            let Some(between) = self.response(at) else {
                return false;
            };
            predecessor = between.predecessor;
        }
        false
    }

    fn add(
        &mut self,
        agent: Option<Agent>,
        predecessor: Predecessor,
        at: usize,
        has_compacted: bool,
    ) {
        let found = self.find(at);
        let is_first = found
            .ok()
            .and_then(|index| self.responses.get(index))
            .is_none_or(|known| !known.has_compacted);
        if let Some(agent) = agent
            && has_compacted
            && is_first
        {
            self.compact(agent);
        }
        let compactions = agent.map_or(0, |agent| self.compactions(agent));
        match found {
            Ok(index) => {
                if let Some(known) = self.responses.get_mut(index)
                    && has_compacted
                    && is_first
                {
                    known.has_compacted = true;
                    known.compactions = compactions;
                }
            }
            Err(index) => self.responses.insert(
                index,
                ModelResponse {
                    at,
                    agent,
                    compactions,
                    predecessor,
                    has_compacted,
                },
            ),
        }
    }

    /// The index of the response with this number, or the index at which to insert it.
    fn find(&self, at: usize) -> Result<usize, usize> {
        let count = self.responses.len();
        match self.responses.last() {
            // Nearly all records belong to the latest response or begin the next one.
            Some(latest) if latest.at == at => Ok(count - 1),
            Some(latest) if latest.at < at => Err(count),
            _ => self.responses.binary_search_by_key(&at, |known| known.at),
        }
    }

    fn compact(&mut self, agent: Agent) {
        let count = self.compactions.entry(agent).or_default();
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters lines with `[uuid, parent, fields]`. A line whose `uuid` is a number is the response
    /// with that number.
    fn enter(lines: &[[&str; 3]]) -> (Agents, Vec<LinePosition>) {
        let (mut agents, mut strings) = (Agents::default(), Strings::default());
        let positions = lines.iter().map(|[uuid, parent, fields]| {
            let line = format!(r#"{{"uuid":"{uuid}","parentUuid":{parent}{fields}}}"#);
            let position = agents.enter(&mut strings, &Entry::parse(&line).unwrap());
            if let Ok(at) = uuid.parse() {
                agents.add_response(&position, at, false);
            }
            position
        });
        let positions = positions.collect();
        (agents, positions)
    }

    fn check_continues(lines: &[[&str; 3]], later: usize, earlier: usize, expected: bool) {
        let (agents, _) = enter(lines);
        let later = agents.response(later).unwrap();
        assert_eq!(agents.continues(later, earlier), expected, "{lines:?}");
    }

    #[test]
    fn a_response_continues_after_those_above_it_in_the_tree() {
        let start = ["a", "null", ""];
        let first = ["0", r#""a""#, ""];
        check_continues(
            &[start, first, ["b", r#""0""#, ""], ["1", r#""b""#, ""]],
            1,
            0,
            true,
        );
        // The user went back to the first line.
        check_continues(
            &[start, first, ["b", r#""a""#, ""], ["1", r#""b""#, ""]],
            1,
            0,
            false,
        );
        check_continues(
            &[start, first, ["b", "null", ""], ["1", r#""b""#, ""]],
            1,
            0,
            false,
        );
        // The parent is not in the file.
        check_continues(
            &[start, first, ["b", r#""x""#, ""], ["1", r#""b""#, ""]],
            1,
            0,
            true,
        );
        // Another response is between the two.
        let between = ["1", r#""0""#, ""];
        check_continues(&[start, first, between, ["2", r#""1""#, ""]], 2, 0, true);
        check_continues(&[start, first, between, ["2", r#""0""#, ""]], 2, 1, false);
        // Without any parents.
        check_continues(&[["0", "null", ""], ["1", "null", ""]], 1, 0, true);
    }

    #[test]
    fn the_results_of_parallel_calls_are_not_a_rewind() {
        // Each result follows the line of its call, and the answer follows the last result.
        check_continues(
            &[
                ["a", "null", ""],
                ["0", r#""a""#, ""],
                ["c", r#""0""#, ""],
                ["r1", r#""0""#, ""],
                ["r2", r#""c""#, ""],
                ["1", r#""r1""#, ""],
            ],
            1,
            0,
            true,
        );
    }

    #[test]
    fn a_fabricated_tree_is_only_followed_for_some_steps() {
        let lines: Vec<[String; 3]> = (0..200)
            .map(|n: usize| {
                let parent = n
                    .checked_sub(1)
                    .map_or("null".to_owned(), |n| format!("\"{n}\""));
                [n.to_string(), parent, String::new()]
            })
            .collect();
        let lines: Vec<[&str; 3]> = lines
            .iter()
            .map(|line| line.each_ref().map(|cell| &**cell))
            .collect();
        check_continues(&lines, 60, 0, true);
        check_continues(&lines, 199, 0, false);
    }

    #[test]
    fn each_sub_agent_is_an_agent_of_its_own() {
        let side = r#","isSidechain":true"#;
        let (_, found) = enter(&[
            ["m", "null", ""],
            ["s1", "null", side],
            ["s2", "null", side],
            ["s3", r#""s1""#, side],
            ["s4", r#""m""#, side],
            ["i1", "null", r#","isSidechain":true,"agentId":"a1""#],
            ["i2", r#""s1""#, r#","isSidechain":true,"agentId":"a1""#],
        ]);
        let agents: Vec<Agent> = found.iter().map(|position| position.agent).collect();
        assert_eq!(agents[0], Agent::default());
        assert_eq!(agents[1], agents[3]);
        assert_eq!(agents[5], agents[6]);
        let mut distinct = agents;
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 5);
    }

    #[test]
    fn a_compaction_counts_for_its_agent_and_once() {
        let boundary = r#","type":"system","subtype":"compact_boundary""#;
        let (agents, found) = enter(&[
            ["m", "null", ""],
            ["b", r#""m""#, boundary],
            ["b", r#""m""#, boundary],
            ["i", "null", r#","agentId":"a1""#],
            [
                "d",
                "null",
                r#","type":"system","subtype":"microcompact_boundary""#,
            ],
        ]);
        assert_eq!(agents.compactions(found[0].agent), 2);
        assert_eq!(agents.compactions(found[3].agent), 0);
        assert!(found[2].is_copy && !found[1].is_copy);
    }
}

//! Follows the calls whose results say more than whether they failed: changes of files, runs of
//! sub-agents, and searches in the web.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::{Json, Text};
use session_pipeline_processor::transcript::{Entry, Kind, Message, ToolUse};

use crate::agent_runs::{AgentRuns, RunCall};
use crate::identity::is_unique;
use crate::messages::Line;
use crate::numbers::count;
use crate::place::Place;
use crate::strings::{Span, Strings, hash};

/// The calls of a transcript.
#[derive(Serialize, Deserialize)]
pub struct Calls {
    /// The latest call with an id, by the hash of the id.
    by_id: HashMap<u64, Call, FixedState>,
    /// The lines that tools changed.
    pub lines: LineChanges,
    /// The runs of sub-agents.
    pub runs: AgentRuns,
    /// The searches that tools made in the web, by the number of the response that called them.
    searches: HashMap<usize, i64, FixedState>,
}

/// A response that makes calls.
#[derive(Clone, Copy)]
pub struct CallingResponse {
    /// Its number.
    pub number: usize,
    /// Its identity, as in `usage.messages`.
    pub identity: Option<Span>,
}

/// The sums over the patches of a transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineChanges {
    /// Lines that were added.
    pub added: i64,
    /// Lines that were removed.
    pub removed: i64,
    /// Results with a patch.
    pub patches: u64,
}

#[derive(Serialize, Deserialize)]
struct Call {
    purpose: Purpose,
    /// The number of the response that made the call.
    response: Option<usize>,
    /// The hash of the `uuid` of the line, or zero.
    uuid: u64,
    is_answered: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Purpose {
    /// Changes a file.
    Edit,
    /// Runs a sub-agent, by the number of the run.
    Agent(usize),
    /// Searches the web.
    Search,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            by_id: HashMap::with_hasher(FixedState::with_seed(0)),
            lines: LineChanges::default(),
            runs: AgentRuns::default(),
            searches: HashMap::with_hasher(FixedState::with_seed(0)),
        }
    }
}

impl Calls {
    /// Adds the calls of a message, and the results in it.
    pub fn add_message<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        entry: &Entry<'a>,
        line: Line<'a>,
        message: &Message<'a>,
        response: Option<CallingResponse>,
    ) {
        for (index, tool_use) in message.content.tool_uses().enumerate() {
            self.add_call(strings, place, line, (index, tool_use), response);
        }
        let results = || message.content.tool_results();
        // The result in the format of the tool is that of the only result.
        let is_only = !line.is_progress && results().nth(1).is_none();
        let details = entry.tool_use_result.filter(|_| is_only);
        for result in results() {
            self.add_result(strings, result.tool_use_id, details, result.is_error);
        }
    }

    /// Adds an entry that is a result, the progress of a sub-agent, or a notification about one.
    pub fn add_own(&mut self, strings: &mut Strings, entry: &Entry<'_>) {
        if entry.kind == Kind::ToolUseResult {
            let details = entry.tool_use_result;
            self.add_result(strings, entry.tool_use_id, details, entry.is_error);
        }
        if let Some(agent_id) = entry.sub_agents().next().and_then(|entry| entry.agent_id)
            && let Some(call) = self.find(entry.parent_tool_use_id)
            && let Purpose::Agent(run) = call.purpose
        {
            self.runs.set_agent(strings, run, agent_id);
        }
        let content = match (entry.kind, &entry.attachment) {
            (Kind::User, _) => entry.says(),
            (Kind::QueueOperation, _) => &entry.content,
            (Kind::Attachment, Some(attachment)) => &attachment.prompt,
            _ => return,
        };
        for text in content.texts() {
            if text.raw().starts_with("<task-notification>") {
                self.runs.notify(strings, &text.decode());
            }
        }
    }

    fn add_call(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        line: Line<'_>,
        (index, tool_use): (usize, &ToolUse<'_>),
        response: Option<CallingResponse>,
    ) {
        let Some(name) = tool_use.name else {
            return;
        };
        let is_agent = match name.raw() {
            "Task" | "Agent" => true,
            "Edit" | "MultiEdit" | "WebSearch" | "Write" => false,
            _ => return,
        };
        let uuid = line.uuid.filter(|uuid| !uuid.is_empty());
        let uuid = uuid.map_or(0, |uuid| hash(&*uuid.decode()));
        let id = tool_use.id.filter(|id| !id.is_empty());
        let id = id.map(|id| id.decode());
        let key = match &id {
            Some(id) => hash(&**id),
            // It has no result, but a copy of the line is not another call.
            None => hash(&(uuid, index)),
        };
        let is_unique = id.as_deref().is_some_and(is_unique);
        let number = response.map(|response| response.number);
        let is_copy = self.by_id.get(&key).is_some_and(|known| {
            is_unique
                || number.is_some() && known.response == number
                || uuid != 0 && known.uuid == uuid
        });
        if is_copy {
            return;
        }
        let purpose = if is_agent {
            let call = RunCall {
                tool_id: id.as_deref(),
                is_unique,
                index,
                response: response.and_then(|response| response.identity),
                is_sidechain: line.is_sidechain,
                uuid: line.uuid,
            };
            Purpose::Agent(self.runs.begin(strings, place, call, tool_use))
        } else if name.raw() == "WebSearch" {
            Purpose::Search
        } else {
            Purpose::Edit
        };
        let call = Call {
            purpose,
            response: number,
            uuid,
            is_answered: false,
        };
        self.by_id.insert(key, call);
    }

    fn add_result(
        &mut self,
        strings: &mut Strings,
        id: Option<Text<'_>>,
        details: Option<Json<'_>>,
        is_error: bool,
    ) {
        let Some(call) = self.find(id).filter(|call| !call.is_answered) else {
            return;
        };
        call.is_answered = true;
        let (purpose, response) = (call.purpose, call.response);
        match purpose {
            Purpose::Edit => self.lines.add(details),
            Purpose::Agent(run) => self.runs.end(strings, run, details, is_error),
            Purpose::Search => {
                let searches = details.and_then(|details| count(details.field("searchCount")));
                if let (Some(response), Some(searches)) = (response, searches) {
                    let sum = self.searches.entry(response).or_default();
                    *sum = sum.saturating_add(searches);
                }
            }
        }
    }

    /// The searches that tools made in the web for a response.
    pub fn searches(&self, response: usize) -> i64 {
        self.searches.get(&response).copied().unwrap_or(0)
    }

    fn find(&mut self, id: Option<Text<'_>>) -> Option<&mut Call> {
        if self.by_id.is_empty() {
            return None;
        }
        let id = id.filter(|id| !id.is_empty())?;
        self.by_id.get_mut(&hash(&*id.decode()))
    }
}

impl LineChanges {
    /// Adds the result of a tool that changes files.
    fn add(&mut self, details: Option<Json<'_>>) {
        let Some(details) = details else {
            return;
        };
        let Some(patch) = details.field("structuredPatch") else {
            return;
        };
        self.patches += 1;
        let mut is_empty = true;
        for hunk in patch.elements() {
            is_empty = false;
            let lines = hunk.field("lines");
            for line in lines.iter().flat_map(Json::elements) {
                let Some(text) = line.text() else {
                    continue;
                };
                self.added += i64::from(text.raw().starts_with('+'));
                self.removed += i64::from(text.raw().starts_with('-'));
            }
        }
        let text = |field: &str| details.field(field).and_then(|value| value.text());
        // There is no patch for a new file.
        if is_empty && text("type").is_some_and(|kind| kind == "create") {
            let lines = text("content").map_or(0, |content| content.decode().lines().count());
            self.added += i64::try_from(lines).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(details: &str, added: i64, removed: i64) {
        let mut lines = LineChanges::default();
        lines.add(Json::parse(details));
        assert_eq!((lines.added, lines.removed), (added, removed), "{details}");
    }

    #[test]
    fn the_lines_of_patches_count_and_those_of_new_files() {
        check(
            r#"{"filePath":"a","structuredPatch":[{"lines":[" a","-b","+c","+","\\ No newline at end of file"]},{"lines":["-d"]}]}"#,
            2,
            2,
        );
        check(
            r#"{"type":"create","content":"a\nb\n","structuredPatch":[]}"#,
            2,
            0,
        );
        check(
            r#"{"type":"create","content":"","structuredPatch":[]}"#,
            0,
            0,
        );
        check(
            r#"{"type":"update","content":"a\nb","structuredPatch":[]}"#,
            0,
            0,
        );
        check(
            r#"{"structuredPatch":[7,{"lines":[7,"+a"]},{"lines":"+b"}]}"#,
            1,
            0,
        );
        check(r#"{"structuredPatch":"+a"}"#, 0, 0);
        check(r#""Error: no such file""#, 0, 0);
    }
}

//! Files that an agent reads again although it already has their content.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Json;
use session_pipeline_processor::transcript::ToolUse;

use crate::events::Caller;
use crate::strings::{Span, Strings, hash};

/// The tools that read a file into the conversation.
const TOOLS: &[&str] = &["Read", "NotebookRead"];

/// The text that the agent writes if the file did not change. It already avoided the cost of reading
/// again. As JSON, because results are long and are not decoded.
const UNCHANGED: &str = "\"File unchanged since last read";

/// The reads of a transcript. Stores hashes, not contents.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Reads {
    /// The calls, in order of their events.
    calls: Vec<ReadCall>,
    /// The latest content by agent, file and range.
    latest: HashMap<u64, ReadContent, FixedState>,
    rereads: Vec<Reread>,
}

#[derive(Serialize, Deserialize)]
struct ReadCall {
    event: usize,
    response: usize,
    /// A hash of the agent and the input, which contains the file and the range.
    range: u64,
    file: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ReadContent {
    hash: u64,
    /// How often the conversation was compacted before. A compaction removes contents.
    compactions: u32,
}

/// A result that equals the previous result for the same file and range.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reread {
    /// The index of the event.
    pub event: usize,
    /// The response that made the call.
    pub response: usize,
    /// The file.
    pub file: Span,
    /// The size of the texts in the result, in bytes of UTF-8.
    pub bytes: usize,
}

impl Reads {
    /// Adds a call with a new event, if it reads a file. `content` is a hash of the tool and its
    /// input.
    pub(super) fn add_call(
        &mut self,
        strings: &mut Strings,
        event: usize,
        caller: &Caller,
        tool: &str,
        tool_use: &ToolUse<'_>,
        content: u64,
    ) {
        let (Some(agent), Some(response)) = (caller.agent, caller.response) else {
            return;
        };
        if !TOOLS.contains(&tool) {
            return;
        }
        let file = tool_use
            .input_text("file_path")
            .or_else(|| tool_use.input_text("notebook_path"));
        let Some(file) = file else {
            return;
        };
        self.calls.push(ReadCall {
            event,
            response,
            range: hash(&(agent, content)),
            file: strings.intern(&file),
        });
    }

    /// Adds the result of a call. `compactions` is the number of compactions before the result.
    pub(super) fn add_result(&mut self, event: usize, content: Json<'_>, compactions: u32) {
        let found = self.calls.binary_search_by_key(&event, |call| call.event);
        let Some(call) = found.ok().and_then(|index| self.calls.get(index)) else {
            return;
        };
        if content.raw().starts_with(UNCHANGED) {
            return;
        }
        let texts = || {
            let blocks = content.elements();
            let blocks = blocks.filter_map(|block| block.field("text")?.text());
            content.text().into_iter().chain(blocks)
        };
        let latest = ReadContent {
            hash: hash(content.raw()),
            compactions,
        };
        if self.latest.insert(call.range, latest) == Some(latest) {
            self.rereads.push(Reread {
                event,
                response: call.response,
                file: call.file,
                bytes: texts().map(|text| text.decode().len()).sum(),
            });
        }
    }

    /// The results that repeat an earlier one.
    pub(super) fn rereads(&self) -> &[Reread] {
        &self.rereads
    }
}

//! Reads the sessions of GitHub Copilot CLI.
//!
//! Each line is `{type, data, id, timestamp, parentId}`. A message has only its output tokens. The
//! other tokens are in the line that ends a run of the program ([`leg`]). The messages and calls of
//! sub-agents are in the file of the session.

mod calls;
mod leg;
mod shutdown;

use std::collections::BTreeMap;

use self::leg::{Figures, Leg, ModelSums, NewRow};
use self::shutdown::{EarlierReports, read_charge};
use crate::Timestamp;
use crate::activity::counts::CountReader;
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{command_name, plain, set, text};
use crate::activity::{Item, Origin, Prompt, SessionFacts};
use crate::json::{Json, Text};

/// Types of lines that no item needs.
const OTHER_KINDS: &[&str] = &[
    "abort",
    "assistant.idle",
    "assistant.intent",
    "assistant.message_delta",
    "assistant.message_start",
    "assistant.reasoning",
    "assistant.reasoning_delta",
    "assistant.streaming_delta",
    "assistant.turn_end",
    "assistant.turn_start",
    "assistant.usage",
    "capabilities.changed",
    "command.completed",
    "command.execute",
    "command.queued",
    "commands.changed",
    "elicitation.completed",
    "elicitation.requested",
    "exit_plan_mode.completed",
    "exit_plan_mode.requested",
    "external_tool.completed",
    "external_tool.requested",
    "hook.end",
    "hook.start",
    "mcp.oauth_completed",
    "mcp.oauth_required",
    "pending_messages.modified",
    "permission.requested",
    "sampling.completed",
    "sampling.requested",
    "session.background_tasks_changed",
    "session.compaction_start",
    "session.custom_agents_updated",
    "session.error",
    "session.extensions_loaded",
    "session.handoff",
    "session.idle",
    "session.info",
    "session.mcp_server_status_changed",
    "session.mcp_servers_loaded",
    "session.mode_changed",
    "session.plan_changed",
    "session.remote_steerable_changed",
    "session.skills_loaded",
    "session.snapshot_rewind",
    "session.task_complete",
    "session.tools_updated",
    "session.truncation",
    "session.usage_info",
    "session.warning",
    "session.workspace_file_changed",
    "skill.invoked",
    "subagent.completed",
    "subagent.deselected",
    "subagent.failed",
    "subagent.selected",
    "system.message",
    "system.notification",
    "tool.execution_partial_result",
    "tool.execution_progress",
    "tool.user_requested",
    "user_input.completed",
    "user_input.requested",
];

/// The beginning of texts that Copilot adds to the conversation.
const REMINDER: &str = "<system_reminder>";

/// The state of a file.
#[derive(Default)]
pub(super) struct CopilotReader {
    time: Option<Timestamp>,
    session_id: Option<String>,
    version: Option<String>,
    cwd: Option<String>,
    git_branch: Option<String>,
    effort: Option<String>,
    /// The model that the user selected.
    model: Option<String>,
    /// The sub-agent of the current line, as the id of the call that started it.
    agent: Option<String>,
    /// The types of sub-agents by their ids.
    agent_types: BTreeMap<String, String>,
    /// The latest model of each sub-agent, and of the main agent.
    agent_models: BTreeMap<Option<String>, String>,
    leg: Leg,
    /// The tokens of earlier legs.
    earlier: ModelSums,
    reported: EarlierReports,
    /// What the session was charged by the latest checkpoint of the leg, in 10⁻⁹ AI credits.
    checkpoint: Option<i64>,
}

impl Reader for CopilotReader {
    fn read(&mut self, object: Json<'_>, items: &mut Items<'_>) {
        let [kind, data, id, timestamp, agent] =
            object.fields(["type", "data", "id", "timestamp", "agentId"]);
        self.time = text(timestamp).and_then(|time| Timestamp::parse(&time.decode()));
        let Some(data) = data.filter(|data| data.is_object()) else {
            return;
        };
        let agent = text(data.field("parentToolCallId")).or(text(agent));
        self.agent = agent.map(|agent| agent.decode().into_owned());
        let kind = text(kind).map(|kind| kind.decode()).unwrap_or_default();
        match &*kind {
            "session.start" => self.start(data, items),
            "session.resume" => {
                self.end_leg(None, items);
                self.read_context(data.field("context").unwrap_or(data));
                self.read_model(data);
            }
            "session.context_changed" => self.read_context(data),
            "session.model_change" => self.read_model(data),
            "session.title_changed" => {
                let facts = SessionFacts {
                    title: text(data.field("title")),
                    ..SessionFacts::default()
                };
                items.emit(self.origin(), &Item::Session(facts));
            }
            "user.message" => self.read_prompt(data, items),
            "assistant.message" => self.read_message(data, items),
            "tool.execution_start" => self.read_call(data, items),
            "tool.execution_complete" => self.read_result(data, items),
            "permission.completed" => self.read_permission(data, items),
            "subagent.started" => self.start_agent(data, object),
            "session.compaction_complete" => self.read_compaction(data, id, items),
            "session.usage_checkpoint" => {
                let charged = read_charge(data.field("totalNanoAiu"));
                self.checkpoint = charged.or(self.checkpoint);
            }
            "session.shutdown" => {
                let id = text(id).unwrap_or(Text::plain(""));
                self.end_leg(Some((data, id)), items);
            }
            known if OTHER_KINDS.contains(&known) => {}
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn end(&mut self, items: &mut Items<'_>) {
        self.end_leg(None, items);
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            time: self.time,
            ..self.origin_of(self.agent.as_deref())
        }
    }
}

impl CopilotReader {
    fn start(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        // A file of several sessions: the requests so far belong to the session before.
        self.end_leg(None, items);
        let [session, version, context] = data.fields(["sessionId", "copilotVersion", "context"]);
        set(&mut self.session_id, text(session));
        set(&mut self.version, text(version));
        self.read_context(context.unwrap_or(data));
        self.read_model(data);
    }

    fn read_context(&mut self, context: Json<'_>) {
        let [cwd, branch] = context.fields(["cwd", "branch"]);
        set(&mut self.cwd, text(cwd));
        set(&mut self.git_branch, text(branch));
    }

    fn read_model(&mut self, data: Json<'_>) {
        let [selected, new, effort] = data.fields(["selectedModel", "newModel", "reasoningEffort"]);
        set(&mut self.model, text(new).or(text(selected)));
        set(&mut self.effort, text(effort));
    }

    fn start_agent(&mut self, data: Json<'_>, line: Json<'_>) {
        let [call, name] = data.fields(["toolCallId", "agentName"]);
        let Some(name) = text(name).map(|name| name.decode().into_owned()) else {
            return;
        };
        for id in [text(call), text(line.field("agentId"))] {
            let id = id.map(|id| id.decode().into_owned());
            self.agent_types.extend(id.map(|id| (id, name.clone())));
        }
    }

    fn read_prompt(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        let [content, source] = data.fields(["content", "source"]);
        let content = text(content).map(|text| text.decode()).unwrap_or_default();
        let typed = content.trim_start();
        let is_added = text(source).is_some() || typed.starts_with(REMINDER);
        if typed.is_empty() || is_added || self.agent.is_some() {
            return;
        }
        let item = match command_name(typed) {
            Some(name) => Item::Command(Text::plain(name)),
            None => Item::Prompt(Prompt { text: &content }),
        };
        items.emit(self.origin(), &item);
    }

    /// Reads a message of a model. Several messages can belong to one request, of which only the
    /// last has the tokens.
    fn read_message(&mut self, data: Json<'_>, items: &mut Items<'_>) {
        let [content, message, api_call, output, model, requests] = data.fields([
            "content",
            "messageId",
            "apiCallId",
            "outputTokens",
            "model",
            "toolRequests",
        ]);
        if let Some(content) = text(content) {
            items.emit(self.origin(), &Item::Answer(content));
        }
        self.leg.has_answers = true;
        let model = text(model).map(|model| model.decode().into_owned());
        if let Some(model) = &model {
            self.agent_models.insert(self.agent.clone(), model.clone());
        }
        let mut counts = CountReader::default();
        let output = output.filter(|output| !output.is_null());
        let figures = Figures {
            output: counts.read(output),
            ..Figures::default()
        };
        if counts.is_incomplete {
            items.note_damage();
        }
        let (Some(id), Some(_)) = (text(api_call).or(text(message)), output) else {
            return;
        };
        let calls = requests.iter().flat_map(Json::elements);
        let calls = calls.filter_map(|call| text(call.field("toolCallId")));
        let row = NewRow {
            message_id: &id.decode(),
            line: items.line(),
            time: self.time,
            agent: self.agent.as_deref(),
            model: model.as_deref(),
            selected_model: self.model.as_deref(),
            // Sub-agents have their own, which is not recorded.
            effort: self.effort.as_deref().filter(|_| self.agent.is_none()),
            figures,
            is_incomplete: counts.is_incomplete,
            is_compaction: false,
        };
        let calls = calls.map(|call| self.call_id(&call.decode()));
        let calls: Vec<String> = calls.collect();
        self.leg.add(&row, &calls);
    }

    fn read_compaction(&mut self, data: Json<'_>, id: Option<Json<'_>>, items: &mut Items<'_>) {
        let [success, used] = data.fields(["success", "compactionTokensUsed"]);
        if success.and_then(|success| success.bool()) != Some(false) {
            items.emit(self.origin(), &Item::Compaction);
        }
        let (Some(id), Some(used)) = (text(id), used.filter(|used| used.is_object())) else {
            return;
        };
        // Newer versions use the names of the line that ends a leg.
        let short = used.fields(["input", "output", "cachedInput", "cachedWrite"]);
        let long = used.fields([
            "inputTokens",
            "outputTokens",
            "cacheReadTokens",
            "cacheWriteTokens",
        ]);
        let mut counts = CountReader::default();
        let mut figure = |long: Option<Json<'_>>, short| counts.read(long.or(short));
        let input = figure(long[0], short[0]);
        let output = figure(long[1], short[1]);
        let cache_read = figure(long[2], short[2]);
        let cache_written = figure(long[3], short[3]);
        let figures = Figures {
            input: input
                .saturating_sub(cache_read.saturating_add(cache_written))
                .max(0),
            cache_read,
            cache_written,
            output,
            thinking: 0,
        };
        if counts.is_incomplete {
            items.note_damage();
        }
        let model = text(used.field("model")).map(|model| model.decode().into_owned());
        let row = NewRow {
            message_id: &format!("compaction:{id}"),
            line: items.line(),
            time: self.time,
            agent: self.agent.as_deref(),
            model: model.as_deref(),
            selected_model: self.model.as_deref(),
            effort: None,
            figures,
            is_incomplete: counts.is_incomplete,
            is_compaction: true,
        };
        if figures != Figures::default() || counts.is_incomplete {
            self.leg.add(&row, &[]);
        }
    }

    /// The origin of an item of a sub-agent, or of the main agent, without its time.
    fn origin_of<'a>(&'a self, agent: Option<&'a str>) -> Origin<'a> {
        let kind = agent.and_then(|agent| self.agent_types.get(agent));
        Origin {
            session_id: plain(&self.session_id),
            is_sidechain: agent.is_some(),
            agent_id: agent.map(Text::plain),
            agent_type: kind.map(|kind| Text::plain(kind)),
            cwd: plain(&self.cwd),
            git_branch: plain(&self.git_branch),
            agent_version: plain(&self.version),
            ..Origin::default()
        }
    }
}

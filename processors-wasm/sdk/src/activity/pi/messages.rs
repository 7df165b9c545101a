//! Messages: prompts, responses with their tokens and calls, and results of calls.

use std::borrow::Cow;

use crate::Timestamp;
use crate::activity::counts::{CountReader, is_counted_up, stable_hash, text_hash};
use crate::activity::driver::{Items, Reader};
use crate::activity::pi::PiReader;
use crate::activity::values::{RecentIds, joined_text, mcp_server, plain, text, time_of_millis};
use crate::activity::{
    Call, CallFailure, CallResult, CallTarget, Item, Prompt, ReportedUsage, Request, Tokens,
    Unrecorded,
};
use crate::json::{Json, Text};

/// Roles of messages that no item needs: what a person ran, and what the agent or an extension
/// added.
const OTHER_ROLES: &[&str] = &[
    "bashExecution",
    "branchSummary",
    "compactionSummary",
    "developer",
    "fileMention",
    "hookMessage",
    "jsExecution",
    "pythonExecution",
    "system",
];

/// The last line of a command that failed, before its exit code.
const EXIT: &str = "Command exited with code ";

/// Words of results of calls that a person rejected or interrupted, in lower case.
const REJECTIONS: &[&str] = &["abort", "cancel", "reject"];

/// The number of bytes of a result that are searched for these words.
const BEGINNING_BYTES: usize = 200;

/// The message times of calls whose ids are counted up, until their results.
pub(super) type CallPrefixes = RecentIds<i64>;

/// A request, without the message that it is in.
struct Usage<'a> {
    usage: Json<'a>,
    response_id: Option<Text<'a>>,
    provider: Option<Text<'a>>,
    model: Option<Text<'a>>,
    stop_reason: Option<Text<'a>>,
    /// When the request began. Copies preserve it.
    time: Option<Timestamp>,
}

impl PiReader {
    pub(super) fn read_message(&mut self, message: Json<'_>, items: &mut Items<'_>) {
        let [role, time] = message.fields(["role", "timestamp"]);
        let role = text(role).map(|role| role.decode()).unwrap_or_default();
        let time = time_of_millis(time).or(self.time);
        match &*role {
            "user" => self.read_prompt(message, items),
            "assistant" => self.read_response(message, time, items),
            "toolResult" => self.read_result(message, items),
            "custom" => self.read_custom(message, items),
            known if OTHER_ROLES.contains(&known) => {}
            unknown => {
                let name = format!("message/{unknown}");
                items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
            }
        }
    }

    fn read_prompt(&self, message: Json<'_>, items: &mut Items<'_>) {
        let [content, attribution] = message.fields(["content", "attribution"]);
        let is_of_person = attribution.is_none_or(|by| by.text().is_some_and(|by| by == "user"));
        let Some(content) = content.filter(|_| is_of_person && !self.is_sub_agent) else {
            return;
        };
        let text = joined_text(content);
        let has_image = || content.elements().next().is_some();
        if let Some(skill) = skill_of(&text) {
            items.emit(self.origin(), &Item::Command(Text::plain(skill)));
        } else if !text.trim().is_empty() || has_image() {
            items.emit(self.origin(), &Item::Prompt(Prompt { text: &text }));
        }
    }

    /// Reads a message of an extension. Oh My Pi writes the skills that a person calls as such.
    pub(super) fn read_custom(&self, message: Json<'_>, items: &mut Items<'_>) {
        let [kind, attribution, details] = message.fields(["customType", "attribution", "details"]);
        let is_skill = text(kind).is_some_and(|kind| kind == "skill-prompt");
        let is_of_agent = text(attribution).is_some_and(|by| by == "agent");
        let name = text(details.and_then(|details| details.field("name")));
        if let Some(name) = name.filter(|_| is_skill && !is_of_agent && !self.is_sub_agent) {
            items.emit(self.origin(), &Item::Command(name));
        }
    }

    fn read_response(&mut self, message: Json<'_>, time: Option<Timestamp>, items: &mut Items<'_>) {
        let [content, provider, model, usage, stop_reason, response_id] = message.fields([
            "content",
            "provider",
            "model",
            "usage",
            "stopReason",
            "responseId",
        ]);
        if let Some(answer) = text(content) {
            items.emit(self.origin(), &Item::Answer(answer));
        }
        for part in content.iter().flat_map(Json::elements) {
            let [kind, said] = part.fields(["type", "text"]);
            match text(kind) {
                Some(kind) if kind == "text" => {
                    if let Some(said) = text(said) {
                        items.emit(self.origin(), &Item::Answer(said));
                    }
                }
                Some(kind) if kind == "toolCall" => {
                    self.read_call(part, text(model), time, items);
                }
                _ => {}
            }
        }
        if let Some(usage) = usage.filter(|usage| usage.is_object()) {
            let usage = Usage {
                usage,
                response_id: text(response_id),
                provider: text(provider),
                model: text(model),
                stop_reason: text(stop_reason),
                time,
            };
            self.read_usage(&usage, items);
        }
    }

    /// Reads a request besides the conversation, for example for the title.
    pub(super) fn read_model_usage(&self, entry: Json<'_>, items: &mut Items<'_>) {
        let [provider, model, usage, stop_reason] =
            entry.fields(["provider", "model", "usage", "stopReason"]);
        if let Some(usage) = usage.filter(|usage| usage.is_object()) {
            let usage = Usage {
                usage,
                response_id: None,
                provider: text(provider),
                model: text(model),
                stop_reason: text(stop_reason),
                time: self.time,
            };
            self.read_usage(&usage, items);
        }
    }

    fn read_usage(&self, request: &Usage<'_>, items: &mut Items<'_>) {
        let mut counts = CountReader::default();
        let tokens = tokens(&mut counts, request.usage);
        if counts.is_incomplete {
            items.note_damage();
        }
        let is_stopped = |reason: &str| request.stop_reason.is_some_and(|stop| stop == reason);
        let billed = [
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_creation,
        ];
        if billed.iter().all(|count| *count == Some(0)) && !counts.is_incomplete {
            // An error of the API is not billed.
            if is_stopped("aborted") {
                items.emit(self.origin(), &Item::Unrecorded(Unrecorded::AbortedTurn));
            }
            return;
        }
        let time = request.time.map_or(0, Timestamp::micros);
        let model = request.model.map(|model| model.decode());
        let model_hash = text_hash(model.as_deref().unwrap_or_default()).cast_signed();
        let numbers = [Some(time), Some(model_hash)].into_iter().chain(billed);
        let numbers: Vec<i64> = numbers.map(Option::unwrap_or_default).collect();
        let response_id = request.response_id.map(|id| id.decode());
        let message_id = response_id.unwrap_or_else(|| Cow::Owned(format!("pi:{time}")));
        let request_id = format!("pi:{:016x}", stable_hash(&numbers));
        let cost = request.usage.field("cost");
        let cost = cost.and_then(|cost| cost.field("total")?.f64());
        let reported = ReportedUsage {
            model: request.model,
            tokens,
            cost_usd: cost.filter(|cost| cost.is_finite() && *cost >= 0.0),
        };
        let request = Request {
            message_id: &message_id,
            request_id: &request_id,
            model: request.model,
            provider: request.provider,
            speed: None,
            effort: plain(&self.thinking_level),
            stop_reason: request.stop_reason,
            tokens,
            count: 1,
            is_final: !counts.is_incomplete && !is_stopped("aborted") && !is_stopped("error"),
        };
        items.emit(self.origin(), &Item::Request(request));
        items.emit(self.origin(), &Item::Reported(reported));
    }

    fn read_call(
        &mut self,
        part: Json<'_>,
        model: Option<Text<'_>>,
        time: Option<Timestamp>,
        items: &mut Items<'_>,
    ) {
        let [id, name, arguments] = part.fields(["id", "name", "arguments"]);
        let id = text(id).map(|id| id.decode());
        if let Some(id) = id.as_deref().filter(|id| is_counted_up(id)) {
            self.calls.insert(id, time.map_or(0, Timestamp::micros));
        }
        let id = id.as_deref().map(|id| unique_id(id, self.calls.get(id)));
        let name = text(name).map(|name| name.decode()).unwrap_or_default();
        let argument = |field: &str| text(arguments.and_then(|arguments| arguments.field(field)));
        let path = argument("path").map(|path| path.decode());
        let skill = path
            .as_deref()
            .and_then(|path| path.strip_prefix("skill://"));
        let target = match (&*name, mcp_server(&name), skill) {
            (_, Some(server), _) => CallTarget::Mcp(Some(Text::plain(server))),
            ("task" | "subagent", ..) => CallTarget::SubAgent(argument("agent")),
            ("read", _, Some(skill)) => {
                let skill = skill.split('/').next().filter(|skill| !skill.is_empty());
                CallTarget::Skill(skill.map(Text::plain))
            }
            _ => CallTarget::Tool,
        };
        let call = Call {
            id: id.as_deref(),
            name: Some(Text::plain(&name)).filter(|name| !name.is_empty()),
            target,
            input: arguments,
            model,
        };
        items.emit(self.origin(), &Item::Call(call));
    }

    fn read_result(&mut self, message: Json<'_>, items: &mut Items<'_>) {
        let [id, content, is_error] = message.fields(["toolCallId", "content", "isError"]);
        let Some(id) = text(id).map(|id| id.decode()) else {
            return;
        };
        let id = unique_id(&id, self.calls.take(&id).as_ref());
        let parts = || content.iter().flat_map(Json::elements);
        let first = text(content).or_else(|| parts().find_map(|part| text(part.field("text"))));
        let is_error = is_error.and_then(|is_error| is_error.bool()) == Some(true);
        let result = CallResult {
            call_id: Some(&id),
            failure: content
                .filter(|_| is_error)
                .map(failure_of)
                .or(is_error.then_some(CallFailure::ToolError)),
            text: first,
            duration_ms: None,
        };
        items.emit(self.origin(), &Item::Result(result));
    }
}

/// Reads the tokens of a request.
fn tokens(counts: &mut CountReader, usage: Json<'_>) -> Tokens {
    let [
        input,
        output,
        cache_read,
        cache_write,
        reasoning,
        lifetimes,
        orchestration,
    ] = usage.fields([
        "input",
        "output",
        "cacheRead",
        "cacheWrite",
        "reasoningTokens",
        "cttl",
        "orchestration",
    ]);
    let hour = lifetimes.and_then(|lifetimes| lifetimes.field("ephemeral1h"));
    // Requests that the provider made for the answer. They are billed in addition.
    let orchestration = orchestration.map_or([None; 3], |usage| {
        usage.fields(["input", "output", "cacheRead"])
    });
    let mut count = |field| counts.read(field);
    let [more_input, more_output, more_read] = orchestration.map(&mut count);
    Tokens {
        input: Some(count(input) + more_input),
        output: Some(count(output) + more_output),
        cache_read: Some(count(cache_read) + more_read),
        cache_creation: Some(count(cache_write)),
        cache_creation_1h_split: hour.map(|hour| count(Some(hour))),
        thinking: reasoning.map(|reasoning| count(Some(reasoning))),
        ..Tokens::default()
    }
}

/// The id of a call, unique across sessions. Ids that are counted up have the time of their message
/// before them, which copies preserve.
fn unique_id(id: &str, message_time: Option<&i64>) -> String {
    match message_time {
        Some(time) => format!("pi:{time}/{id}"),
        None => id.to_owned(),
    }
}

/// How a call failed, by its result.
fn failure_of(content: Json<'_>) -> CallFailure {
    let text = joined_text(content);
    let last = text.trim_end().lines().next_back().unwrap_or_default();
    let code = last
        .strip_prefix(EXIT)
        .map(|code| code.trim_end_matches('.'));
    if code.is_some_and(|code| code.parse::<i64>().is_ok_and(|code| code != 0)) {
        return CallFailure::ExitCode;
    }
    let beginning = &text[..text.floor_char_boundary(BEGINNING_BYTES)];
    let beginning = beginning.to_lowercase();
    if REJECTIONS.iter().any(|word| beginning.contains(word)) {
        CallFailure::Rejected
    } else {
        CallFailure::ToolError
    }
}

/// The skill that a person called. pi replaces `/skill:name` by the text of the skill.
fn skill_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("<skill name=\"")?;
    let (name, _) = rest.split_once('"')?;
    Some(name).filter(|name| !name.is_empty())
}

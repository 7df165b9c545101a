//! Takes the calls, results and commands of agents other than Claude Code.

use session_pipeline_processor::activity::{Call, CallFailure, CallResult, CallTarget, Origin};
use session_pipeline_processor::json::Text;

use crate::errors::ErrorClass;
use crate::events::subject::{Subject, plugin_of};
use crate::events::timing::AgentRun;
use crate::events::{Caller, Events, Record, Source, matching};
use crate::place::Place;
use crate::strings::{Strings, hash};

impl Events {
    /// Adds a call. Its id identifies it in every file.
    pub fn add_item_call<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        origin: &Origin<'a>,
        call: &Call<'a>,
        caller: Caller,
    ) {
        let id = call.id.filter(|id| !id.is_empty());
        if id.is_some_and(|id| self.ids.is_called(strings, id)) {
            return;
        }
        let name = call.name.map(|name| name.decode()).unwrap_or_default();
        let content = hash(&(&*name, call.input.map(|input| input.raw())));
        let key = match id {
            Some(_) => None,
            None => {
                let key = self
                    .keys
                    .of_line(place, None, &format!("{name}/{content:016x}"));
                Some(strings.keep(&key))
            }
        };
        let mut plugin = None;
        let subject = match call.target {
            CallTarget::Skill(skill) => {
                plugin = skill.and_then(|skill| plugin_of(strings, &skill.decode()));
                Subject::Skill(strings.intern_text(skill))
            }
            CallTarget::SubAgent(kind) => {
                let kind = strings.intern_text(kind);
                Subject::Subagent(kind.unwrap_or_else(|| strings.intern(&name)))
            }
            CallTarget::Mcp(server) => Subject::Mcp(strings.intern_text(server)),
            _ => Subject::Tool,
        };
        let record = Record {
            tool_id: id.map(|id| strings.keep(id)),
            tool_name: (!name.is_empty()).then(|| strings.intern(&name)),
            event_key: key,
            content,
            response: caller.response,
            agent: caller.agent,
            ..source(place, origin, call.model).record(strings, subject, plugin)
        };
        self.push(strings, record);
        if let Some(id) = id {
            self.ids.call(strings, &mut self.records, id);
        }
    }

    /// Adds a result.
    pub fn add_item_result(
        &mut self,
        strings: &mut Strings,
        place: &Place<'_>,
        origin: &Origin<'_>,
        result: &CallResult<'_>,
    ) {
        let answer = matching::CallResult {
            id: result.call_id.map(Text::plain),
            uuid: None,
            failure: result.failure.map(class_of),
            line: place.line,
            finished_at: origin.time,
            is_unique: Some(true),
        };
        let Some(at) = self.ids.answer(strings, &mut self.records, &answer) else {
            return;
        };
        if let Some(answer) = &mut self.records[at].answer {
            answer.run = result.duration_ms.map(AgentRun::Finished);
        }
    }

    /// Adds a slash command.
    pub fn add_item_command<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        origin: &Origin<'a>,
        name: Text<'a>,
    ) {
        let name = name.decode();
        let key = self.keys.of_line(place, None, &name);
        let subject = Subject::Command(strings.intern(&name));
        let plugin = plugin_of(strings, &name);
        let record = Record {
            event_key: Some(strings.keep(&format!("{key}/command"))),
            ..source(place, origin, None).record(strings, subject, plugin)
        };
        self.push(strings, record);
    }
}

fn source<'e, 'a>(
    place: &'e Place<'a>,
    origin: &Origin<'a>,
    model: Option<Text<'a>>,
) -> Source<'e, 'a> {
    Source {
        place,
        called_at: origin.time,
        uuid: None,
        parent_uuid: None,
        model,
        is_sidechain: origin.is_sidechain,
    }
}

fn class_of(failure: CallFailure) -> ErrorClass {
    match failure {
        CallFailure::ExitCode => ErrorClass::ExitCode,
        CallFailure::Rejected => ErrorClass::Rejected,
        _ => ErrorClass::ToolError,
    }
}

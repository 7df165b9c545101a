//! Writes the transcript of one agent: responses with their tokens, calls, and results.

use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_host::clock::UtcMicros;

use super::context::{Context, TokenUse};
use super::models::Model;
use super::random::{Random, Spread};
use super::totals::Totals;
use crate::session::Transcript;

/// The time until a response has ended, in seconds.
const RESPONSE_SECONDS: Spread = [2, 3, 5, 8, 14, 26, 55, 120];

/// What models think. The API returns a summary, and only sometimes.
const THOUGHTS: &[&str] = &[
    "The test fails before the change and passes after it, so the cause is confirmed. The other caller has the same problem, but it is out of scope. I should mention it.",
    "The user wants the smallest change. I should not touch the public interface.",
    "Two explanations are possible: a race between both writers, or a retry after the timeout. The log has only one request id, which rules out the retry.",
    "I should check whether something else depends on the order of these rows before I sort them.",
    "The failure is in the fixture and not in the code. Let me read the fixture first.",
    "This could be done with a migration, but the user asked for no downtime. A new column with a default is safe.",
];

/// A tool call with its result.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) tool: &'static str,
    pub(super) input: Value,
    /// The result for the model, or the text of the failure.
    pub(super) result: Result<String, String>,
    /// The result in the format of the tool.
    pub(super) details: Value,
    pub(super) seconds: u64,
    /// The size of the result for the model. The demo keeps only the beginning of a long result.
    pub(super) tokens: u64,
}

/// The causes that the agent records with a response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cause {
    pub(super) skill: Option<&'static str>,
    pub(super) plugin: Option<&'static str>,
    pub(super) mcp_server: Option<&'static str>,
}

/// How the transcript records the end of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its final counts.
    Final,
    /// Only with the counts at its beginning.
    Open,
}

/// A finished transcript.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// The path below the sessions root.
    pub(super) key: String,
    pub(super) bytes: Vec<u8>,
    pub(super) ended_at: UtcMicros,
    pub(super) is_subagent: bool,
}

/// The transcript of one agent while it grows.
#[derive(Debug)]
pub(super) struct Recorder {
    /// `None` only while a line is added.
    transcript: Option<Transcript>,
    pub(super) random: Random,
    pub(super) context: Context,
    pub(super) model: &'static Model,
    pub(super) effort: Option<&'static str>,
    pub(super) cause: Cause,
    pub(super) totals: Totals,
    pub(super) responses: u64,
    pub(super) calls: u64,
    /// The tokens of the last response.
    pub(super) last: TokenUse,
}

impl Recorder {
    pub(super) fn new(
        transcript: Transcript,
        mut random: Random,
        model: &'static Model,
        has_long_cache: bool,
    ) -> Self {
        let transcript = transcript
            .random_uuids(random.next())
            .member("userType", json!("external"));
        Self {
            transcript: Some(transcript),
            context: Context::new(&mut random, has_long_cache),
            random,
            model,
            effort: None,
            cause: Cause::default(),
            totals: Totals::default(),
            responses: 0,
            calls: 0,
            last: TokenUse::default(),
        }
    }

    /// Adds lines.
    pub(super) fn add(&mut self, lines: impl FnOnce(Transcript) -> Transcript) {
        self.transcript = self.transcript.take().map(lines);
    }

    /// Lets this many seconds and a part of a second pass.
    pub(super) fn wait(&mut self, time: u64) {
        let time = Duration::from_millis(time * 1_000 + self.random.below(1_000));
        self.add(|transcript| transcript.wait(time));
    }

    /// The time of the next line.
    pub(super) fn now(&self) -> UtcMicros {
        let transcript = self.transcript.as_ref();
        transcript.map_or_else(UtcMicros::default, Transcript::now)
    }

    /// The transcript.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let transcript = self.transcript.as_ref();
        transcript.map_or_else(Vec::new, |transcript| transcript.bytes().to_vec())
    }

    /// Adds a response without calls.
    pub(super) fn say(&mut self, text: &str, ending: Ending) {
        let thought = self.thought();
        self.respond(thought, Some(text), &[], ending);
    }

    /// Adds a response that makes calls, and their results.
    pub(super) fn call(&mut self, text: Option<&str>, calls: &[Call]) {
        let thought = self.thought();
        let ids = self.respond(thought, text, calls, Ending::Final);
        for (id, call) in ids.iter().zip(calls) {
            self.result(id, call);
        }
    }

    /// A thought before some responses.
    fn thought(&mut self) -> Option<&'static str> {
        let percent = if self.effort.is_some() { 18 } else { 6 };
        let thinks = self.random.percent(percent);
        thinks.then(|| self.random.pick(THOUGHTS))
    }

    /// Adds a response. Returns the ids of its calls.
    pub(super) fn respond(
        &mut self,
        thought: Option<&str>,
        text: Option<&str>,
        calls: &[Call],
        ending: Ending,
    ) -> Vec<String> {
        let time = self.random.spread(&RESPONSE_SECONDS);
        self.wait(time);
        let now = self.now();
        let tokens = self.context.respond(&mut self.random, now);
        let id = format!("msg_01{}", self.random.letters(22));
        let request = format!("req_011C{}", self.random.letters(20));
        let ids = calls.iter();
        let ids = ids.map(|_| format!("toolu_01{}", self.random.letters(22)));
        let ids: Vec<String> = ids.collect();
        let (model, effort, cause) = (self.model, self.effort, self.cause);
        self.add(|transcript| {
            transcript.assistant(|mut message| {
                message = message.id(&id).request(&request).model(model.id);
                message = message.tokens(tokens.input, tokens.output).cache(
                    tokens.cache_read,
                    tokens.written_5m,
                    tokens.written_1h,
                );
                let members = [
                    ("effort", effort),
                    ("attributionSkill", cause.skill),
                    ("attributionPlugin", cause.plugin),
                    ("attributionMcpServer", cause.mcp_server),
                ];
                for (name, value) in members {
                    if let Some(value) = value {
                        message = message.member(name, json!(value));
                    }
                }
                if let Some(thought) = thought {
                    message = message.thinking(thought);
                }
                if let Some(text) = text {
                    message = message.text(text);
                }
                for (id, call) in ids.iter().zip(calls) {
                    message = message.tool_use(id, call.tool, call.input.clone());
                }
                match ending {
                    Ending::Final => message,
                    Ending::Open => message
                        .streaming()
                        .usage("output_tokens", json!(tokens.output % 8 + 1)),
                }
            })
        });
        self.totals.add(model, &tokens);
        self.totals.api_seconds += time;
        self.cause.mcp_server = None;
        self.responses += 1;
        self.calls += calls.len() as u64;
        self.last = tokens;
        ids
    }

    /// Adds the result of a call.
    pub(super) fn result(&mut self, id: &str, call: &Call) {
        self.wait(call.seconds);
        self.totals.tool_seconds += call.seconds;
        self.context.add(call.tokens);
        if call.tool == "WebSearch" {
            self.totals.add_search(self.model);
        }
        let (Ok(text) | Err(text)) = &call.result;
        let mut block = json!({ "type": "tool_result", "tool_use_id": id, "content": text });
        let mut details = call.details.clone();
        if call.result.is_err() {
            block["is_error"] = json!(true);
            details = json!(format!("Error: {text}"));
        }
        let patch = details["structuredPatch"].as_array();
        let lines = patch.into_iter().flatten();
        let lines = lines.flat_map(|hunk| hunk["lines"].as_array().into_iter().flatten());
        for line in lines.filter_map(Value::as_str) {
            self.totals.lines_added += u64::from(line.starts_with('+'));
            self.totals.lines_removed += u64::from(line.starts_with('-'));
        }
        self.add(|transcript| transcript.tool_result_block(block, details));
    }
}

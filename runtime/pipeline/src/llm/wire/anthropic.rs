//! Anthropic's Messages API. docs/llm.md links to its reference.
//!
//! JSON answers use `output_config.format` (structured outputs), or the input of a tool that the
//! model must call.

use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::llm::key::ApiKey;
use crate::llm::schema;
use crate::llm::wire::{
    AttemptFailure, DecodedAnswer, JsonMode, PreparedRequest, TokenCounts, Wire, document_in,
    invalid_document, json_headers, sensitive, with_schema_in_words,
};

/// The API version in every request.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The tool whose input is the answer.
const TOOL: &str = "answer";

#[derive(Debug)]
pub(in crate::llm) struct Anthropic;

#[derive(Debug, Deserialize)]
struct Message {
    content: Vec<Block>,
    model: String,
    stop_reason: Option<String>,
    usage: Usage,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        name: String,
        input: Value,
    },
    #[serde(other)]
    Other,
}

/// Required counts must be numbers. Cache counts can be absent.
#[derive(Debug, Deserialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

impl Wire for Anthropic {
    fn path(&self) -> &'static str {
        "v1/messages"
    }

    fn headers(&self, key: Option<&ApiKey>) -> HeaderMap {
        let mut headers = json_headers();
        headers.insert("anthropic-version", VERSION);
        if let Some(key) = key.and_then(|key| sensitive(key.expose())) {
            headers.insert("x-api-key", key);
        }
        headers
    }

    fn body(&self, question: &PreparedRequest<'_>) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("model", json!(question.model));
        put("max_tokens", json!(question.max_tokens));
        let prompt = json!({"role": "user", "content": question.request.prompt});
        put("messages", json!([prompt]));
        let mut system = question.request.system.clone();
        match (question.schema, question.json_mode) {
            (None, _) => {}
            (Some(schema), JsonMode::Schema) => {
                let schema = schema::closed(schema);
                let format = json!({"type": "json_schema", "schema": schema});
                put("output_config", json!({"format": format}));
            }
            (Some(schema), JsonMode::Json) => {
                let tool = json!({
                    "name": TOOL,
                    "description": "Takes the whole answer.",
                    "input_schema": schema,
                });
                put("tools", json!([tool]));
                put("tool_choice", json!({"type": "tool", "name": TOOL}));
            }
            (Some(schema), JsonMode::Plain) => {
                system = Some(with_schema_in_words(system.as_deref(), schema));
            }
        }
        if let Some(system) = system {
            put("system", json!(system));
        }
        Value::Object(body)
    }

    fn read(
        &self,
        question: &PreparedRequest<'_>,
        body: &[u8],
    ) -> (TokenCounts, Result<DecodedAnswer, AttemptFailure>) {
        let Ok(message) = serde_json::from_slice::<Message>(body) else {
            return (TokenCounts::default(), Err(invalid_document()));
        };
        let cached = message.usage.cache_creation_input_tokens.unwrap_or(0);
        let cached = cached.saturating_add(message.usage.cache_read_input_tokens.unwrap_or(0));
        let tokens = TokenCounts {
            input: message.usage.input_tokens.saturating_add(cached),
            output: message.usage.output_tokens,
        };
        (tokens, decode(question, message))
    }
}

fn decode(
    question: &PreparedRequest<'_>,
    message: Message,
) -> Result<DecodedAnswer, AttemptFailure> {
    match message.stop_reason.as_deref() {
        Some("end_turn" | "stop_sequence" | "tool_use") => {}
        Some("max_tokens") => return Err(AttemptFailure::Truncated),
        Some("model_context_window_exceeded") => {
            let reason = "request and answer are larger than the model's context window";
            return Err(AttemptFailure::TooLarge(reason.to_owned()));
        }
        Some("refusal") => {
            return Err(AttemptFailure::Refused(
                "the model refused to answer".to_owned(),
            ));
        }
        // Includes reasons for tools that run on the server, and unknown reasons.
        _ => {
            let reason = "the answer has an unexpected stop reason";
            return Err(AttemptFailure::Malformed(reason.to_owned()));
        }
    }
    let is_by_tool = question.schema.is_some() && question.json_mode == JsonMode::Json;
    let mut text = String::new();
    for block in message.content {
        match block {
            Block::ToolUse { name, input } if is_by_tool && name == TOOL => {
                text = input.to_string();
                break;
            }
            Block::Text { text: more } if !is_by_tool => text.push_str(&more),
            _ => {}
        }
    }
    if text.trim().is_empty() {
        return Err(AttemptFailure::Refused(
            "the model's answer is empty".to_owned(),
        ));
    }
    if question.schema.is_some() {
        let document = document_in(&text).map(str::to_owned);
        text = document.ok_or_else(|| {
            AttemptFailure::Malformed("the model's answer is not JSON".to_owned())
        })?;
    }
    Ok(DecodedAnswer {
        text,
        model: message.model,
    })
}

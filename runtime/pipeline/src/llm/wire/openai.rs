//! OpenAI's chat completions API, as other servers implement it too. docs/llm.md links to its
//! reference.
//!
//! JSON answers use `response_format` of type `json_schema`, or `json_object`, or only the prompt.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::llm::key::ApiKey;
use crate::llm::schema;
use crate::llm::wire::{
    AttemptFailure, DecodedAnswer, JsonMode, PreparedRequest, TokenCounts, Wire, document_in,
    invalid_document, json_headers, sensitive, with_schema_in_words,
};

#[derive(Debug, Default)]
pub(in crate::llm) struct OpenAi {
    /// Newer models accept the limit only as `max_completion_tokens`, older servers only as
    /// `max_tokens`.
    is_limit_renamed: AtomicBool,
}

#[derive(Debug, Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Wire for OpenAi {
    fn path(&self) -> &'static str {
        "chat/completions"
    }

    fn headers(&self, key: Option<&ApiKey>) -> HeaderMap {
        let mut headers = json_headers();
        if let Some(key) = key.and_then(|key| sensitive(&format!("Bearer {}", key.expose()))) {
            headers.insert(AUTHORIZATION, key);
        }
        headers
    }

    fn body(&self, question: &PreparedRequest<'_>) -> Value {
        let limit = if self.is_limit_renamed.load(Ordering::SeqCst) {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        let mut system = question.request.system.clone();
        let mut format = None;
        if let Some(schema) = question.schema {
            match question.json_mode {
                JsonMode::Schema => {
                    format = Some(json!({
                        "type": "json_schema",
                        "json_schema": {"name": "answer", "strict": true, "schema": schema::closed(schema)},
                    }));
                }
                JsonMode::Json => format = Some(json!({"type": "json_object"})),
                JsonMode::Plain => {}
            }
            if question.json_mode != JsonMode::Schema {
                system = Some(with_schema_in_words(system.as_deref(), schema));
            }
        }
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": question.request.prompt}));
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("model", json!(question.model));
        put("messages", json!(messages));
        put("stream", json!(false));
        put(limit, json!(question.max_tokens));
        if let Some(format) = format {
            put("response_format", format);
        }
        Value::Object(body)
    }

    fn read(
        &self,
        question: &PreparedRequest<'_>,
        body: &[u8],
    ) -> (TokenCounts, Result<DecodedAnswer, AttemptFailure>) {
        let Ok(completion) = serde_json::from_slice::<Completion>(body) else {
            return (TokenCounts::default(), Err(invalid_document()));
        };
        let tokens = completion
            .usage
            .as_ref()
            .map_or(TokenCounts::default(), |usage| TokenCounts {
                input: usage.prompt_tokens,
                output: usage.completion_tokens,
            });
        (tokens, decode(question, completion))
    }

    fn rename_limit(&self) -> bool {
        !self.is_limit_renamed.swap(true, Ordering::SeqCst)
    }
}

fn decode(
    question: &PreparedRequest<'_>,
    completion: Completion,
) -> Result<DecodedAnswer, AttemptFailure> {
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(invalid_document());
    };
    if choice.message.refusal.is_some_and(|text| !text.is_empty()) {
        return Err(AttemptFailure::Refused(
            "the model refused to answer".to_owned(),
        ));
    }
    match choice.finish_reason.as_deref() {
        Some("stop") => {}
        Some("length") => return Err(AttemptFailure::Truncated),
        Some("content_filter") => {
            let reason = "the provider's filter withheld the answer";
            return Err(AttemptFailure::Refused(reason.to_owned()));
        }
        _ => {
            let reason = "the answer has an unexpected finish reason";
            return Err(AttemptFailure::Malformed(reason.to_owned()));
        }
    }
    let mut text = choice.message.content.unwrap_or_default();
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
        model: completion
            .model
            .unwrap_or_else(|| question.model.to_owned()),
    })
}

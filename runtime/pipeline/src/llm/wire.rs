//! Wire formats: how a request is encoded and an answer decoded. Each submodule implements one
//! format.
//!
//! Answers are untrusted. They are parsed into typed values or an error class. Errors never contain
//! text of a provider, because it can repeat the request.

mod anthropic;
mod openai;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use session_pipeline_host::model::{LlmErrorClass, LlmRequest};

use crate::config::{LlmConfig, Provider, StructuredOutput};
use crate::llm::key::ApiKey;

pub(super) use anthropic::Anthropic;
pub(super) use openai::OpenAi;

/// A way to get a JSON answer, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JsonMode {
    /// The server enforces the schema.
    Schema,
    /// The server enforces JSON, or the input of a tool.
    Json,
    /// The prompt asks for JSON.
    Plain,
}

impl JsonMode {
    /// The next mode, if the configuration allows it.
    pub fn next(self, allowed: StructuredOutput) -> Option<Self> {
        match (self, allowed) {
            (Self::Schema, StructuredOutput::Json | StructuredOutput::Auto) => Some(Self::Json),
            (Self::Json, StructuredOutput::Auto) => Some(Self::Plain),
            _ => None,
        }
    }
}

/// The content of one attempt.
#[derive(Clone, Debug)]
pub(super) struct PreparedRequest<'a> {
    pub request: &'a LlmRequest,
    /// The parsed schema of the request.
    pub schema: Option<&'a Value>,
    pub model: &'a str,
    pub max_tokens: u32,
    pub json_mode: JsonMode,
}

/// Token counts of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenCounts {
    pub input: u64,
    pub output: u64,
}

/// The decoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DecodedAnswer {
    pub text: String,
    pub model: String,
}

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AttemptFailure {
    /// A rate limit or an outage. Worth a retry.
    Transient(LlmErrorClass, String),
    /// The server does not support this JSON mode.
    UnsupportedMode,
    /// The server expects the other name of the token limit.
    UnknownLimitName,
    /// The answer was truncated at the token limit.
    Truncated,
    /// The answer is not in the expected format.
    Malformed(String),
    /// The model refused to answer.
    Refused(String),
    /// The request is too large for the model.
    TooLarge(String),
    /// Only the operator can resolve it: key, account, model or address.
    NeedsOperator(String),
    /// The provider rejected the request.
    Failed(String),
}

impl AttemptFailure {
    /// The error class in the contract, if the request ends with this error.
    pub fn class(&self) -> LlmErrorClass {
        match self {
            Self::Transient(class, _) => *class,
            Self::UnsupportedMode | Self::UnknownLimitName | Self::Failed(_) => {
                LlmErrorClass::Failed
            }
            Self::Truncated | Self::Malformed(_) => LlmErrorClass::Malformed,
            Self::Refused(_) => LlmErrorClass::Refused,
            Self::TooLarge(_) => LlmErrorClass::TooLarge,
            Self::NeedsOperator(_) => LlmErrorClass::Unavailable,
        }
    }
}

/// A wire format.
pub(super) trait Wire: std::fmt::Debug + Send + Sync {
    /// The path of requests, relative to the base address.
    fn path(&self) -> &'static str;

    /// The headers of a request, including the key.
    fn headers(&self, key: Option<&ApiKey>) -> HeaderMap;

    /// The body of a request.
    fn body(&self, question: &PreparedRequest<'_>) -> Value;

    /// Decodes the body of a successful answer, with its token counts.
    fn read(
        &self,
        question: &PreparedRequest<'_>,
        body: &[u8],
    ) -> (TokenCounts, Result<DecodedAnswer, AttemptFailure>);

    /// Switches to the other name of the token limit. Returns false if there is none.
    fn rename_limit(&self) -> bool {
        false
    }
}

/// The wire format of a provider.
pub(super) fn of(config: &LlmConfig) -> Box<dyn Wire> {
    match config.provider {
        None | Some(Provider::Anthropic) => Box::new(Anthropic),
        Some(Provider::OpenAiCompat) => Box::new(OpenAi::default()),
    }
}

/// Classifies an unsuccessful status with its error document. Both formats have the same error
/// document.
pub(super) fn classify(question: &PreparedRequest<'_>, status: u16, body: &[u8]) -> AttemptFailure {
    let error = serde_json::from_slice::<ErrorDocument>(body);
    let error = error.map(|document| document.error).unwrap_or_default();
    let text = error.words();
    let mentions = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let named = match error.name() {
        Some(name) => format!("status {status}, {name}"),
        None => format!("status {status}"),
    };
    match status {
        300..=399 => AttemptFailure::NeedsOperator(format!(
            "the server redirects requests ({named}), and redirects are not followed; set `llm.base_url` to the final address"
        )),
        401 | 403 => AttemptFailure::NeedsOperator(format!(
            "the key was rejected ({named}); check the key and its permissions"
        )),
        402 => {
            AttemptFailure::NeedsOperator(format!("payment required ({named}); check the account"))
        }
        404 | 405 | 410 => AttemptFailure::NeedsOperator(format!(
            "unknown model `{}` or wrong address ({named}); check `llm.model` and `llm.base_url`",
            session_pipeline_host::fault::printable(question.model)
        )),
        408 => AttemptFailure::Transient(
            LlmErrorClass::TimeOut,
            format!("the server timed out ({named})"),
        ),
        429 if mentions(&["insufficient_quota", "spend_limit", "billing"]) => {
            AttemptFailure::NeedsOperator(format!(
                "the account has no credit left ({named}); check the account"
            ))
        }
        429 => AttemptFailure::Transient(
            LlmErrorClass::RateLimited,
            format!("rate limited ({named})"),
        ),
        409 | 425 | 500..=599 => AttemptFailure::Transient(
            LlmErrorClass::Unavailable,
            format!("the server is unavailable ({named})"),
        ),
        413 => {
            AttemptFailure::TooLarge(format!("the request is too large for the server ({named})"))
        }
        400 | 422 if mentions(&["max_completion_tokens"]) => AttemptFailure::UnknownLimitName,
        400 | 422
            if mentions(&[
                "context_length",
                "context length",
                "context window",
                "too long",
                "context size",
            ]) =>
        {
            AttemptFailure::TooLarge(format!("the request is too large for the model ({named})"))
        }
        400 if mentions(&["credit balance", "billing", "usage limits", "spend limit"]) => {
            AttemptFailure::NeedsOperator(format!(
                "the account has no credit left ({named}); check the account"
            ))
        }
        400 | 422
            if question.schema.is_some()
                && mentions(&[
                    "response_format",
                    "response format",
                    "output_config",
                    "output_format",
                    "output format",
                    "json_schema",
                    "json_object",
                    "schema",
                    "grammar",
                    "tool",
                ]) =>
        {
            AttemptFailure::UnsupportedMode
        }
        _ => AttemptFailure::Failed(format!("the request was rejected ({named})")),
    }
}

/// `{"error": {"type", "code", "message"}}`, and the variants of other servers.
#[derive(Debug, Default, Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    error: ErrorBody,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    Object(serde_json::Map<String, Value>),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Default for ErrorBody {
    fn default() -> Self {
        Self::Other(serde::de::IgnoredAny)
    }
}

impl ErrorBody {
    /// The whole document in lower case, to search for keywords.
    fn words(&self) -> String {
        match self {
            Self::Object(object) => Value::Object(object.clone()).to_string().to_lowercase(),
            Self::Text(text) => text.to_lowercase(),
            Self::Other(_) => String::new(),
        }
    }

    /// The error's code or type, if it is a plain word, which cannot repeat the request.
    fn name(&self) -> Option<&str> {
        let Self::Object(object) = self else {
            return None;
        };
        let names = ["code", "type"]
            .into_iter()
            .filter_map(|key| object.get(key)?.as_str());
        let is_word = |name: &&str| {
            (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        names.into_iter().find(is_word)
    }
}

/// The error for a body that is not JSON in the expected format.
fn invalid_document() -> AttemptFailure {
    AttemptFailure::Malformed("the provider's answer is not JSON in the expected format".to_owned())
}

/// The system text with the schema as an instruction, for servers that do not enforce it.
fn with_schema_in_words(system: Option<&str>, schema: &Value) -> String {
    let system = system.unwrap_or_default();
    let gap = if system.is_empty() { "" } else { "\n\n" };
    format!(
        "{system}{gap}Answer with one JSON document that fits this JSON schema, and with nothing before or after it:\n{schema}"
    )
}

/// Extracts the JSON document from a text: the text itself, else the content of a code fence, else
/// everything from the first `{` to the last `}`.
fn document_in(text: &str) -> Option<&str> {
    let is_document = |text: &&str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let fenced = || {
        let (_, rest) = text.split_once("```")?;
        let (_, inside) = rest.split_once('\n')?;
        Some(inside.split_once("```")?.0.trim())
    };
    let braced = || text.get(text.find('{')?..=text.rfind('}')?);
    Some(text.trim())
        .filter(is_document)
        .or_else(|| fenced().filter(is_document))
        .or_else(|| braced().filter(is_document))
}

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// A header value that libraries do not log.
fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

//! How a request becomes bytes, and what an answer says: one file per wire format below.
//!
//! What is read here comes from outside. It fills typed values or is an error of a class; no text of
//! a provider reaches an error, since it may repeat what it was asked.

mod anthropic;
mod openai;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use session_pipeline_host::model::{ErrorClass, Request};

use crate::config::{LlmConfig, Provider, StructuredOutput};
use crate::llm::key::ApiKey;

pub(super) use anthropic::Anthropic;
pub(super) use openai::OpenAi;

/// A way to have an answer be a JSON document, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// The server holds the model to the schema.
    Schema,
    /// The server holds it to JSON, or to a tool's input.
    Json,
    /// The model is asked to.
    Plain,
}

impl Rung {
    /// The next one, where the configuration allows it.
    pub fn next(self, allowed: StructuredOutput) -> Option<Self> {
        match (self, allowed) {
            (Self::Schema, StructuredOutput::Json | StructuredOutput::Auto) => Some(Self::Json),
            (Self::Json, StructuredOutput::Auto) => Some(Self::Plain),
            _ => None,
        }
    }
}

/// What is asked in one attempt.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub request: &'a Request,
    /// The schema of the request, read.
    pub schema: Option<&'a Value>,
    pub model: &'a str,
    pub max_tokens: u32,
    pub rung: Rung,
}

/// Tokens that a provider counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub input: u64,
    pub output: u64,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub text: String,
    pub model: String,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may go away: a limit or an outage. Asked again.
    Passing(ErrorClass, String),
    /// The server does not know this way to a JSON document.
    UnknownWay,
    /// The server wants the limit of tokens by its other name.
    OtherLimitName,
    /// The answer was cut off at the limit of tokens.
    Truncated,
    /// The answer is none.
    Malformed(String),
    /// The model refused.
    Refused(String),
    /// The request is too large for the model.
    TooLarge(String),
    /// Only the operator can help: key, account, model or address.
    Operator(String),
    /// The provider does not take this request.
    Failed(String),
}

impl Trouble {
    /// The class of the contract, if it ends here.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Passing(class, _) => *class,
            Self::UnknownWay | Self::OtherLimitName | Self::Failed(_) => ErrorClass::Failed,
            Self::Truncated | Self::Malformed(_) => ErrorClass::Malformed,
            Self::Refused(_) => ErrorClass::Refused,
            Self::TooLarge(_) => ErrorClass::TooLarge,
            Self::Operator(_) => ErrorClass::Unavailable,
        }
    }
}

/// A wire format.
pub(super) trait Wire: std::fmt::Debug + Send + Sync {
    /// Where requests go, below the base address.
    fn path(&self) -> &'static str;

    /// The header that carries the key, and others.
    fn headers(&self, key: Option<&ApiKey>) -> HeaderMap;

    /// The body of a request.
    fn body(&self, question: &Question<'_>) -> Value;

    /// What a good status's body says, with the tokens that were counted.
    fn read(&self, question: &Question<'_>, body: &[u8]) -> (Tokens, Result<Said, Trouble>);

    /// Told that the server wants the limit of tokens by its other name; whether there is one.
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

/// What a status other than 200 means, and the error document that came with it: both formats have
/// the same.
pub(super) fn trouble(question: &Question<'_>, status: u16, body: &[u8]) -> Trouble {
    let error = serde_json::from_slice::<ErrorDocument>(body);
    let error = error.map(|document| document.error).unwrap_or_default();
    let said = error.words();
    let mentions = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let named = match error.name() {
        Some(name) => format!("status {status}, {name}"),
        None => format!("status {status}"),
    };
    match status {
        300..=399 => Trouble::Operator(format!(
            "it sends requests elsewhere ({named}), which nobody follows; set `llm.base_url` to the final address"
        )),
        401 | 403 => Trouble::Operator(format!(
            "it does not take the key ({named}); check the key and what it may be used for"
        )),
        402 => Trouble::Operator(format!("it wants to be paid ({named}); see to the account")),
        404 | 405 | 410 => Trouble::Operator(format!(
            "it does not know the model `{}` or the address ({named}); check `llm.model` and `llm.base_url`",
            session_pipeline_host::fault::printable(question.model)
        )),
        408 => Trouble::Passing(ErrorClass::TimeOut, format!("it took too long ({named})")),
        429 if mentions(&["insufficient_quota", "spend_limit", "billing"]) => Trouble::Operator(
            format!("the account's money is spent ({named}); see to the account"),
        ),
        429 => Trouble::Passing(
            ErrorClass::RateLimited,
            format!("it asks to slow down ({named})"),
        ),
        409 | 425 | 500..=599 => Trouble::Passing(
            ErrorClass::Unavailable,
            format!("it is out of order ({named})"),
        ),
        413 => Trouble::TooLarge(format!("the request is too large for it ({named})")),
        400 | 422 if mentions(&["max_completion_tokens"]) => Trouble::OtherLimitName,
        400 | 422
            if mentions(&[
                "context_length",
                "context length",
                "context window",
                "too long",
                "context size",
            ]) =>
        {
            Trouble::TooLarge(format!("the request is too large for the model ({named})"))
        }
        400 if mentions(&["credit balance", "billing", "usage limits", "spend limit"]) => {
            Trouble::Operator(format!(
                "the account's money is spent ({named}); see to the account"
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
            Trouble::UnknownWay
        }
        _ => Trouble::Failed(format!("it does not take the request ({named})")),
    }
}

/// `{"error": {"type", "code", "message"}}`, and what others make of it.
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
    /// All that it says, to look for words in.
    fn words(&self) -> String {
        match self {
            Self::Object(object) => Value::Object(object.clone()).to_string().to_lowercase(),
            Self::Text(text) => text.to_lowercase(),
            Self::Other(_) => String::new(),
        }
    }

    /// Its name, where it has one: a word, which can repeat nothing.
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

/// What a body that should be JSON is not.
fn no_document() -> Trouble {
    Trouble::Malformed("the provider's answer is no JSON of its format".to_owned())
}

/// What follows the system text where the schema is not held to by the server.
fn with_schema_in_words(system: Option<&str>, schema: &Value) -> String {
    let system = system.unwrap_or_default();
    let gap = if system.is_empty() { "" } else { "\n\n" };
    format!(
        "{system}{gap}Answer with one JSON document that fits this JSON schema, and with nothing before or after it:\n{schema}"
    )
}

/// The JSON document in a text that may say more: the text itself, else what stands in a code fence,
/// else from the first `{` to the last `}` (BEHAVIOUR.md 7.12).
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

/// A header's value that libraries do not print.
fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

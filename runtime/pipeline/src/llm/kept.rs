//! Answers that are kept: by what they are found, and how they are written.

use serde::{Deserialize, Serialize};
use session_pipeline_host::model::{Request, Response};
use sha2::{Digest, Sha256};

use crate::config::Address;
use crate::config::{LlmConfig, Provider};

/// Raised when what is hashed or written changes its meaning.
const VERSION: u32 = 2;

/// What is hashed: all that an answer depends on.
#[derive(Serialize)]
struct Hashed<'a> {
    version: u32,
    provider: &'a str,
    /// Another server's answer is another answer, and so is one of a server that nobody verified.
    address: &'a str,
    verify_ssl: bool,
    model: &'a str,
    system: Option<&'a str>,
    prompt: &'a str,
    max_tokens: u32,
    json_schema: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    /// Scheme, host and port of the server that answered.
    address: String,
    text: String,
    model: String,
    input_tokens: u64,
    output_tokens: u64,
}

/// The hash of a request as it leaves, secrets taken out.
pub(super) fn hash_of(config: &LlmConfig, address: &Address, request: &Request) -> String {
    let hashed = Hashed {
        version: VERSION,
        provider: config.provider.unwrap_or(Provider::Anthropic).as_str(),
        address: address.as_str(),
        verify_ssl: config.verify_ssl,
        model: &config.model,
        system: request.system.as_deref(),
        prompt: &request.prompt,
        max_tokens: request.max_tokens,
        json_schema: request.json_schema.as_deref(),
    };
    // Texts and numbers always become JSON.
    let bytes = serde_json::to_vec(&hashed).unwrap_or_default();
    let digest = Sha256::digest(&bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An answer as it is kept.
pub(super) fn written(response: &Response, address: &Address) -> String {
    let written = Written {
        address: address.to_string(),
        text: response.text.clone(),
        model: response.model.clone(),
        input_tokens: response.input_tokens,
        output_tokens: response.output_tokens,
    };
    // As above.
    serde_json::to_string(&written).unwrap_or_default()
}

/// The way back; `None` for what another version wrote or another server answered.
pub(super) fn read(text: &str, address: &Address) -> Option<Response> {
    let written: Written = serde_json::from_str(text).ok()?;
    if written.address != address.to_string() {
        return None;
    }
    Some(Response {
        text: written.text,
        model: written.model,
        input_tokens: written.input_tokens,
        output_tokens: written.output_tokens,
    })
}

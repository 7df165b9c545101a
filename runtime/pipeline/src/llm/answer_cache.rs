//! The cache of answers: its keys and its format.

use serde::{Deserialize, Serialize};
use session_pipeline_host::model::{LlmRequest, LlmResponse};
use sha2::{Digest, Sha256};

use crate::config::{LlmConfig, Provider, ProviderUrl};

/// Part of the key. Increase it when the meaning of keys or answers changes.
const VERSION: u32 = 2;

/// Everything that an answer depends on.
#[derive(Serialize)]
struct CacheKey<'a> {
    version: u32,
    provider: &'a str,
    /// Answers of another server are different, and so are those of a server without verified
    /// certificate.
    address: &'a str,
    verify_ssl: bool,
    model: &'a str,
    system: Option<&'a str>,
    prompt: &'a str,
    max_tokens: u32,
    json_schema: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct CachedAnswer {
    /// Scheme, host and port of the server that answered.
    address: String,
    text: String,
    model: String,
    input_tokens: u64,
    output_tokens: u64,
}

/// The cache key of a redacted request.
pub(super) fn key_of(config: &LlmConfig, address: &ProviderUrl, request: &LlmRequest) -> String {
    let hashed = CacheKey {
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
    // Serializing strings and numbers cannot fail.
    let bytes = serde_json::to_vec(&hashed).unwrap_or_default();
    let digest = Sha256::digest(&bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Serializes an answer for the cache.
pub(super) fn encode(response: &LlmResponse, address: &ProviderUrl) -> String {
    let written = CachedAnswer {
        address: address.to_string(),
        text: response.text.clone(),
        model: response.model.clone(),
        input_tokens: response.input_tokens,
        output_tokens: response.output_tokens,
    };
    // Cannot fail, as above.
    serde_json::to_string(&written).unwrap_or_default()
}

/// Parses a cached answer. `None` if another version wrote it or another server answered.
pub(super) fn decode(text: &str, address: &ProviderUrl) -> Option<LlmResponse> {
    let written: CachedAnswer = serde_json::from_str(text).ok()?;
    if written.address != address.to_string() {
        return None;
    }
    Some(LlmResponse {
        text: written.text,
        model: written.model,
        input_tokens: written.input_tokens,
        output_tokens: written.output_tokens,
    })
}

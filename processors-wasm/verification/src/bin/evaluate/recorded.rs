//! Recorded responses of a model, by the hash of their request.

use std::path::{Path, PathBuf};

use session_pipeline_processor::llm::Request;
use sha2::{Digest, Sha256};

/// Digits of a hash in a file name.
const DIGITS: usize = 16;

/// The file with the response to a request.
pub fn file_of(folder: &Path, request: &Request) -> PathBuf {
    folder.join(format!("{}.json", hash(request)))
}

/// The response to a request. If there is none, the prompt is written to a file next to its place.
pub fn response(folder: &Path, request: &Request) -> Result<String, String> {
    let file = file_of(folder, request);
    if let Ok(text) = std::fs::read_to_string(&file) {
        return Ok(text);
    }
    let prompt = file.with_extension("prompt.txt");
    std::fs::write(&prompt, &request.prompt)
        .map_err(|error| format!("failed to write the prompt `{}`: {error}", prompt.display()))?;
    Err(format!(
        "no response is recorded in `{}`; answer the prompt in `{}` and save the answer there",
        file.display(),
        prompt.display()
    ))
}

fn hash(request: &Request) -> String {
    let schema = request.json_schema.as_deref().unwrap_or_default();
    let hash = Sha256::digest(format!("{}\0{schema}", request.prompt));
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits[..DIGITS].to_owned()
}

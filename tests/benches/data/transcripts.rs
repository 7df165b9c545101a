//! Transcripts for benchmarks: generated ones, or copies of real ones.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use session_pipeline_host::sessions::SessionsRoot;

/// Messages per generated session.
const MESSAGES: usize = 100;
/// Bytes per message, including tool results. Real transcripts have about as many.
const MESSAGE_BYTES: usize = 15_000;

/// Writes transcripts of about this many bytes below `root`: copies of the transcripts in `like`,
/// each with its own ids, or generated ones with long tool results and short messages.
///
/// # Errors
/// A file cannot be read or written, or `like` has no transcripts.
pub fn write(root: &Path, like: Option<&Path>, bytes: usize) -> Result<(), Box<dyn Error>> {
    match like {
        Some(folder) => write_copies(root, folder, bytes),
        None => (0..bytes / (MESSAGES * MESSAGE_BYTES))
            .try_for_each(|session| write_session(root, session)),
    }
}

/// Writes copies of all transcripts of a folder until they have this many bytes.
fn write_copies(root: &Path, folder: &Path, bytes_min: usize) -> Result<(), Box<dyn Error>> {
    let mut keys = Vec::new();
    if let Some(sessions) = SessionsRoot::open(folder)? {
        sessions.walk(|key, _| keys.push(key.to_owned()))?;
    }
    let mut originals = Vec::new();
    for key in keys {
        // A transcript can contain invalid UTF-8.
        let text = String::from_utf8_lossy(&fs::read(folder.join(&key))?).into_owned();
        originals.push((key, text));
    }
    let bytes: usize = originals.iter().map(|(_, text)| text.len()).sum();
    if bytes == 0 {
        return Err(format!("there are no transcripts in `{}`", folder.display()).into());
    }
    for copy in 0..bytes_min.div_ceil(bytes) {
        for (key, text) in &originals {
            let path = root.join(format!("copy-{copy}")).join(key);
            fs::create_dir_all(path.parent().ok_or("the file has no parent folder")?)?;
            let with_own_ids = |text: &str, prefix: &str| {
                text.replace(&format!("\"{prefix}_"), &format!("\"{prefix}_{copy}_"))
            };
            fs::write(
                path,
                with_own_ids(&with_own_ids(&with_own_ids(text, "msg"), "req"), "toolu"),
            )?;
        }
    }
    Ok(())
}

fn write_session(root: &Path, session: usize) -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = root.join(format!("-home-dev-project-{:03}", session % 50));
    fs::create_dir_all(&folder)?;
    let id = format!("{session:08x}-0000-4000-8000-000000000000");
    let filler = "What a tool had to say. ".repeat(MESSAGE_BYTES / 24);
    let mut text = String::new();
    for message in 0..MESSAGES {
        let time = format!(
            "2026-{:02}-{:02}T{:02}:{:02}:00.000Z",
            1 + session % 12,
            1 + session % 28,
            message / 60,
            message % 60
        );
        writeln!(
            text,
            r#"{{"type":"assistant","sessionId":"{id}","timestamp":"{time}","version":"2.1.42","cwd":"/home/dev/project","requestId":"req_{session}_{message}","message":{{"id":"msg_{session}_{message}","model":"claude-opus-4-5-20251101","role":"assistant","content":[{{"type":"tool_use","id":"toolu_{session}_{message}","name":"Bash","input":{{}}}}],"stop_reason":"tool_use","usage":{{"input_tokens":7,"output_tokens":90,"cache_read_input_tokens":{},"cache_creation_input_tokens":120}}}}}}"#,
            message * 1_000
        )?;
        writeln!(
            text,
            r#"{{"type":"user","sessionId":"{id}","timestamp":"{time}","message":{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{session}_{message}","content":"{filler}"}}]}}}}"#
        )?;
    }
    fs::write(folder.join(format!("{id}.jsonl")), text)?;
    Ok(())
}

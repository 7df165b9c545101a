//! Expected fault: `rejected` for an event of an unknown type; breaks the law `unknown-events`.
//!
//! Knows all types that there were when it was written.

use session_pipeline_faulty::odd_guest;
use session_pipeline_processor::json::Json;

const KNOWN: [&str; 5] = ["user", "assistant", "system", "progress", "summary"];

odd_guest!("rejects-unknown-events", |lines| {
    for line in &lines.rows {
        let kind = Json::parse(&line.text).and_then(|json| json.field("type")?.text());
        if let Some(kind) = kind
            && line.text.contains("\"sessionId\"")
            && !KNOWN.contains(&kind.raw())
        {
            return Err(format!("`{}` is unknown", kind.raw()));
        }
    }
    Ok(())
});

//! Expected fault: `panic` for a line that is no JSON; breaks the law `damaged-lines`.
//!
//! Trusts that an agent never dies while it writes.

use session_pipeline_faulty::odd_guest;
use session_pipeline_processor::json::Json;

odd_guest!("panics-at-damage", |lines| {
    for line in &lines.rows {
        assert!(Json::parse(&line.text).is_some(), "a line is no JSON");
    }
    Ok(())
});

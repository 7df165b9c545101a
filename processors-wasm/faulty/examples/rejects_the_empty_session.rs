//! Expected fault: `rejected` for a session without lines; breaks the law `empty-session`.
//!
//! Divides by the number of lines, in other words.

use session_pipeline_faulty::odd_guest;

odd_guest!("rejects-the-empty-session", |lines| {
    match lines.rows.is_empty() {
        true => Err("there is no line".to_owned()),
        false => Ok(()),
    }
});

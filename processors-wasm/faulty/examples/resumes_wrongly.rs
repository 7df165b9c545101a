//! Expected fault: none; breaks the law `resumption`.
//!
//! Forgets the lines before the checkpoint.

use session_pipeline_faulty::resuming::{Totals, read};
use session_pipeline_faulty::resuming_guest;

resuming_guest!("resumes-wrongly", |session, totals| {
    let forgotten = Totals { lines: 0, ..totals };
    Ok(read(session, forgotten, |_| true))
});

//! Expected fault: none.
//!
//! Continues sessions. Asks for the whole session at one word, and panics at another, in `resume`
//! only: the host then processes the whole session.

use session_pipeline_faulty::resuming::{START_OVER, read};
use session_pipeline_faulty::{MAGIC_WORD, resuming_guest};

resuming_guest!("resumes", |session, totals| Ok(read(
    session,
    totals,
    |line| {
        assert!(!line.contains(MAGIC_WORD), "as told");
        !line.contains(START_OVER)
    }
)));

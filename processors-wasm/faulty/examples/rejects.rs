//! Expected fault: `rejected`.
//!
//! Says no, with a reason.

use session_pipeline_faulty::guest;

guest!("rejects", |_session| Err(String::from(
    "the guest rejects this session"
)));

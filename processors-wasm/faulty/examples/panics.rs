//! Expected fault: `panic`.
//!
//! Panics with a message that the fault should carry.

use session_pipeline_faulty::guest;

guest!("panics", |_session| panic!("the guest panicked on purpose"));

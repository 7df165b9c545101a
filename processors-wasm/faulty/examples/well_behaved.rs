//! Expected fault: none.
//!
//! Does its work and nothing else, whatever the transcript says.

use session_pipeline_faulty::guest;

guest!("well-behaved", |_session| Ok(()));

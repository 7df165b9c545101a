//! Expected fault: `trap`.
//!
//! Ends its process, so to speak.

use session_pipeline_faulty::guest;

guest!("exits", |_session| std::process::exit(3));

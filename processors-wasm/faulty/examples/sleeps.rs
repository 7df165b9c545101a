//! Expected fault: `denied`.
//!
//! Sleeps for an hour: a poll in WASI, which neither fuel nor a deadline would end.

use std::time::Duration;

use session_pipeline_faulty::guest;

guest!("sleeps", |_session| {
    std::thread::sleep(Duration::from_secs(60 * 60));
    Ok(())
});

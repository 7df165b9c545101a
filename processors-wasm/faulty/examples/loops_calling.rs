//! Expected fault: `host-call-limit`.
//!
//! Runs in a circle and writes to the log each time.

use session_pipeline_faulty::guest;
use session_pipeline_processor::Level;

guest!("loops-calling", |session| loop {
    session.log(Level::Debug, "again");
});

//! Expected fault: `deadline`.
//!
//! Each call costs the host the copy of a mebibyte, and the guest next to no fuel.

use session_pipeline_faulty::guest;
use session_pipeline_processor::Level;

guest!("logs-long-lines-endlessly", |session| {
    let line = "x".repeat(1 << 20);
    loop {
        session.log(Level::Debug, &line);
    }
});

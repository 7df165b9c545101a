//! Expected fault: none: the log is cut, with a note.
//!
//! Writes a megabyte into the log, and as much again to standard error, then works on.

use session_pipeline_faulty::guest;
use session_pipeline_processor::Level;

guest!("floods-log", |session| {
    let message = "flood ".repeat(170);
    for _ in 0..1_000 {
        session.log(Level::Info, &message);
        eprintln!("{message}");
    }
    Ok(())
});

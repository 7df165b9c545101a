//! Expected fault: `host-call-limit`.
//!
//! Asks for lines behind the end and writes to standard error, over and over: calls of the
//! contract and of WASI, each cheap.

use std::io::Write;

use session_pipeline_faulty::guest;

guest!("calls-host-endlessly", |session| {
    let mut stderr = std::io::stderr();
    loop {
        // Mostly the cheapest of calls, so that the fuel outlasts the limit.
        for _ in 0..100 {
            let _ = session.lines().next_line();
        }
        let _ = stderr.write_all(b".");
    }
});

//! Expected fault: `host-call-limit`.
//!
//! Asks for the time over and over: calls that are served, cost next to nothing, and are none of
//! the contract.

use std::time::Instant;

use session_pipeline_faulty::guest;

guest!("floods-wasi", |_session| loop {
    std::hint::black_box(Instant::now());
});

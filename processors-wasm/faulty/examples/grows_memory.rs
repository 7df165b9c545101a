//! Expected fault: `memory-limit`.
//!
//! Wants ten gigabytes, and gets a failed allocation, which looks like a panic from within.

use session_pipeline_faulty::guest;

guest!("grows-memory", |_session| {
    let mut hoard = Vec::new();
    for _ in 0..160 {
        // Nothing is written there: that would cost the fuel before it costs the memory.
        hoard.push(Vec::<u8>::with_capacity(64 * 1024 * 1024));
        std::hint::black_box(&mut hoard);
    }
    Err(format!("ten gigabytes in {} pieces", hoard.len()))
});

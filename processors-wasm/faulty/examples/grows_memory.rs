//! Expected fault: `memory-limit`.
//!
//! Wants ten gigabytes, and gets a failed allocation, which looks like a panic from within.

use session_pipeline_faulty::guest;

guest!("grows-memory", |_session| {
    let mut hoard = Vec::new();
    for _ in 0..10 * 1024 {
        // Ones, since pages of zeros might cost nothing.
        hoard.push(vec![1_u8; 1024 * 1024]);
        std::hint::black_box(&hoard);
    }
    Err(format!("ten gigabytes in {} pieces", hoard.len()))
});

//! Expected fault: `memory-limit` for a long session; breaks the law `memory`.
//!
//! Reserves as much for each line as the longest might need.

use std::hint::black_box;

use session_pipeline_faulty::odd_guest;

/// For a line.
const RESERVED: usize = 4 << 20;

odd_guest!("hoards-memory", |lines| {
    let reserved = lines
        .rows
        .iter()
        .map(|_| Vec::<u8>::with_capacity(RESERVED));
    black_box(reserved.collect::<Vec<_>>());
    Ok(())
});

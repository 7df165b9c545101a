//! Expected fault: `stack-overflow`.
//!
//! Calls itself until the stack is used up.

use session_pipeline_faulty::guest;

guest!("recurses", |_session| {
    let answer = deeper(std::hint::black_box(1));
    Err(format!("the stack has no end: {answer}"))
});

/// Neither a loop in disguise, since each frame is needed after the next returns, nor a user of
/// the stack in linear memory, whose end is another trap.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    let below = deeper(depth.wrapping_add(1));
    below.rotate_left(5).wrapping_mul(depth | 1)
}

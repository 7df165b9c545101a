//! Expected fault: `trap`.
//!
//! Divides by zero in earnest: the instruction, without the check that would panic before it.

use std::num::NonZeroU32;

use session_pipeline_faulty::guest;

guest!("divides-by-zero", |session| {
    let dividend = u32::try_from(session.info().size).unwrap_or(1);
    Err(format!("a quotient by zero: {}", divide_by_zero(dividend)))
});

#[expect(
    unsafe_code,
    reason = "the lie is the point: Rust's own division checks, and the instruction is to trap"
)]
fn divide_by_zero(dividend: u32) -> u32 {
    // SAFETY: none. The value is opaque to the compiler, and the sandbox is what is under test.
    let divisor = unsafe { NonZeroU32::new_unchecked(std::hint::black_box(0)) };
    std::hint::black_box(dividend / divisor)
}

//! Expected fault: `trap`.
//!
//! Executes the instruction `unreachable`, without a panic before it.

use session_pipeline_faulty::guest;

guest!("unreachable", |_session| stop());

#[cfg(target_family = "wasm")]
fn stop() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn stop() -> ! {
    std::process::abort()
}

//! Expected fault: `denied`.
//!
//! Waits for nothing at all: the call behind every wait, which no sleep of the standard library uses.

use session_pipeline_faulty::guest;

guest!("polls", |_session| {
    wait_for_nothing();
    Ok(())
});

#[cfg(target_family = "wasm")]
#[expect(
    unsafe_code,
    reason = "the standard library has no way to make this call, and the sandbox is what is under test"
)]
fn wait_for_nothing() {
    #[link(wasm_import_module = "wasi:io/poll@0.2.6")]
    unsafe extern "C" {
        #[link_name = "poll"]
        fn poll(pollables: *const u32, count: usize, ready: *mut [u32; 2]);
    }
    let mut ready = [0; 2];
    // SAFETY: the list is empty, and the answer has the room of a list's pointer and length.
    unsafe { poll(core::ptr::null(), 0, &raw mut ready) };
}

#[cfg(not(target_family = "wasm"))]
fn wait_for_nothing() {}

//! The guests as bytes: what the host ships, and what its tests throw at it; and in [`kit`] what
//! authors of further ones start with.
//!
//! The build script compiles them; a plain `cargo build` is enough, or says how to get the
//! target. Nothing of this is linked that nobody names.

pub mod kit;

/// The processor `usage`, a component.
pub const USAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/usage.wasm"));

/// The processor `verification`, a component.
pub const VERIFICATION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/verification.wasm"));

/// The guests that misbehave, and one that does not: each with its way to do so, which is the
/// name of its file in `faulty/examples`, in alphabetical order.
pub const FAULTY: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/faulty.rs"));

/// The faulty guest of that way to misbehave, if there is one.
pub fn faulty(way: &str) -> Option<&'static [u8]> {
    let guest = FAULTY.iter().find(|(name, _)| *name == way)?;
    Some(guest.1)
}

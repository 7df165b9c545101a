//! The few calls through which a processor reaches the world.
//!
//! In a guest they are the imports of the component; elsewhere they are whatever implements
//! [`Host`], for instance [`MemoryHost`](crate::native::MemoryHost). The processor's own code is
//! the same in both.

pub use crate::bindings::session_pipeline::processor::log::Level;
pub use crate::bindings::session_pipeline::processor::transcript::Chunk;
use crate::table::Value;

/// What a processor can ask of its host.
///
/// Called once a chunk and once a batch, so that a call through `dyn` costs nothing that counts.
pub trait Host {
    /// Reads on: whole lines, up to `max_bytes` or one line; empty at the end.
    fn read_lines(&self, max_bytes: u32) -> Chunk;

    /// Adds rows to a session-owned table.
    fn insert(&self, table: &str, rows: &[&[Value<'_>]]);

    /// Writes one message into the log of the run.
    fn log(&self, level: Level, message: &str);
}

/// The host of the component.
#[cfg(target_family = "wasm")]
pub(crate) struct Imports;

#[cfg(target_family = "wasm")]
impl Host for Imports {
    fn read_lines(&self, max_bytes: u32) -> Chunk {
        crate::bindings::session_pipeline::processor::transcript::read_lines(max_bytes)
    }

    fn insert(&self, table: &str, rows: &[&[Value<'_>]]) {
        crate::bindings::session_pipeline::processor::records::insert(table, rows);
    }

    fn log(&self, level: Level, message: &str) {
        crate::bindings::session_pipeline::processor::log::log(level, message);
    }
}

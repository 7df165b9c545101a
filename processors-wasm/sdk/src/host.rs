//! The host functions that a processor can call.
//!
//! In a guest, they are imports of the component. Elsewhere, they are methods of a [`Host`], for
//! example of [`MemoryHost`](crate::native::MemoryHost). The code of the processor is the same in
//! both cases.

pub use crate::bindings::session_pipeline::processor::log::Level;
pub use crate::bindings::session_pipeline::processor::transcript::Chunk;
use crate::llm::{LlmError, Request, Response};
use crate::shared::Filter;
use crate::table::{OwnedValue, Value};

/// The host of a session. A guest has exactly one, and functions that a processor does not use are
/// not imported. Native code can use any implementation.
#[cfg(target_family = "wasm")]
pub type HostRef<'h> = &'h Imports;
/// The host of a session.
#[cfg(not(target_family = "wasm"))]
pub type HostRef<'h> = &'h (dyn Host + 'h);

/// The host functions.
pub trait Host {
    /// Reads the next whole lines, up to `max_bytes` but at least one line. Empty at the end.
    fn read_lines(&self, max_bytes: u32) -> Chunk;

    /// Appends rows to a session-owned table.
    fn insert(&self, table: &str, rows: &[&[Value<'_>]]);

    /// Inserts or replaces rows of a shared table by key.
    fn upsert(&self, table: &str, rows: &[&[Value<'_>]]);

    /// Finds rows of a shared table.
    fn lookup(
        &self,
        table: &str,
        filters: &[Filter<'_>],
        order_by: Option<&str>,
        descending: bool,
        limit: u32,
    ) -> Vec<Vec<OwnedValue>>;

    /// Sends a request to a language model.
    fn complete(&self, request: &Request) -> Result<Response, LlmError>;

    /// Writes a message to the log of the run.
    fn log(&self, level: Level, message: &str);

    /// The largest state of a checkpoint that the host stores now, in bytes. 0 if it stores none.
    fn state_bytes_max(&self) -> u64;

    /// Settles the rows so far, with the state from which the processor can continue.
    fn checkpoint(&self, state: &[u8]);
}

/// The host of a component.
#[cfg(target_family = "wasm")]
pub struct Imports;

#[cfg(target_family = "wasm")]
impl Host for Imports {
    fn read_lines(&self, max_bytes: u32) -> Chunk {
        crate::bindings::session_pipeline::processor::transcript::read_lines(max_bytes)
    }

    fn insert(&self, table: &str, rows: &[&[Value<'_>]]) {
        crate::bindings::session_pipeline::processor::records::insert(table, rows);
    }

    fn upsert(&self, table: &str, rows: &[&[Value<'_>]]) {
        crate::bindings::session_pipeline::processor::records::upsert(table, rows);
    }

    fn lookup(
        &self,
        table: &str,
        filters: &[Filter<'_>],
        order_by: Option<&str>,
        descending: bool,
        limit: u32,
    ) -> Vec<Vec<OwnedValue>> {
        crate::bindings::session_pipeline::processor::records::lookup(
            table, filters, order_by, descending, limit,
        )
    }

    fn complete(&self, request: &Request) -> Result<Response, LlmError> {
        crate::llm::complete(request)
    }

    fn log(&self, level: Level, message: &str) {
        crate::bindings::session_pipeline::processor::log::log(level, message);
    }

    fn state_bytes_max(&self) -> u64 {
        crate::resumable_bindings::session_pipeline::processor::resumption::state_bytes_max()
    }

    fn checkpoint(&self, state: &[u8]) {
        crate::resumable_bindings::session_pipeline::processor::resumption::checkpoint(state);
    }
}

//! The few calls through which a processor reaches the world.
//!
//! In a guest they are the imports of the component; elsewhere they are whatever implements
//! [`Host`], for instance [`MemoryHost`](crate::native::MemoryHost). The processor's own code is
//! the same in both.

pub use crate::bindings::session_pipeline::processor::log::Level;
pub use crate::bindings::session_pipeline::processor::transcript::Chunk;
use crate::llm::{LlmError, Request, Response};
use crate::shared::Filter;
use crate::table::{OwnedValue, Value};

/// The host that a session speaks to. In a guest there is only one, and what a processor does not
/// use of it is not imported; elsewhere it may be any.
#[cfg(target_family = "wasm")]
pub type HostRef<'h> = &'h Imports;
/// The host that a session speaks to.
#[cfg(not(target_family = "wasm"))]
pub type HostRef<'h> = &'h (dyn Host + 'h);

/// What a processor can ask of its host.
pub trait Host {
    /// Reads on: whole lines, up to `max_bytes` or one line; empty at the end.
    fn read_lines(&self, max_bytes: u32) -> Chunk;

    /// Adds rows to a session-owned table.
    fn insert(&self, table: &str, rows: &[&[Value<'_>]]);

    /// Adds or replaces rows of a shared table by its key.
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

    /// Asks a language model.
    fn complete(&self, request: &Request) -> Result<Response, LlmError>;

    /// Writes one message into the log of the run.
    fn log(&self, level: Level, message: &str);
}

/// The host of the component.
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
}

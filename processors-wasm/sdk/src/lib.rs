//! Write a processor for Session Pipeline: one type, two functions, one macro line.
//!
//! A processor reads the transcript of one session at a time and records rows about it. It is
//! compiled to a WebAssembly component and runs in a sandbox under limits. It can only use what
//! this crate provides: the transcript, its own tables, a log, and a language model if the operator
//! grants it.
//!
//! ```
//! use session_pipeline_processor::{
//!     Manifest, Processor, Session, Settings, Summary, Timestamp, export, rows,
//! };
//!
//! rows! {
//!     /// One call of a tool.
//!     struct Call in "calls" {
//!         line: u64,
//!         tool: Option<String>,
//!         called_at: Option<Timestamp>,
//!     }
//! }
//!
//! struct Calls;
//!
//! impl Processor for Calls {
//!     fn manifest(_: &Settings) -> Result<Manifest, String> {
//!         Ok(Manifest::new("calls", 1, "Lists the calls of tools.").table::<Call>())
//!     }
//!
//!     fn process(session: &Session<'_>) -> Result<Summary, String> {
//!         let mut calls = session.table::<Call>();
//!         let mut count = 0;
//!         session.transcript().for_each(|line, entry| {
//!             let Some(message) = &entry.message else { return };
//!             for tool_use in message.content.tool_uses() {
//!                 calls.insert(Call {
//!                     line,
//!                     tool: tool_use.name.map(|name| name.decode().into_owned()),
//!                     called_at: entry.timestamp,
//!                 });
//!                 count += 1;
//!             }
//!         });
//!         Ok(Summary::items(count))
//!     }
//! }
//!
//! export!(Calls);
//!
//! // The same code runs natively, which is how it is tested:
//! use session_pipeline_processor::SessionInfo;
//! use session_pipeline_processor::native::MemoryHost;
//!
//! let transcript = br#"{"type":"assistant","message":{"content":[
//!     {"type":"tool_use","id":"1","name":"Bash","input":{"command":"ls"}}]}}"#;
//! let one_line: Vec<u8> = transcript.iter().copied().filter(|byte| *byte != b'\n').collect();
//! let host = MemoryHost::new(one_line);
//! let summary = host.run::<Calls>(&SessionInfo::new("alice/session.jsonl"));
//! assert_eq!(summary, Ok(Summary::items(1)));
//! assert_eq!(host.rows("calls").len(), 1);
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2` and the crate type `cdylib`. The
//! option `-C target-feature=+simd128` makes reading about 10% faster.
//!
//! Where to go next: [`activity`] for the sessions of all coding agents, [`transcript`] for the lines
//! of Claude Code, [`table`] for the types of columns,
//! [`resumption`] for sessions that grow, [`shared`] for rows that outlive their session, [`llm`] for language models, and [`native`] for
//! tests. The contract is in `runtime/wit`.

#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated from the contract, whose own comments are its documentation"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../runtime/wit",
        world: "processor-with-llm",
        pub_export_macro: true,
        export_macro_name: "export_guest",
        default_bindings_module: "session_pipeline_processor::bindings",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated from the contract, whose own comments are its documentation"
)]
#[doc(hidden)]
pub mod resumable_bindings {
    // A world of its own, so that components of other processors do not have its export.
    wit_bindgen::generate!({
        path: "../../runtime/wit",
        inline: "
            package session-pipeline:sdk;
            world resumption {
                import session-pipeline:processor/resumption@1.1.0;
                export session-pipeline:processor/resumable@1.1.0;
            }
        ",
        world: "session-pipeline:sdk/resumption",
        with: {
            "session-pipeline:processor/types@1.1.0": crate::bindings::session_pipeline::processor::types,
            "session-pipeline:processor/resumption@1.1.0": generate,
            "session-pipeline:processor/resumable@1.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_resumable",
        default_bindings_module: "session_pipeline_processor::resumable_bindings",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub mod activity;
pub mod agent;
pub mod host;
pub mod json;
pub mod lines;
pub mod llm;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod processor;
pub mod resumption;
mod scan;
pub mod session;
pub mod shared;
pub mod table;
pub mod timestamp;
pub mod transcript;

pub use host::Level;
pub use processor::{Manifest, Order, Processor, Summary};
pub use resumption::Resumable;
pub use session::{Session, SessionInfo, Settings};
pub use timestamp::Timestamp;

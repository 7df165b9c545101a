//! Executes processors, which are WebAssembly components, over sessions. Runs them in a sandbox,
//! without a database.
//!
//! ```
//! use std::sync::Arc;
//!
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_host::content::Snapshot;
//! use session_pipeline_host::limits::{Compiler, Limits};
//! use session_pipeline_host::processor::{Processor, SessionInfo};
//! use session_pipeline_host::sandbox::{self, Engine};
//!
//! let limits = Arc::new(Limits::default());
//! let scratch = std::env::temp_dir();
//! let compiled = Arc::new(sandbox::compile(&Compiler::InProcess, &limits, USAGE, &scratch)?);
//! let engine = Arc::new(Engine::new(&limits, 1)?);
//! let digest = compiled.sha256.clone();
//! let usage = Processor::load(&engine, &limits, &compiled, digest, Vec::new())?;
//!
//! let session = SessionInfo {
//!     key: "ada/one.jsonl".to_owned(),
//!     username: "ada".to_owned(),
//!     directory: "ada".to_owned(),
//!     user_id: None,
//! };
//! let transcript = br#"{"type":"user","sessionId":"one","message":{"content":"fix the test"}}"#;
//! let snapshot = Snapshot::from_bytes(transcript, limits.line_bytes_max)?;
//! let completed = usage.process(&session, snapshot).outcome?;
//! assert!(completed.tables.iter().any(|table| table.rows > 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A session passes through four modules. [`sessions`] finds it, [`content`] reads it,
//! [`processor`] runs a component over it inside the [`sandbox`], and [`rows`] collects the result.
//! Other crates store the rows and decide which session to process when. This crate and the test
//! harness on top of it compile without DuckDB.
//!
//! This crate reads neither the environment nor the system clock. Callers pass in time, paths and
//! limits.

pub mod checkpoint;
pub mod clock;
pub mod content;
pub mod day;
pub mod fault;
pub mod inspect;
pub mod limits;
pub mod manifest;
pub mod model;
pub mod processor;
pub mod regular;
pub mod rows;
pub mod sandbox;
pub mod sessions;
pub mod shared;

// In a crate of its own, which the program that collects sessions shares.
pub use session_pipeline_redaction as redaction;

//! The decisions of the pipeline: which sessions are processed, by which processors and when, and
//! what reports contain.
//!
//! ```
//! use std::sync::Arc;
//!
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_host::clock::SystemClock;
//! use session_pipeline_host::limits::Compiler;
//! use session_pipeline_pipeline::config::Config;
//! use session_pipeline_pipeline::registry::Registry;
//! use session_pipeline_pipeline::run::{Pipeline, RunRequest};
//! use session_pipeline_pipeline::shipped::ShippedProcessor;
//!
//! let data_dir = tempfile::tempdir()?;
//! let sessions = data_dir.path().join("user_sessions/ada");
//! std::fs::create_dir_all(&sessions)?;
//! let transcript = r#"{"type":"user","sessionId":"one","message":{"content":"fix the test"}}"#;
//! std::fs::write(sessions.join("one.jsonl"), transcript)?;
//!
//! let config = Config {
//!     compiler: Compiler::InProcess,
//!     ..Config::new(data_dir.path())
//! };
//! let registry = Registry::new([ShippedProcessor::new("usage", USAGE)]);
//! let pipeline = Pipeline::open(config, Arc::new(SystemClock::default()), registry)?;
//! let report = pipeline.run("usage", &RunRequest::cli(), &())?;
//! assert_eq!(report.stats.processed, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`scan`] compares the sessions on disk with the state rows. [`run`] processes those that
//! changed. [`registry`] manages the processors, and [`scheduler`] starts them. The host crate
//! executes processors, and the store crate commits their rows.
//!
//! This crate contains no HTTP and no command line. It does not read the environment or the system
//! clock: time, paths and limits are arguments.

pub mod budgets;
pub mod config;
pub mod csv;
pub mod health;
pub mod identity;
pub mod in_flight;
pub mod knowledge;
pub mod listing;
pub mod llm;
pub mod monitoring;
mod nearest;
pub mod notify;
pub mod quarantine;
pub mod registry;
pub mod report;
pub mod reprocess;
pub mod retention;
pub mod run;
pub mod scan;
pub mod schedule;
pub mod scheduler;
pub mod shipped;
pub mod status;
pub mod token;
pub mod transcript;
pub mod upload;

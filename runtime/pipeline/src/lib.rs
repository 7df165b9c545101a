//! The decisions of the pipeline: which sessions are processed, by which processors and when, and
//! what reports contain.
//!
//! [`scan`] compares the sessions on disk with the state rows. [`run`] processes those that
//! changed. [`registry`] manages the processors, and [`scheduler`] starts them. The host crate
//! executes processors, and the store crate commits their rows.
//!
//! This crate contains no HTTP and no command line. It does not read the environment or the system
//! clock: time, paths and limits are arguments.

pub mod config;
pub mod csv;
pub mod health;
pub mod identity;
pub mod in_flight;
pub mod knowledge;
pub mod listing;
pub mod llm;
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
pub mod upload;

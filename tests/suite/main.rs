//! The suite: one module for every word of the workspace, and one for every danger.
//!
//! What `runtime/pipeline/src/scan.rs` promises is tested in `scan.rs` here, and so on.
//! All that tests are made of stands in the harness; SQL on a test's database goes through `database.rs`.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, to end with a message is to fail"
)]

mod bulk_sessions;
mod cli;
mod config;
mod conformance;
mod content;
mod corruption;
mod crash;
mod database;
mod documents;
mod executions;
mod fuzz;
mod guests;
mod health;
mod hostile;
mod http;
mod identity;
mod in_flight;
mod inspect;
mod llm;
mod llm_providers;
mod migrations;
mod quarantine;
mod races;
mod records;
mod redaction;
mod registry;
mod report;
mod reprocess;
mod retention;
mod run;
mod sandbox;
mod scan;
mod schedule;
mod scheduler;
mod sessions;
mod store;
mod token;
mod usage;
mod verification;

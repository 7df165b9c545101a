//! The test suite: one module for each module of the workspace, and one for each hazard, such as
//! crashes, races and corruption.
//!
//! For example, `scan.rs` tests what `runtime/pipeline/src/scan.rs` documents. Shared helpers are
//! in the harness crate. `database.rs` runs SQL on the database of a test.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic fails the test and reports the location"
)]

mod browser;
mod budgets;
mod bulk_sessions;
mod cli;
mod compressed;
mod config;
mod conformance;
mod content;
mod corruption;
mod crash;
mod dashboard;
mod database;
mod demo;
mod deploy;
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
mod metrics;
mod migrations;
mod push;
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
mod summaries;
mod token;
mod transcript;
mod usage;
mod verification;

//! Of the suite what holds the modules that decide and touch nothing, compiled alone: for
//! `cargo xtask mutants`, where each change to the code costs a build of it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, to end with a message is to fail"
)]
#![expect(dead_code, reason = "other modules of the suite use it")]

mod config;
mod content;
mod database;
mod documents;
mod guests;
mod health;
mod migrations;
mod quarantine;
mod scan;
mod schedule;

//! Mutation fuzzing of all parsers of untrusted input.
//!
//! There is one module per parser, with valid inputs that are mutated and properties that are
//! checked. Each module is a target of `cargo xtask soak fuzz`.

mod activity;
mod config;
mod manifest;
mod names;
mod schedule;
mod transcript;
mod upload;

//! Executes processors: WebAssembly components over sessions, inside a sandbox, without a database.
//!
//! A session goes one way: [`sessions`] finds it, [`content`] reads it, [`processor`] runs a
//! component over it inside the [`sandbox`], and [`rows`] are what comes of it. Where rows are
//! stored, and which session is processed when, is decided elsewhere: this crate compiles without
//! DuckDB, and so does the test harness on top of it.
//!
//! This crate reads no environment and no clock of its own: time, paths and limits are passed in.

pub mod clock;
pub mod content;
pub mod day;
pub mod fault;
pub mod inspect;
pub mod limits;
pub mod manifest;
pub mod model;
pub mod processor;
pub mod redaction;
pub mod regular;
pub mod rows;
pub mod sandbox;
pub mod sessions;
pub mod shared;

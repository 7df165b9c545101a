//! Executes processors, which are WebAssembly components, over sessions. Runs them in a sandbox,
//! without a database.
//!
//! A session passes through four modules. [`sessions`] finds it, [`content`] reads it,
//! [`processor`] runs a component over it inside the [`sandbox`], and [`rows`] collects the result.
//! Other crates store the rows and decide which session to process when. This crate and the test
//! harness on top of it compile without DuckDB.
//!
//! This crate reads neither the environment nor the system clock. Callers pass in time, paths and
//! limits.

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

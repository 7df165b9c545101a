//! The outside of Session Pipeline: the command line.
//!
//! Thin by intent: it translates to and from [`session_pipeline_runtime`], and decides nothing.

pub mod cli;

//! The outside of Session Pipeline: the command line and the service.
//!
//! Thin by intent: it translates to and from [`session_pipeline_pipeline`], and decides nothing.

pub mod body;
pub mod build;
pub mod cli;
pub mod http;
pub mod problem;

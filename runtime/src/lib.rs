//! The pipeline as a library: it finds sessions, runs processors over them in a sandbox, and keeps
//! what they extract.
//!
//! A session goes one way: [`sessions`] finds it, [`scan`] decides whether it is due, [`content`]
//! reads it, [`processor`] runs a component over it inside the [`sandbox`], and [`store`] commits
//! rows and state together. [`run`] is that way from end to end.
//! Deciding, executing and committing stay apart, so that executing could happen elsewhere.
//!
//! This crate knows neither HTTP nor command lines, reads no environment and asks no clock of its
//! own: time, paths and limits are passed in.

pub mod clock;
pub mod config;
pub mod content;
pub mod csv;
pub mod day;
pub mod fault;
pub mod health;
pub mod identity;
pub mod in_flight;
pub mod inspect;
pub mod kill_point;
pub mod knowledge;
pub mod limits;
pub mod listing;
pub mod llm;
pub mod manifest;
pub mod model;
pub mod money;
pub mod processor;
pub mod quarantine;
pub mod redaction;
pub mod registry;
pub mod regular;
pub mod report;
pub mod reprocess;
pub mod retention;
pub mod retry;
pub mod rows;
pub mod run;
pub mod sandbox;
pub mod scan;
pub mod schedule;
pub mod scheduler;
pub mod sessions;
pub mod shared;
pub mod shipped;
pub mod state_rows;
pub mod status;
pub mod store;
pub mod token;
pub mod upload;

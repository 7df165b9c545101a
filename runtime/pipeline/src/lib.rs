//! Decides: which sessions are processed, by which processors, when, and what reports say about it.
//!
//! [`scan`] compares the sessions on disk with the state rows, [`run`] processes what has changed,
//! [`registry`] has the processors and [`scheduler`] starts them. Processors are executed by the
//! host crate, and what they yield is committed by the store crate.
//!
//! This crate knows neither HTTP nor command lines, reads no environment and asks no clock of its
//! own: time, paths and limits are passed in.

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

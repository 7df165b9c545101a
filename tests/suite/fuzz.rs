//! The danger: input that nobody thought of.
//!
//! One module for each reader of something that comes from outside: a law, and good inputs with
//! something done to them. A module here is a target of `cargo xtask soak fuzz`.

mod config;
mod manifest;
mod names;
mod schedule;
mod transcript;

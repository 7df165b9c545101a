//! Sends the sessions of coding agents from the machines of developers to a Session Pipeline server.
//!
//! A pass ([`sync`]) finds the files ([`walk`]), compares them with what was sent ([`state`]), and
//! sends what is new ([`source`], [`server`]). A hook of the agent starts a pass after each turn
//! ([`hook`], [`setup`]). Only `main` reads the environment.

#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        reason = "a test that panics fails, as it should"
    )
)]

pub mod cli;
pub mod compressed;
pub mod context;
pub mod doctor;
pub mod ends;
pub mod hash;
pub mod hook;
pub mod hooks;
pub mod kill_point;
pub mod push;
pub mod retry_after;
pub mod roots;
pub mod server;
pub mod settings;
pub mod setup;
pub mod source;
pub mod state;
pub mod sync;
pub mod terminal;
pub mod walk;

//! The dashboard in headless Chromium: what people see and do.
//!
//! These tests need Chromium and its driver, so they are ignored by default. `cargo xtask test` runs
//! them if both are installed.

mod chromium;
mod clean;
mod filters;
mod hostile;
mod knowledge;
mod operations;
mod roles;
mod sign_in;
mod site;
mod transcript;

use chromium::Chromium;
use site::Site;

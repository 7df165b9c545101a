//! The interfaces of Session Pipeline: the command line and the HTTP service.
//!
//! This crate translates requests and results. The logic is in [`session_pipeline_pipeline`].

pub mod body;
pub mod build;
pub mod cli;
pub mod dashboard;
mod duration;
pub mod http;
mod percent;
pub mod problem;
pub mod shipped;
mod signals;

/// Returns freed memory to the system. Requests, runs and DuckDB allocate on many threads, and glibc
/// has an arena for each of them, so a server that received uploads for hours grew without a leak.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

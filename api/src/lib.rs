//! The outside of Session Pipeline: the command line and the service.
//!
//! Thin by intent: it translates to and from [`session_pipeline_pipeline`], and decides nothing.

pub mod body;
pub mod build;
pub mod cli;
pub mod http;
pub mod problem;
pub mod shipped;

/// Returns freed memory to the system. Requests, runs and DuckDB allocate on many threads, and the C
/// library keeps an arena for each: a server that received uploads for hours grew without a leak.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

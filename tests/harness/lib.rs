//! What tests are made of: data directories, sessions, clocks, strategies and the laws of the contract.
//!
//! Authors of processors use it as the project's own suite does; `docs/testing.md` shows how a crate outside
//! the workspace depends on it.
//!
//! A processor alone, in the sandbox and without a database:
//!
//! ```
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_harness::conformance::{Options, verify};
//! use session_pipeline_harness::{Guest, Session};
//!
//! let session = Session::new("s1")
//!     .user("fix the test")
//!     .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash"))
//!     .tool_result(Ok("1 passed"));
//!
//! let usage = Guest::load(USAGE);
//! assert_eq!(usage.extract(&session).rows("sessions", "session_id prompts"), ["s1 | 1"]);
//!
//! let options = Options { cases: 1, ..Options::default() };
//! let report = verify(usage.subject(), &options, &mut |_| {})?;
//! assert!(report.holds(), "{report}");
//! # Ok::<(), session_pipeline_harness::conformance::VerifyError>(())
//! ```
//!
//! The feature `pipeline`, on by default, adds whole pipelines with their database:
//!
//! ```
//! # #[cfg(feature = "pipeline")] {
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_harness::{DataDir, Session, TestPipeline};
//!
//! let dir = DataDir::new();
//! dir.write("ada/s1.jsonl", &Session::new("s1").user("fix the test"));
//!
//! let pipeline = TestPipeline::open(&dir, &[("usage", USAGE)]);
//! assert_eq!(pipeline.run("usage").stats.processed, 1);
//! # }
//! ```
//!
//! Without that feature the crate needs only the host crate, and compiles without DuckDB. It contains no SQL.
//! A test that wants to see what a database contains opens it.

pub mod alone;
pub mod clock;
pub mod compiled;
pub mod component;
pub mod conformance;
pub mod data_dir;
pub mod exchange;
pub mod fuzz;
pub mod guest;
pub mod llm;
#[cfg(feature = "pipeline")]
pub mod llm_server;
pub mod measure;
pub mod over;
#[cfg(feature = "pipeline")]
pub mod pipeline;
pub mod program;
pub mod redact;
pub mod rows;
pub mod session;
pub mod strategies;
pub mod subject;
pub mod tally;

pub use clock::{PausedClock, TestClock};
pub use data_dir::DataDir;
pub use guest::{Extracted, Guest};
pub use llm::ScriptedModel;
#[cfg(feature = "pipeline")]
pub use llm_server::LlmServer;
pub use over::Over;
#[cfg(feature = "pipeline")]
pub use pipeline::{FinishedRun, TestPipeline};
pub use session::Transcript;
pub use strategies::{cases, seed};
pub use subject::{Invocation, Subject};
pub use tally::{counted, tally};

//! The test harness: data directories, transcripts, clocks, proptest strategies, and the laws of
//! the contract.
//!
//! The project's own suite and authors of processors use it in the same way. `docs/testing.md`
//! shows how a crate outside the workspace depends on it.
//!
//! Test one processor in the sandbox, without a database:
//!
//! ```
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_harness::conformance::{Options, verify};
//! use session_pipeline_harness::{Guest, Transcript};
//!
//! let session = Transcript::new("s1")
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
//! The feature `pipeline`, which is on by default, adds whole pipelines with a database:
//!
//! ```
//! # #[cfg(feature = "pipeline")] {
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
//!
//! let dir = DataDir::new();
//! dir.write("ada/s1.jsonl", &Transcript::new("s1").user("fix the test"));
//!
//! let pipeline = TestPipeline::open(&dir, &[("usage", USAGE)]);
//! assert_eq!(pipeline.run("usage").stats.processed, 1);
//! # }
//! ```
//!
//! Without that feature, the crate depends only on the host crate and compiles without DuckDB. It
//! contains no SQL. A test that checks the contents of a database opens the database itself.

pub mod agent_sessions;
pub mod clock;
pub mod compiled;
pub mod component;
pub mod conformance;
pub mod data_dir;
pub mod demo;
pub mod executions;
pub mod fuzz;
pub mod guest;
pub mod isolated;
pub mod json_rows;
pub mod llm;
#[cfg(feature = "pipeline")]
pub mod llm_server;
pub mod measure;
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
pub use executions::Executions;
pub use guest::{Extraction, Guest};
pub use llm::ScriptedModel;
#[cfg(feature = "pipeline")]
pub use llm_server::LlmServer;

#[cfg(feature = "pipeline")]
pub use pipeline::{FinishedRun, TestPipeline};
pub use session::Transcript;
pub use strategies::{cases, seed};
pub use subject::{Invocation, Subject};
pub use tally::{counted, tally};

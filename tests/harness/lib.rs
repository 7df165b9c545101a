//! What tests are made of: data dirs, sessions, clocks, pipelines and strategies.
//!
//! Authors of processors may use it as our own suite does.
//! It knows the runtime and nothing above it, and no SQL: what stands in a database is read by whoever asks for it.
//!
//! A test in full:
//!
//! ```
//! use session_pipeline_bundle::USAGE;
//! use session_pipeline_harness::{DataDir, Session, TestPipeline};
//!
//! let dir = DataDir::new();
//! let session = Session::new("s1")
//!     .user("fix the test")
//!     .assistant(|m| m.model("claude-opus-4-5").tokens(100, 20).tool("Bash"))
//!     .tool_result(Ok("1 passed"));
//! dir.write("ada/s1.jsonl", &session);
//!
//! let pipeline = TestPipeline::open(&dir, &[("usage", USAGE)]);
//! assert_eq!(pipeline.run("usage").stats.processed, 1);
//! ```

pub mod alone;
pub mod clock;
pub mod compiled;
pub mod conformance;
pub mod data_dir;
pub mod exchange;
pub mod fuzz;
pub mod guest;
pub mod llm;
pub mod llm_server;
pub mod measure;
pub mod over;
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
pub use llm_server::LlmServer;
pub use over::Over;
pub use pipeline::{Ran, TestPipeline};
pub use session::Session;
pub use strategies::{cases, seed};
pub use subject::{Circumstances, Subject};
pub use tally::{counted, tally};

//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Writes to the log where it should only say what it is.

use session_pipeline_processor::bindings::session_pipeline::processor::log::log;
use session_pipeline_processor::{Level, Manifest, Processor, Session, Settings, Summary, export};

struct DescribeCallsImports;

impl Processor for DescribeCallsImports {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        log(Level::Info, "about to describe myself");
        Ok(session_pipeline_faulty::manifest("describe-calls-imports"))
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeCallsImports);

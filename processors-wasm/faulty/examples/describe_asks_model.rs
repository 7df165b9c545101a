//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Asks a language model where it should only say what it is.

use session_pipeline_processor::bindings::session_pipeline::processor::llm::{Request, complete};
use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct DescribeAsksModel;

impl Processor for DescribeAsksModel {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let request = Request {
            system: None,
            prompt: "Who am I?",
            max_tokens: 1,
            json_schema: None,
        };
        let _ = complete(request);
        Ok(session_pipeline_faulty::manifest("describe-asks-model"))
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeAsksModel);

//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Calls itself what no processor may be called.

use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct DescribeBadName;

impl Processor for DescribeBadName {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let mut manifest = session_pipeline_faulty::manifest("describe-bad-name");
        manifest.name = String::from("Faulty; DROP SCHEMA main");
        Ok(manifest)
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeBadName);

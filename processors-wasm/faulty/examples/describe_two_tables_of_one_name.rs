//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Declares the same table twice.

use session_pipeline_faulty::LineRow;
use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct DescribeTwoTablesOfOneName;

impl Processor for DescribeTwoTablesOfOneName {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let manifest = session_pipeline_faulty::manifest("describe-two-tables-of-one-name");
        Ok(manifest.table::<LineRow>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeTwoTablesOfOneName);

//! Expected fault: none; breaks the law `describes-itself`.
//!
//! Says something else of itself each time, as far as chance goes.

use std::hash::{BuildHasher as _, RandomState};

use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct DescribeByChance;

impl Processor for DescribeByChance {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let mut manifest = session_pipeline_faulty::manifest("describe-by-chance");
        manifest.description = format!("Today it is {}.", RandomState::new().hash_one("today"));
        Ok(manifest)
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeByChance);

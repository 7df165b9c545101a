//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Never comes to say what it is.

use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct DescribeLoops;

impl Processor for DescribeLoops {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        loop {
            std::hint::black_box(());
        }
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeLoops);

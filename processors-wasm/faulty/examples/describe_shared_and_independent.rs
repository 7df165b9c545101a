//! Expected fault: `component`, when it is asked to describe itself.
//!
//! Declares a shared table without being serial.

use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export, rows};

rows! {
    /// A word.
    struct Word in shared "words" by word {
        word: String,
    }
}

struct DescribeSharedAndIndependent;

impl Processor for DescribeSharedAndIndependent {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let name = "describe-shared-and-independent";
        Ok(session_pipeline_faulty::manifest(name).table::<Word>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(DescribeSharedAndIndependent);

//! Expected fault: none.
//!
//! What it says of itself stands as text among its bytes, so that a test can make the component
//! that comes after it: of another version, another name, another column.

use std::hint::black_box;

use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

/// Its name, its version, and the name of a column.
const SAYS: &str = "says faulty-versioned 00001 text_of_line";

struct Versioned;

impl Processor for Versioned {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        // The compiler must not know the text, or it would not read it from where it stands.
        let mut words = black_box(SAYS).split_whitespace().skip(1);
        let mut word = || words.next().ok_or("the text was cut");
        let mut manifest = session_pipeline_faulty::manifest("versioned");
        manifest.name = word()?.to_owned();
        manifest.version = word()?.parse().map_err(|_| "the version is no number")?;
        for table in &mut manifest.tables {
            for column in &mut table.columns {
                if column.name == "text" {
                    column.name = word()?.to_owned();
                }
            }
        }
        Ok(manifest)
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        session_pipeline_faulty::process(session, |_| Ok(()))
    }
}

export!(Versioned);

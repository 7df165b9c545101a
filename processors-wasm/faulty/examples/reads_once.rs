//! Expected fault: none; breaks the law `chunks`.
//!
//! Takes the first portion of lines for all of them, which goes well as long as sessions are short.

use session_pipeline_faulty::LineRow;
use session_pipeline_processor::bindings::session_pipeline::processor::transcript::read_lines;
use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export};

struct ReadsOnce;

impl Processor for ReadsOnce {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        Ok(session_pipeline_faulty::manifest("reads-once"))
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let mut table = session.table();
        let portion = read_lines(256 << 10).bytes;
        let lines = portion.split_inclusive(|byte| *byte == b'\n');
        let mut count = 0;
        for (number, line) in (1..).zip(lines) {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            table.insert(LineRow { line: number, text });
            count += 1;
        }
        Ok(Summary::items(count))
    }
}

export!(ReadsOnce);

//! The processor `usage`: helpers here, a room for each side of it below.

mod agents;
mod cases;
mod columns;
mod events;
mod examples;
mod files;
mod growth;
mod identity;
mod lines;
mod messages;
mod originals;

use std::path::{Path, PathBuf};

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, Extraction, Guest, TestPipeline};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::report::{ReportGrouping, UsageReport, UsageTotals};

use crate::guests;
use crate::report::reported;

const OPUS: &str = "claude-opus-4-5-20251101";
const SONNET: &str = "claude-sonnet-4-5-20250929";
const HAIKU: &str = "claude-haiku-4-5-20251001";
/// A model that no price table knows.
const NIMBUS: &str = "claude-nimbus-1-preview";

/// The rows of one transcript.
fn extract(transcript: impl AsRef<[u8]>) -> Extraction {
    Guest::load(USAGE).extract(transcript)
}

/// A report over a folder of sessions.
fn report_of(dir: &DataDir, sessions_root: PathBuf, by: ReportGrouping) -> UsageReport {
    let config = Config {
        sessions_root,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &[guests::usage()]);
    assert_eq!(pipeline.run("usage").stats.errors, 0);
    reported(&pipeline, by)
}

/// What a pipeline's messages come to, each counted once over all files.
fn totals(pipeline: &TestPipeline) -> UsageTotals {
    reported(pipeline, ReportGrouping::Day).totals
}

/// The sessions that `cargo xtask run` shows.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sessions")
}

/// Input, output, cache read, cache written, messages.
type Sums = [i64; 5];

fn sums_of(totals: &UsageTotals) -> Sums {
    [
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_read_tokens,
        totals.cache_creation_tokens,
        totals.messages,
    ]
}

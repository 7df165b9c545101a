//! The guests that tests of the pipeline use, and queries for their rows.

use session_pipeline::shipped::SHIPPED;
use session_pipeline_bundle::{USAGE, VERIFICATION, faulty};
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::shipped::ShippedProcessor;

/// Records one row per line of any transcript.
pub const WELL_BEHAVED: &str = "faulty-well-behaved";
/// Records one row per line, and panics at the word [`POISON`].
pub const PANICS: &str = "faulty-panics";
/// The word at which guests misbehave.
pub const POISON: &str = "misbehave";

/// The name and component of [`WELL_BEHAVED`].
pub fn well_behaved() -> (&'static str, &'static [u8]) {
    (WELL_BEHAVED, faulty("well_behaved").unwrap())
}

/// The name and component of [`PANICS`].
pub fn panics() -> (&'static str, &'static [u8]) {
    (PANICS, faulty("panics").unwrap())
}

/// A data directory in which both guests are registered. Properties use it, because they need many
/// data directories.
pub fn prepared_dir() -> DataDir {
    thread_local! {
        static PREPARED: DataDir = {
            let dir = DataDir::new();
            let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
            for name in [WELL_BEHAVED, PANICS] {
                pipeline.pipeline().processor(name).unwrap();
            }
            dir
        };
    }
    PREPARED.with(DataDir::with_state_of)
}

/// The name and component of a faulty guest.
pub fn misbehaving(variant: &str) -> (&'static str, &'static [u8]) {
    let component = faulty(variant).unwrap_or_else(|| panic!("no faulty guest `{variant}` exists"));
    let name = format!("faulty-{}", variant.replace('_', "-"));
    (name.leak(), component)
}

/// The name and component of the processor `usage`.
pub fn usage() -> (&'static str, &'static [u8]) {
    ("usage", USAGE)
}

/// The component as a shipped processor. If a processor with this name ships with the program, its
/// rules apply.
pub fn shipped(name: &'static str, component: &'static [u8]) -> ShippedProcessor {
    let known = SHIPPED.into_iter().find(|shipped| shipped.name == name);
    ShippedProcessor {
        component,
        ..known.unwrap_or(ShippedProcessor::new(name, component))
    }
}

/// The name and component of the processor `verification`.
pub fn verification() -> (&'static str, &'static [u8]) {
    ("verification", VERIFICATION)
}

/// A data directory in which `usage` is registered, for properties.
pub fn usage_dir() -> DataDir {
    thread_local! {
        static PREPARED: DataDir = {
            let dir = DataDir::new();
            let pipeline = TestPipeline::open(&dir, &[usage()]);
            pipeline.pipeline().processor("usage").unwrap();
            dir
        };
    }
    PREPARED.with(DataDir::with_state_of)
}

/// A query for the rows of a guest, in the order of the transcripts.
pub fn lines_of(processor: &str) -> String {
    format!("SELECT session_file, line, text FROM \"{processor}\".lines ORDER BY ALL")
}

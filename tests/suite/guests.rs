//! The guests that tests of the pipeline run, and what they leave.

use session_pipeline::shipped::SHIPPED;
use session_pipeline_bundle::{USAGE, VERIFICATION, faulty};
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::shipped::ShippedProcessor;

/// Keeps one row a line, whatever the transcript says.
pub const WELL_BEHAVED: &str = "faulty-well-behaved";
/// Keeps one row a line, and panics at the word [`POISON`].
pub const PANICS: &str = "faulty-panics";
/// The word at which guests misbehave.
pub const POISON: &str = "misbehave";

/// The component of [`WELL_BEHAVED`].
pub fn well_behaved() -> (&'static str, &'static [u8]) {
    (WELL_BEHAVED, faulty("well_behaved").unwrap())
}

/// The component of [`PANICS`].
pub fn panics() -> (&'static str, &'static [u8]) {
    (PANICS, faulty("panics").unwrap())
}

/// A data dir that knows both guests already: for properties, which need many.
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

/// The component of that way to misbehave, with the name it goes by.
pub fn misbehaving(way: &str) -> (&'static str, &'static [u8]) {
    let component = faulty(way).unwrap_or_else(|| panic!("there is no guest `{way}`"));
    let name = format!("faulty-{}", way.replace('_', "-"));
    (name.leak(), component)
}

/// The processor `usage`.
pub fn usage() -> (&'static str, &'static [u8]) {
    ("usage", USAGE)
}

/// A processor under its rules if it ships with the program.
pub fn shipped(name: &'static str, component: &'static [u8]) -> ShippedProcessor {
    let known = SHIPPED.into_iter().find(|shipped| shipped.name == name);
    ShippedProcessor {
        component,
        ..known.unwrap_or(ShippedProcessor::new(name, component))
    }
}

/// The processor `verification`.
pub fn verification() -> (&'static str, &'static [u8]) {
    ("verification", VERIFICATION)
}

/// A data dir that knows `usage` already: for properties, which need many.
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

/// A query for what a guest keeps, in the order of the transcripts.
pub fn lines_of(processor: &str) -> String {
    format!("SELECT session_file, line, text FROM \"{processor}\".lines ORDER BY ALL")
}

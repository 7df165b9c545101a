//! The guests that tests of the pipeline use, and queries for their rows.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

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

/// A data directory in which both guests are registered.
pub fn prepared_dir() -> DataDir {
    static STATE: LazyLock<PathBuf> =
        LazyLock::new(|| prepared_state("two", &[well_behaved(), panics()]));
    DataDir::with_state_in(&STATE)
}

/// The state of a data directory in which these guests are registered. It is created once per build
/// of this program, because most tests need it.
pub fn prepared_state(name: &str, guests: &[(&'static str, &'static [u8])]) -> PathBuf {
    prepared_folder(name, |state| {
        let dir = DataDir::new();
        let pipeline = TestPipeline::open(&dir, guests);
        for (name, _) in guests {
            pipeline.pipeline().processor(name).unwrap();
        }
        drop(pipeline);
        dir.copy_state_to(state);
    })
}

/// A folder that is created once per build of this program, because nextest starts each test as a
/// process.
pub fn prepared_folder(name: &str, create: impl FnOnce(&Path)) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let built = program.metadata().unwrap().modified().unwrap();
    let built = built.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = parent.join(format!("prepared-{name}-{built}"));
    if folder.exists() {
        return folder;
    }
    for other in parent.read_dir().unwrap().flatten() {
        let name = other.file_name().to_string_lossy().into_owned();
        if name.starts_with("prepared-") && !name.ends_with(&built.to_string()) {
            // Another process could have removed it first.
            let _ = std::fs::remove_dir_all(other.path());
        }
    }
    let scratch = tempfile::tempdir_in(parent).unwrap();
    let own = scratch.path().join("created");
    create(&own);
    // The process that was first provides the folder of all.
    let _ = std::fs::rename(&own, &folder);
    folder
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

/// A data directory in which `usage` is registered.
pub fn usage_dir() -> DataDir {
    static STATE: LazyLock<PathBuf> = LazyLock::new(|| prepared_state("usage", &[usage()]));
    DataDir::with_state_in(&STATE)
}

/// A query for the rows of a guest, in the order of the transcripts.
pub fn lines_of(processor: &str) -> String {
    format!("SELECT session_file, line, text FROM \"{processor}\".lines ORDER BY ALL")
}

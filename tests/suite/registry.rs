//! Components of others, in the folder of processors: taken up, replaced, refused, taken away.
//!
//! What is refused and why stands in a room of its own, and so does the plan behind all of it.

mod history;
mod plan;
mod refused;
mod replaced;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use session_pipeline_bundle::faulty;
use session_pipeline_harness::{DataDir, TestPipeline, program};
use session_pipeline_host::limits::Compiler;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::health::{
    CheckResult, CheckStatus, HealthFacts, HealthReport, HealthSources, SystemDisk,
};
use session_pipeline_pipeline::registry::listing;
use session_pipeline_pipeline::run::{RunError, RunRequest};

use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};

/// A processor of somebody else.
pub const VERSIONED: &str = "faulty-versioned";
/// The file that it lies in.
const FILE: &str = "theirs.wasm";
const KEY: &str = "ada/one.jsonl";

/// Its component in some version.
pub fn versioned(version: u32) -> Vec<u8> {
    let says = format!(" {version:05} ");
    patched(faulty("versioned").unwrap(), " 00001 ", &says)
}

/// A component with another text of the same length among its bytes.
fn patched(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "`{from}` and `{to}`");
    let places = component.windows(from.len());
    let places: Vec<usize> = places
        .enumerate()
        .filter(|(_, bytes)| *bytes == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "`{from}` stands there once");
    let mut patched = component.to_vec();
    patched[places[0]..places[0] + to.len()].copy_from_slice(to.as_bytes());
    patched
}

/// A data dir with a session, and a processor of the program in a pipeline.
fn stage() -> (DataDir, TestPipeline) {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = open(&dir);
    (dir, pipeline)
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[well_behaved()])
}

/// A configuration by which whatever was not compiled in this data dir is compiled.
fn compiling(dir: &DataDir) -> Config {
    Config {
        compiler: Compiler::InProcess,
        ..dir.config()
    }
}

fn look(pipeline: &TestPipeline) {
    pipeline.pipeline().examine_folder(true).unwrap();
}

/// What the folder came to, a line for each processor and each refused file.
fn standing(pipeline: &TestPipeline) -> Vec<String> {
    let plan = pipeline.pipeline().registry().plan();
    let running = plan.running.values().map(|running| {
        let (file, version) = (&running.file, running.component.version);
        let instead = match running.is_last_good {
            true => ", as it was",
            false => "",
        };
        format!("{} {version} of {file}{instead}", running.component.name)
    });
    let refused = plan.rejected.iter().map(ToString::to_string);
    let unexamined = plan.unexamined.iter();
    let unexamined = unexamined.map(|file| format!("{file} is not looked at yet"));
    running.chain(refused).chain(unexamined).collect()
}

/// The health of the folder.
fn health(pipeline: &TestPipeline) -> CheckResult {
    let pipeline = pipeline.pipeline();
    let facts = HealthFacts::collect(HealthSources {
        config: pipeline.config(),
        registry: pipeline.registry(),
        database: Some(pipeline.store()).into(),
        cadences: &pipeline.registry().cadences(),
        scheduler: None,
        disk: &SystemDisk,
        schema: None,
        now: pipeline.clock().now(),
    });
    let mut report = HealthReport::judge(&facts);
    report.entries.remove("processors").unwrap()
}

/// The digest of the component that processed a session.
fn processed_by(pipeline: &TestPipeline, key: &str) -> String {
    let known = pipeline.pipeline().store().state_rows(VERSIONED);
    let known = known.unwrap();
    let digest = known.get(key).unwrap().digest.unwrap();
    known.digests[usize::from(digest)].clone()
}

fn lines_of_versioned() -> String {
    lines_of(VERSIONED).replace(", text ", ", text_of_line ")
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refusal(pipeline: &TestPipeline, name: &str) -> String {
    match pipeline.try_run_as(name, RunRequest::cli()) {
        Err(RunError::Registry(error)) => error.to_string(),
        other => panic!("`{name}` is not at hand, and not: {other:?}"),
    }
}

// Taken up.

#[test]
fn a_dropped_component_is_a_processor_like_any_other() {
    let (dir, pipeline) = stage();
    assert_eq!(
        refusal(&pipeline, VERSIONED),
        "Unknown processor `faulty-versioned`; known processors: faulty-well-behaved, verification"
    );
    dir.drop_processor(FILE, versioned(1));
    // Nobody has to be told: whoever runs it looks.
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(pipeline.run(VERSIONED).opens, 0);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(1)));
    let (registry, config) = (pipeline.pipeline().registry(), pipeline.pipeline().config());
    assert_eq!(registry.names(), [VERSIONED, WELL_BEHAVED]);
    let store = Some(pipeline.pipeline().store());
    let listed = listing::list(registry, config, store, &config.state_dir(), false).unwrap();
    let told: Vec<String> = listed
        .iter()
        .map(|listed| {
            format!(
                "{} {} {:?} {:?} llm: {} {:?}",
                listed.name,
                listed.origin.as_str(),
                listed.file,
                listed.version,
                listed.llm_granted,
                listed.unavailable,
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    faulty-versioned dropped Some("theirs.wasm") Some(1) llm: false None
    faulty-well-behaved shipped None Some(1) llm: true None
    "#);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
    drop(pipeline);
    assert_eq!(
        rows(
            &dir,
            "SELECT session_file, line, text_of_line FROM \"faulty-versioned\".lines"
        ),
        ["ada/one.jsonl | 1 | one"]
    );
}

#[test]
fn what_lies_there_at_the_start_runs_too_and_is_compiled_once() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(open(&dir).run(VERSIONED).stats.processed, 1);
    // A compiler that does not exist would be missed.
    let config = Config {
        compiler: Compiler::Child {
            program: "/nowhere/session-pipeline".into(),
            arguments: Vec::new(),
        },
        ..dir.config()
    };
    dir.write("ada/two.jsonl", "two\n");
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    look(&pipeline);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of theirs.wasm"]);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn those_who_only_ask_compile_nothing_and_know_what_ran_before() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    let registry = pipeline.pipeline().registry();
    assert_eq!(health(&pipeline).status, CheckStatus::Info);
    assert_eq!(standing(&pipeline), ["theirs.wasm is not looked at yet"]);
    assert_eq!(registry.names(), [WELL_BEHAVED]);
    look(&pipeline);
    drop(pipeline);

    let pipeline = open(&dir);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of theirs.wasm"]);
}

// Taken away.

#[test]
fn a_file_that_is_taken_away_takes_its_processor_along_and_leaves_its_rows() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.remove_processor(FILE);
    look(&pipeline);
    assert_eq!(standing(&pipeline), [""; 0]);
    assert_eq!(
        health(&pipeline).status,
        CheckStatus::Ok,
        "that was the operator's wish"
    );
    assert_eq!(pipeline.pipeline().registry().names(), [WELL_BEHAVED]);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of_versioned()),
        ["ada/one.jsonl | 1 | one"]
    );
    assert_eq!(rows(&dir, "SELECT file_name FROM component_files"), [""; 0]);

    // What comes later under its file's name has nothing to fall back to.
    dir.drop_processor(FILE, "no component");
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(
        standing(&pipeline),
        ["`theirs.wasm` was rejected: the file is not WebAssembly"]
    );
    // And what comes back goes on where it ended.
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
}

#[test]
fn a_file_of_another_name_is_the_same_processor() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    fs::rename(dir.processor_path(FILE), dir.processor_path("renamed.wasm")).unwrap();
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of renamed.wasm"]);
    dir.drop_processor("renamed.wasm", "no component");
    drop(pipeline);
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(
        standing(&pipeline)[0],
        "faulty-versioned 1 of renamed.wasm, as it was"
    );
}

#[test]
fn a_folder_that_can_not_be_read_takes_nothing_away() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let folder = dir.path().join("processors");
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    fs::write(&folder, "a file").unwrap();
    look(&pipeline);
    let expected = [
        "faulty-versioned 1 of theirs.wasm, as it was",
        "`theirs.wasm` was rejected: cannot read the folder of processors: Not a directory (os error 20); \
         check its permissions; version 1 of `faulty-versioned` stays in use",
    ];
    assert_eq!(standing(&pipeline), expected);
    drop(pipeline);
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected, "after a restart");
}

// In its own time.

#[test]
fn nobody_waits_for_the_compiler_of_another() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);

    // A compiler that stands still until somebody reads what it has to say.
    let (began, held) = (dir.path().join("began"), dir.path().join("held"));
    for fifo in [&began, &held] {
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::RWXU).unwrap();
    }
    let script = format!(
        "echo > '{}'; cat '{}'; exit 1",
        began.display(),
        held.display()
    );
    let config = Config {
        compiler: Compiler::Child {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script],
        },
        ..dir.config()
    };
    let pipeline = Arc::new(TestPipeline::open_with(&dir, config, &[well_behaved()]));
    look(&pipeline);
    dir.drop_processor("another.wasm", versioned(2));
    let looking = Arc::clone(&pipeline);
    let looking = std::thread::spawn(move || look(&looking));
    // Waits until the compiler is at work.
    fs::read(&began).unwrap();

    dir.write("ada/two.jsonl", "two\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of theirs.wasm"]);

    fs::write(&held, "").unwrap();
    looking.join().unwrap();
    assert_eq!(standing(&pipeline).len(), 2, "{:?}", standing(&pipeline));
}

#[test]
fn a_broken_file_is_compiled_once_and_not_at_every_look() {
    let (dir, pipeline) = stage();
    drop(pipeline);
    let tries = dir.path().join("tries");
    let script = format!("echo >> '{}'; exit 1", tries.display());
    let config = Config {
        compiler: Compiler::Child {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script],
        },
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    let tries = || fs::read(&tries).unwrap().len();
    dir.drop_processor(FILE, versioned(1));
    for _ in 0..3 {
        look(&pipeline);
        assert!(standing(&pipeline)[0].contains("does not compile"));
    }
    assert_eq!(tries(), 1);
    dir.drop_processor(FILE, versioned(2));
    look(&pipeline);
    assert_eq!(tries(), 2, "what changed is tried again");
}

#[test]
fn what_is_our_own_trouble_is_tried_again_and_the_component_before_goes_on() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    drop(pipeline);
    let program = dir.path().join("compiler");
    let config = Config {
        compiler: Compiler::Child {
            program: program.clone(),
            arguments: vec!["compile-component".to_owned(), "--".to_owned()],
        },
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    dir.drop_processor(FILE, versioned(2));
    look(&pipeline);
    let told = standing(&pipeline);
    assert_eq!(told[0], "faulty-versioned 1 of theirs.wasm, as it was");
    assert!(told[1].contains("the compiler cannot use"), "{told:?}");
    // The compiler is there now, and the file as it was.
    let binary = program::path();
    std::os::unix::fs::symlink(binary, program).unwrap();
    look(&pipeline);
    assert_eq!(standing(&pipeline), ["faulty-versioned 2 of theirs.wasm"]);
}

#[test]
fn a_processor_is_asked_under_its_own_limits_and_settings() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let mut config = dir.config();
    let mut limits = config.limits.clone();
    limits.fuel_base = 1;
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.limits = Some(limits);
    dir.drop_processor(FILE, versioned(1));
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    look(&pipeline);
    let told = standing(&pipeline);
    assert!(
        told[0].contains("`describe` failed: out-of-fuel"),
        "{told:?}"
    );
}

#[test]
fn a_cadence_shorter_than_the_tick_stops_no_server() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    look(&pipeline);
    drop(pipeline);
    let mut config = dir.config();
    config.scheduler.tick = Duration::from_secs(3600);
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    let cadences = session_pipeline_pipeline::scheduler::cadences(pipeline.pipeline());
    assert_eq!(
        cadences[0],
        (VERSIONED.to_owned(), Some(Duration::from_secs(3600)))
    );
}

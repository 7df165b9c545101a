//! Third-party components in the folder of processors: adding, replacing and removing them.
//!
//! `refused` tests files that are rejected, and `plan` the decision which files are used.

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

/// The name of a third-party processor.
pub const VERSIONED: &str = "faulty-versioned";
/// The name of its file.
const FILE: &str = "theirs.wasm";
const KEY: &str = "ada/one.jsonl";

/// Returns its component with this version.
pub fn versioned(version: u32) -> Vec<u8> {
    let version_text = format!(" {version:05} ");
    patched(faulty("versioned").unwrap(), " 00001 ", &version_text)
}

/// Returns a component in which a text is replaced by another one of the same length.
fn patched(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "`{from}` and `{to}`");
    let windows = component.windows(from.len());
    let places: Vec<usize> = windows
        .enumerate()
        .filter(|(_, bytes)| *bytes == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "`{from}` must occur once");
    let mut patched = component.to_vec();
    patched[places[0]..places[0] + to.len()].copy_from_slice(to.as_bytes());
    patched
}

/// Returns a data directory with one session, and a pipeline with one shipped processor.
fn setup() -> (DataDir, TestPipeline) {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let pipeline = open(&dir);
    (dir, pipeline)
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[well_behaved()])
}

/// Returns a configuration that compiles components in this process.
fn config_with_compiler(dir: &DataDir) -> Config {
    Config {
        compiler: Compiler::InProcess,
        ..dir.config()
    }
}

fn examine_folder(pipeline: &TestPipeline) {
    pipeline.pipeline().examine_folder(true).unwrap();
}

/// Returns one line for each processor and for each rejected or unexamined file of the folder.
fn folder_status(pipeline: &TestPipeline) -> Vec<String> {
    let plan = pipeline.pipeline().registry().plan();
    let running = plan.running.values().map(|running| {
        let (file, version) = (&running.file, running.component.version);
        let suffix = match running.is_last_good {
            true => " (last good)",
            false => "",
        };
        format!("{} {version} of {file}{suffix}", running.component.name)
    });
    let rejected = plan.rejected.iter().map(ToString::to_string);
    let unexamined = plan.unexamined.iter();
    let unexamined = unexamined.map(|file| format!("{file} is not examined yet"));
    running.chain(rejected).chain(unexamined).collect()
}

/// Returns the health entry of the folder.
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

/// Returns the digest of the component that processed a session.
fn processed_by(pipeline: &TestPipeline, key: &str) -> String {
    let states = pipeline.pipeline().store().state_rows(VERSIONED);
    let states = states.unwrap();
    let digest = states.get(key).unwrap().digest.unwrap();
    states.digests[usize::from(digest)].clone()
}

fn lines_of_versioned() -> String {
    lines_of(VERSIONED).replace(", text ", ", text_of_line ")
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unavailable_error(pipeline: &TestPipeline, name: &str) -> String {
    match pipeline.try_run_as(name, RunRequest::cli()) {
        Err(RunError::Registry(error)) => error.to_string(),
        other => panic!("`{name}` must be unavailable: {other:?}"),
    }
}

// Adding files.

#[test]
fn a_component_in_the_folder_is_available_as_a_processor() {
    let (dir, pipeline) = setup();
    assert_eq!(
        unavailable_error(&pipeline, VERSIONED),
        "unknown processor `faulty-versioned`; known processors: faulty-well-behaved"
    );
    dir.drop_processor(FILE, versioned(1));
    // A run examines the folder.
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(pipeline.run(VERSIONED).opens, 0);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(1)));
    let (registry, config) = (pipeline.pipeline().registry(), pipeline.pipeline().config());
    assert_eq!(registry.names(), [VERSIONED, WELL_BEHAVED]);
    let store = Some(pipeline.pipeline().store());
    let listed = listing::list(registry, config, store, &config.state_dir(), false).unwrap();
    let lines: Vec<String> = listed
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
    insta::assert_snapshot!(lines.join("\n"), @r#"
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
fn a_file_present_at_the_start_is_available_and_compiled_once() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(open(&dir).run(VERSIONED).stats.processed, 1);
    // With a compiler that does not exist, compiling again would fail.
    let config = Config {
        compiler: Compiler::Child {
            program: "/nowhere/session-pipeline".into(),
            arguments: Vec::new(),
        },
        ..dir.config()
    };
    dir.write("ada/two.jsonl", "two\n");
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 1 of theirs.wasm"]
    );
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn queries_compile_nothing_and_return_the_previously_loaded_processors() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    let registry = pipeline.pipeline().registry();
    assert_eq!(health(&pipeline).status, CheckStatus::Info);
    assert_eq!(
        folder_status(&pipeline),
        ["theirs.wasm is not examined yet"]
    );
    assert_eq!(registry.names(), [WELL_BEHAVED]);
    examine_folder(&pipeline);
    drop(pipeline);

    let pipeline = open(&dir);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 1 of theirs.wasm"]
    );
}

// Removing files.

#[test]
fn removing_a_file_removes_its_processor_and_keeps_its_rows() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.remove_processor(FILE);
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), [""; 0]);
    assert_eq!(
        health(&pipeline).status,
        CheckStatus::Ok,
        "removing a file is intended"
    );
    assert_eq!(pipeline.pipeline().registry().names(), [WELL_BEHAVED]);
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of_versioned()),
        ["ada/one.jsonl | 1 | one"]
    );
    assert_eq!(rows(&dir, "SELECT file_name FROM component_files"), [""; 0]);

    // A later file with the same name has no last good component.
    dir.drop_processor(FILE, "no component");
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["`theirs.wasm` was rejected: the file is not WebAssembly"]
    );
    // A restored component continues with its previous state.
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
}

#[test]
fn a_renamed_file_is_the_same_processor() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    fs::rename(dir.processor_path(FILE), dir.processor_path("renamed.wasm")).unwrap();
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 1 of renamed.wasm"]
    );
    dir.drop_processor("renamed.wasm", "no component");
    drop(pipeline);
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline)[0],
        "faulty-versioned 1 of renamed.wasm (last good)"
    );
}

#[test]
fn an_unreadable_folder_removes_no_processor() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let folder = dir.path().join("processors");
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    fs::write(&folder, "a file").unwrap();
    examine_folder(&pipeline);
    let expected = [
        "faulty-versioned 1 of theirs.wasm (last good)",
        "`theirs.wasm` was rejected: cannot read the folder of processors: Not a directory (os error 20); \
         check its permissions; version 1 of `faulty-versioned` stays in use",
    ];
    assert_eq!(folder_status(&pipeline), expected);
    drop(pipeline);
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), expected, "after a restart");
}

// Compiling.

#[test]
fn runs_do_not_wait_for_the_compilation_of_another_component() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);

    // A compiler that blocks until the test writes to a pipe.
    let (began, release) = (dir.path().join("began"), dir.path().join("held"));
    for fifo in [&began, &release] {
        rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::RWXU).unwrap();
    }
    let script = format!(
        "echo > '{}'; cat '{}'; exit 1",
        began.display(),
        release.display()
    );
    let config = Config {
        compiler: Compiler::Child {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script],
        },
        ..dir.config()
    };
    let pipeline = Arc::new(TestPipeline::open_with(&dir, config, &[well_behaved()]));
    examine_folder(&pipeline);
    dir.drop_processor("another.wasm", versioned(2));
    let shared = Arc::clone(&pipeline);
    let examination = std::thread::spawn(move || examine_folder(&shared));
    // Wait until the compiler is running.
    fs::read(&began).unwrap();

    dir.write("ada/two.jsonl", "two\n");
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 1);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 1 of theirs.wasm"]
    );

    fs::write(&release, "").unwrap();
    examination.join().unwrap();
    assert_eq!(
        folder_status(&pipeline).len(),
        2,
        "{:?}",
        folder_status(&pipeline)
    );
}

#[test]
fn an_invalid_file_is_compiled_only_once() {
    let (dir, pipeline) = setup();
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
        examine_folder(&pipeline);
        assert!(folder_status(&pipeline)[0].contains("does not compile"));
    }
    assert_eq!(tries(), 1);
    dir.drop_processor(FILE, versioned(2));
    examine_folder(&pipeline);
    assert_eq!(tries(), 2, "a changed file must be tried again");
}

#[test]
fn a_compiler_failure_is_retried_and_the_last_good_component_stays_in_use() {
    let (dir, pipeline) = setup();
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
    examine_folder(&pipeline);
    let status = folder_status(&pipeline);
    assert_eq!(status[0], "faulty-versioned 1 of theirs.wasm (last good)");
    assert!(status[1].contains("the compiler cannot use"), "{status:?}");
    // Now the compiler exists, and the file is unchanged.
    let binary = program::path();
    std::os::unix::fs::symlink(binary, program).unwrap();
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 2 of theirs.wasm"]
    );
}

#[test]
fn describe_runs_under_the_limits_of_the_processor() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let mut config = dir.config();
    let mut limits = config.limits.clone();
    limits.fuel_base = 1;
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.limits = Some(limits);
    dir.drop_processor(FILE, versioned(1));
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    examine_folder(&pipeline);
    let status = folder_status(&pipeline);
    assert!(
        status[0].contains("`describe` failed: out-of-fuel"),
        "{status:?}"
    );
}

#[test]
fn a_cadence_shorter_than_the_tick_is_raised_to_the_tick() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    examine_folder(&pipeline);
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

//! Components of others, in the folder of processors: taken up, replaced, refused, taken away.
//!
//! What is refused and why stands in a room of its own, and so does the plan behind all of it.

mod plan;
mod refused;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use session_pipeline_bundle::faulty;
use session_pipeline_harness::{DataDir, TestPipeline, cases, program};
use session_pipeline_runtime::config::{Compiler, Config};
use session_pipeline_runtime::health::{Entry, Facts, Report, Sources, Status, SystemDisk};
use session_pipeline_runtime::registry::listing;
use session_pipeline_runtime::run::{Progress, RunError, RunRequest};

use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, misbehaving, well_behaved};

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
    pipeline.pipeline().look(true).unwrap();
}

/// What the folder came to, a line for each processor and each refused file.
fn standing(pipeline: &TestPipeline) -> Vec<String> {
    let plan = pipeline.pipeline().registry().plan();
    let running = plan.running.values().map(|running| {
        let (file, version) = (&running.file, running.component.version);
        let instead = match running.is_instead {
            true => ", as it was",
            false => "",
        };
        format!("{} {version} of {file}{instead}", running.component.name)
    });
    let refused = plan.refused.iter().map(ToString::to_string);
    let unexamined = plan.unexamined.iter();
    let unexamined = unexamined.map(|file| format!("{file} is not looked at yet"));
    running.chain(refused).chain(unexamined).collect()
}

/// The health of the folder.
fn health(pipeline: &TestPipeline) -> Entry {
    let pipeline = pipeline.pipeline();
    let facts = Facts::gather(Sources {
        config: pipeline.config(),
        registry: pipeline.registry(),
        database: Some(pipeline.store()).into(),
        cadences: &pipeline.registry().cadences(),
        scheduler: None,
        disk: &SystemDisk,
        schema: None,
        now: pipeline.clock().now(),
    });
    let mut report = Report::of(&facts);
    report.entries.remove("processors").unwrap()
}

/// The digest of the component that processed a session.
fn processed_by(pipeline: &TestPipeline, key: &str) -> String {
    let known = pipeline.pipeline().store().known_sessions(VERSIONED);
    let known = known.unwrap();
    let digest = known.get(key).unwrap().digest.unwrap();
    known.digests[usize::from(digest)].clone()
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
        "Unknown processor `faulty-versioned`; known are: faulty-well-behaved, verification"
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
    assert_eq!(health(&pipeline).status, Status::Ok);
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
    assert_eq!(health(&pipeline).status, Status::Info);
    assert_eq!(standing(&pipeline), ["theirs.wasm is not looked at yet"]);
    assert_eq!(registry.names(), [WELL_BEHAVED]);
    look(&pipeline);
    drop(pipeline);

    let pipeline = open(&dir);
    assert_eq!(health(&pipeline).status, Status::Ok);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of theirs.wasm"]);
}

// Replaced.

#[test]
fn a_raised_version_takes_over_and_makes_its_sessions_due() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, versioned(2));
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(2)));
    assert_eq!(standing(&pipeline), ["faulty-versioned 2 of theirs.wasm"]);

    // Of the same version: what is new goes to it, and nothing is done again.
    let other = patched(&versioned(2), "Keeps each line", "Keeps each word");
    dir.drop_processor(FILE, &other);
    dir.write("ada/two.jsonl", "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(2)));
    assert_eq!(processed_by(&pipeline, "ada/two.jsonl"), sha256(&other));
    drop(pipeline);
    assert_eq!(
        rows(&dir, &lines_of_versioned()).len(),
        2,
        "replaced, not appended"
    );
}

fn lines_of_versioned() -> String {
    lines_of(VERSIONED).replace(", text ", ", text_of_line ")
}

/// Does something once, when a run has made its plan.
struct Meanwhile<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Progress for Meanwhile<F> {
    fn planned(&self, _: u64, _: u64) {
        (self.0)();
    }

    fn advanced(&self, _: u64) {}
}

#[test]
fn a_run_goes_on_with_the_component_it_began_with() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    let replace = Meanwhile(|| {
        dir.drop_processor(FILE, versioned(2));
        look(&pipeline);
        assert_eq!(standing(&pipeline), ["faulty-versioned 2 of theirs.wasm"]);
    });
    let run = |progress: &dyn Progress| {
        let run = pipeline
            .pipeline()
            .run(VERSIONED, &RunRequest::cli(), progress);
        run.unwrap().stats
    };
    assert_eq!(run(&replace).processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(1)));
    assert_eq!(
        run(&()).processed,
        1,
        "the raised version asks for it again"
    );
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(2)));
}

#[test]
fn a_run_whose_file_is_taken_away_comes_to_its_end() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    let take = Meanwhile(|| {
        dir.take_processor(FILE);
        look(&pipeline);
    });
    let run = pipeline
        .pipeline()
        .run(VERSIONED, &RunRequest::cli(), &take);
    assert_eq!(run.unwrap().stats.processed, 1);
    assert!(refusal(&pipeline, VERSIONED).starts_with("Unknown processor"));
}

#[test]
fn a_half_copied_component_leaves_the_one_before_in_work_and_is_tried_again() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    look(&pipeline);
    let whole = versioned(2);
    for length in [0, 3, 8, 1000, whole.len() / 2, whole.len() - 1] {
        dir.copy_processor(FILE, &whole[..length]);
        dir.write(KEY, format!("after {length} bytes\n"));
        assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
        assert_eq!(
            processed_by(&pipeline, KEY),
            sha256(&versioned(1)),
            "{length}"
        );
        look(&pipeline);
        assert_eq!(
            standing(&pipeline).len(),
            2,
            "in work, and refused: {length}"
        );
        assert_eq!(health(&pipeline).status, Status::Warning);
    }
    dir.copy_processor(FILE, &whole);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&whole));
    assert_eq!(health(&pipeline).status, Status::Ok);
}

#[test]
fn a_component_that_is_first_seen_half_copied_is_found_when_it_is_whole() {
    let (dir, pipeline) = stage();
    let file = format!("{VERSIONED}.wasm");
    let whole = versioned(1);
    dir.copy_processor(&file, &whole[..whole.len() / 2]);
    let refused = refusal(&pipeline, VERSIONED);
    assert!(
        refused.starts_with(
            "the processor `faulty-versioned` is not at hand: `faulty-versioned.wasm` is refused: \
             the component does not compile: "
        ),
        "{refused}"
    );
    dir.copy_processor(&file, &whole);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn a_broken_replacement_leaves_the_last_good_one_in_work_also_after_a_restart() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(3));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, "no component");
    look(&pipeline);
    let expected = [
        "faulty-versioned 3 of theirs.wasm, as it was",
        "`theirs.wasm` is refused: the file is no WebAssembly; version 3 of `faulty-versioned`, which it held before, goes on",
    ];
    assert_eq!(standing(&pipeline), expected);
    let entry = health(&pipeline);
    assert_eq!(
        (entry.status, entry.detail.as_deref()),
        (Status::Warning, Some(expected[1]))
    );
    drop(pipeline);

    for restart in 0..3 {
        let key = format!("ada/after-{restart}.jsonl");
        dir.write(&key, "more\n");
        let pipeline = TestPipeline::open_with(&dir, compiling(&dir), &[well_behaved()]);
        assert_eq!(pipeline.run(VERSIONED).stats.processed, 1, "{restart}");
        assert_eq!(processed_by(&pipeline, &key), sha256(&versioned(3)));
        look(&pipeline);
        assert_eq!(standing(&pipeline), expected);
        drop(pipeline);
        // The compiled form may be lost: what it was made of is kept as well.
        for entry in fs::read_dir(dir.path().join("state/components")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "code")
            {
                fs::remove_file(path).unwrap();
            }
        }
    }
    dir.drop_processor(FILE, versioned(4));
    let pipeline = open(&dir);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 4);
    assert_eq!(standing(&pipeline), ["faulty-versioned 4 of theirs.wasm"]);
}

#[test]
fn what_is_kept_is_the_last_good_component_and_nothing_half_done() {
    let (dir, pipeline) = stage();
    pipeline.run(WELL_BEHAVED);
    for version in 1..4 {
        dir.drop_processor(FILE, versioned(version));
        pipeline.run(VERSIONED);
    }
    dir.drop_processor(FILE, "no component");
    drop(pipeline);
    let folder = dir.path().join("state/components");
    // As a process leaves it that ends while it compiles.
    fs::create_dir(folder.join(".tmpAbCdEf")).unwrap();
    fs::write(folder.join(".tmpAbCdEf/component.wasm"), versioned(4)).unwrap();
    fs::write(folder.join(".tmpGhIjKl"), "half of it").unwrap();

    let pipeline = open(&dir);
    let kept = fs::read_dir(&folder).unwrap();
    let kept = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (mut components, others): (Vec<String>, Vec<String>) =
        kept.partition(|name| name.ends_with(".wasm"));
    components.sort();
    let mut expected =
        [well_behaved().1, &versioned(3)].map(|bytes| format!("{}.wasm", sha256(bytes)));
    expected.sort();
    assert_eq!(components, expected);
    assert_eq!(others.len(), 2, "their compiled forms: {others:?}");
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(3)));
    drop(pipeline);
    // What is older has to be compiled anew, and can be.
    let mut config = compiling(&dir);
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.may_go_back = true;
    dir.drop_processor(FILE, versioned(1));
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    dir.write(KEY, "three\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn a_last_good_component_that_was_lost_is_not_said_to_go_on() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    drop(pipeline);
    dir.drop_processor(FILE, "no component");
    let kept = format!("state/components/{}.wasm", sha256(&versioned(1)));
    fs::remove_file(dir.path().join(kept)).unwrap();
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(
        standing(&pipeline),
        ["`theirs.wasm` is refused: the file is no WebAssembly"]
    );
    // Its rows are there all the same, and so is the way back.
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
}

#[test]
fn a_lower_version_is_refused_unless_it_is_asked_for() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(2));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, versioned(1));
    look(&pipeline);
    let expected = [
        "faulty-versioned 2 of theirs.wasm, as it was",
        "`theirs.wasm` is refused: its version 1 is lower than 2, which ran here before; use the newer component, \
         or set `allow_lower_version = true` in `[processors.faulty-versioned]`; \
         version 2 of `faulty-versioned`, which it held before, goes on",
    ];
    assert_eq!(standing(&pipeline), expected);
    drop(pipeline);
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected, "after a restart");
    drop(pipeline);

    let mut config = dir.config();
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.may_go_back = true;
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(1)));
    drop(pipeline);
    // Asked for once, it stays.
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(standing(&pipeline), ["faulty-versioned 1 of theirs.wasm"]);
}

#[test]
fn a_component_whose_tables_have_another_shape_is_refused_with_the_difference() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let other = patched(&versioned(2), "text_of_line", "line_as_text");
    dir.drop_processor(FILE, other);
    look(&pipeline);
    insta::assert_snapshot!(standing(&pipeline).join("\n"), @"
    faulty-versioned 1 of theirs.wasm, as it was
    `theirs.wasm` is refused: the table `faulty-versioned.lines` does not fit its manifest: column 5 is `text_of_line VARCHAR` and should be `line_as_text VARCHAR`; give the new shape a new table name; version 1 of `faulty-versioned`, which it held before, goes on
    ");
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn a_replacement_that_asks_for_more_than_is_granted_does_not_take_over() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, misbehaving("asks_model").1);
    look(&pipeline);
    insta::assert_snapshot!(standing(&pipeline).join("\n"), @"
    faulty-versioned 1 of theirs.wasm, as it was
    `theirs.wasm` is refused: it asks for a language model, which it is not granted; set `llm = true` in `[processors.faulty-asks-model]` to grant it; version 1 of `faulty-versioned`, which it held before, goes on
    ");
}

#[test]
fn what_runs_and_loses_its_grant_stays_and_says_why_it_does_not_run() {
    let (dir, pipeline) = stage();
    drop(pipeline);
    let (name, component) = misbehaving("asks_model");
    dir.drop_processor(FILE, component);
    let mut config = dir.config();
    config.processors.entry(name.to_owned()).or_default().llm = Some(true);
    let granted = TestPipeline::open_with(&dir, config, &[]);
    look(&granted);
    assert_eq!(standing(&granted), ["faulty-asks-model 1 of theirs.wasm"]);
    drop(granted);
    let pipeline = open(&dir);
    for _ in 0..2 {
        look(&pipeline);
        assert_eq!(standing(&pipeline), ["faulty-asks-model 1 of theirs.wasm"]);
        let refused = refusal(&pipeline, name);
        let expected = "the processor `faulty-asks-model` is unavailable: component: it asks for a language model";
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn a_file_that_becomes_another_processor_takes_the_first_one_away() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let other = patched(&versioned(1), "faulty-versioned", "another-of-those");
    dir.drop_processor(FILE, other);
    look(&pipeline);
    assert_eq!(standing(&pipeline), ["another-of-those 1 of theirs.wasm"]);
    assert_eq!(pipeline.run("another-of-those").stats.processed, 1);
}

// Taken away.

#[test]
fn a_file_that_is_taken_away_takes_its_processor_along_and_leaves_its_rows() {
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.take_processor(FILE);
    look(&pipeline);
    assert_eq!(standing(&pipeline), [""; 0]);
    assert_eq!(
        health(&pipeline).status,
        Status::Ok,
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
        ["`theirs.wasm` is refused: the file is no WebAssembly"]
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
        "`theirs.wasm` is refused: the folder of processors can't be read (Not a directory (os error 20)); \
         check its permissions; version 1 of `faulty-versioned`, which it held before, goes on",
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
    assert_eq!(health(&pipeline).status, Status::Ok);
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
    assert!(told[1].contains("the compiler can't be run on"), "{told:?}");
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
        told[0].contains("it does not describe itself: out-of-fuel"),
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
    let cadences = session_pipeline_runtime::scheduler::cadences(pipeline.pipeline());
    assert_eq!(
        cadences[0],
        (VERSIONED.to_owned(), Some(Duration::from_secs(3600)))
    );
}

// Any history.

/// What happens to the file, or to the process.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// A component of this version is put in its place.
    Drop(u32),
    /// The first half of one is written over it.
    Half(u32),
    /// Something else is put in its place.
    Break,
    /// It is taken away.
    Take,
    /// The process begins anew.
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1_u32..4).prop_map(Action::Drop),
        2 => (1_u32..4).prop_map(Action::Half),
        1 => Just(Action::Break),
        1 => Just(Action::Take),
        2 => Just(Action::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 2))]

    /// Whatever is done to the file: what could be used last is what runs, and no broken file and
    /// no restart takes it away.
    #[test]
    fn invariant_what_could_be_used_last_is_what_runs(
        actions in prop::collection::vec(action(), 1..9),
    ) {
        let dir = DataDir::new();
        let mut pipeline = Some(TestPipeline::open(&dir, &[]));
        let (mut expected, mut highest, mut is_there) = (None, 0, false);
        for (number, action) in actions.iter().enumerate() {
            match *action {
                Action::Drop(version) => {
                    dir.drop_processor(FILE, versioned(version));
                    is_there = true;
                    if version >= highest {
                        (expected, highest) = (Some(version), version);
                    }
                }
                Action::Half(version) => {
                    let whole = versioned(version);
                    dir.copy_processor(FILE, &whole[..whole.len() / 2]);
                    is_there = true;
                }
                Action::Break => {
                    dir.drop_processor(FILE, "no component");
                    is_there = true;
                }
                Action::Take => {
                    if std::mem::take(&mut is_there) {
                        dir.take_processor(FILE);
                    }
                    expected = None;
                }
                Action::Restart => {
                    drop(pipeline.take());
                    pipeline = Some(TestPipeline::open(&dir, &[]));
                }
            }
            let pipeline = pipeline.as_ref().unwrap();
            look(pipeline);
            let plan = pipeline.pipeline().registry().plan();
            let runs = plan.running.get(VERSIONED).map(|running| running.component.version);
            prop_assert_eq!(runs, expected, "after {:?}", &actions[..=number]);
            let key = format!("ada/{number}.jsonl");
            dir.write(&key, "more\n");
            match expected {
                Some(version) => {
                    let stats = pipeline.run(VERSIONED).stats;
                    prop_assert_eq!(stats.errors, 0);
                    prop_assert!(stats.processed >= 1);
                    prop_assert_eq!(processed_by(pipeline, &key), sha256(&versioned(version)));
                }
                None => {
                    let refused = pipeline.try_run_as(VERSIONED, RunRequest::cli());
                    prop_assert!(matches!(refused, Err(RunError::Registry(_))));
                }
            }
        }
    }
}

//! A file that is there is replaced: what takes over, what does not, and what goes on meanwhile.

use std::fs;

use session_pipeline_harness::TestPipeline;
use session_pipeline_pipeline::health::CheckStatus;
use session_pipeline_pipeline::run::{Progress, RunRequest};

use super::{
    FILE, KEY, VERSIONED, compiling, health, lines_of_versioned, look, open, patched, processed_by,
    refusal, sha256, stage, standing, versioned,
};
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, misbehaving, well_behaved};

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
        dir.remove_processor(FILE);
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
        assert_eq!(health(&pipeline).status, CheckStatus::Warning);
    }
    dir.copy_processor(FILE, &whole);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&whole));
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
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
            "the processor `faulty-versioned` is unavailable: `faulty-versioned.wasm` was rejected: \
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
        "`theirs.wasm` was rejected: the file is not WebAssembly; version 3 of `faulty-versioned` stays in use",
    ];
    assert_eq!(standing(&pipeline), expected);
    let entry = health(&pipeline);
    assert_eq!(
        (entry.status, entry.detail.as_deref()),
        (CheckStatus::Warning, Some(expected[1]))
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
    own.allow_lower_version = true;
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
        ["`theirs.wasm` was rejected: the file is not WebAssembly"]
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
        "`theirs.wasm` was rejected: version 1 is lower than version 2, which ran here before; use the newer component, \
         or set `allow_lower_version = true` in `[processors.faulty-versioned]`; \
         version 2 of `faulty-versioned` stays in use",
    ];
    assert_eq!(standing(&pipeline), expected);
    drop(pipeline);
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected, "after a restart");
    drop(pipeline);

    let mut config = dir.config();
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.allow_lower_version = true;
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
    `theirs.wasm` was rejected: the table `faulty-versioned.lines` does not match the manifest: column 5 is `text_of_line VARCHAR` and should be `line_as_text VARCHAR`; use a new table name for the new columns; version 1 of `faulty-versioned` stays in use
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
    `theirs.wasm` was rejected: it uses a language model, which is not permitted; set `llm = true` in `[processors.faulty-asks-model]` to permit it; version 1 of `faulty-versioned` stays in use
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
        let expected = "the processor `faulty-asks-model` is unavailable: component: it uses a language model, which is not permitted";
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

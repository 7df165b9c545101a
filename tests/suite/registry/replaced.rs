//! Replacing the file of a processor: when the new component takes over, and what happens to runs.

use std::fs;

use session_pipeline_harness::TestPipeline;
use session_pipeline_pipeline::health::CheckStatus;
use session_pipeline_pipeline::run::{Progress, RunRequest};

use super::{
    FILE, KEY, VERSIONED, config_with_compiler, examine_folder, folder_status, health,
    lines_of_versioned, open, patched, processed_by, setup, sha256, unavailable_error, versioned,
};
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, misbehaving, well_behaved};

#[test]
fn a_higher_version_takes_over_and_reprocesses_all_sessions() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, versioned(2));
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(2)));
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 2 of theirs.wasm"]
    );

    // With the same version, only new sessions are processed.
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
        "rows must be replaced, not appended"
    );
}

/// Calls a function after the scan of a run.
struct AfterScan<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Progress for AfterScan<F> {
    fn planned(&self, _: u64, _: u64) {
        (self.0)();
    }

    fn advanced(&self, _: u64) {}
}

#[test]
fn a_run_continues_with_the_component_that_it_started_with() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    let replace = AfterScan(|| {
        dir.drop_processor(FILE, versioned(2));
        examine_folder(&pipeline);
        assert_eq!(
            folder_status(&pipeline),
            ["faulty-versioned 2 of theirs.wasm"]
        );
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
        "the higher version must reprocess the session"
    );
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(2)));
}

#[test]
fn a_run_completes_after_its_file_is_removed() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    let take = AfterScan(|| {
        dir.remove_processor(FILE);
        examine_folder(&pipeline);
    });
    let run = pipeline
        .pipeline()
        .run(VERSIONED, &RunRequest::cli(), &take);
    assert_eq!(run.unwrap().stats.processed, 1);
    assert!(unavailable_error(&pipeline, VERSIONED).starts_with("unknown processor"));
}

#[test]
fn a_partially_copied_component_is_retried_and_the_previous_one_stays_in_use() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    examine_folder(&pipeline);
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
        examine_folder(&pipeline);
        assert_eq!(
            folder_status(&pipeline).len(),
            2,
            "the old component in use and the new one rejected: {length}"
        );
        assert_eq!(health(&pipeline).status, CheckStatus::Warning);
    }
    dir.copy_processor(FILE, &whole);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&whole));
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
}

#[test]
fn a_new_component_is_available_once_it_is_completely_copied() {
    let (dir, pipeline) = setup();
    let file = format!("{VERSIONED}.wasm");
    let whole = versioned(1);
    dir.copy_processor(&file, &whole[..whole.len() / 2]);
    let error = unavailable_error(&pipeline, VERSIONED);
    assert!(
        error.starts_with(
            "the processor `faulty-versioned` is unavailable: `faulty-versioned.wasm` was rejected: \
             the component does not compile: "
        ),
        "{error}"
    );
    dir.copy_processor(&file, &whole);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn after_an_invalid_replacement_the_last_good_component_stays_in_use_across_restarts() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(3));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, "no component");
    examine_folder(&pipeline);
    let expected = [
        "faulty-versioned 3 of theirs.wasm (last good)",
        "`theirs.wasm` was rejected: the file is not WebAssembly; version 3 of `faulty-versioned` stays in use",
    ];
    assert_eq!(folder_status(&pipeline), expected);
    let entry = health(&pipeline);
    assert_eq!(
        (entry.status, entry.detail.as_deref()),
        (CheckStatus::Warning, Some(expected[1]))
    );
    drop(pipeline);

    for restart in 0..3 {
        let key = format!("ada/after-{restart}.jsonl");
        dir.write(&key, "more\n");
        let pipeline = TestPipeline::open_with(&dir, config_with_compiler(&dir), &[well_behaved()]);
        assert_eq!(pipeline.run(VERSIONED).stats.processed, 1, "{restart}");
        assert_eq!(processed_by(&pipeline, &key), sha256(&versioned(3)));
        examine_folder(&pipeline);
        assert_eq!(folder_status(&pipeline), expected);
        drop(pipeline);
        // Delete the compiled code. The stored component can be compiled again.
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
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 4 of theirs.wasm"]
    );
}

#[test]
fn only_the_last_good_component_is_stored_and_partial_files_are_removed() {
    let (dir, pipeline) = setup();
    pipeline.run(WELL_BEHAVED);
    for version in 1..4 {
        dir.drop_processor(FILE, versioned(version));
        pipeline.run(VERSIONED);
    }
    dir.drop_processor(FILE, "no component");
    drop(pipeline);
    let folder = dir.path().join("state/components");
    // Simulate a process that died while it compiled.
    fs::create_dir(folder.join(".tmpAbCdEf")).unwrap();
    fs::write(folder.join(".tmpAbCdEf/component.wasm"), versioned(4)).unwrap();
    fs::write(folder.join(".tmpGhIjKl"), "half of it").unwrap();

    let pipeline = open(&dir);
    let entries = fs::read_dir(&folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (mut components, others): (Vec<String>, Vec<String>) =
        names.partition(|name| name.ends_with(".wasm"));
    components.sort();
    let mut expected =
        [well_behaved().1, &versioned(3)].map(|bytes| format!("{}.wasm", sha256(bytes)));
    expected.sort();
    assert_eq!(components, expected);
    assert_eq!(others.len(), 2, "the compiled code of both: {others:?}");
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(3)));
    drop(pipeline);
    // An older version must be compiled again.
    let mut config = config_with_compiler(&dir);
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.allow_lower_version = true;
    dir.drop_processor(FILE, versioned(1));
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    dir.write(KEY, "three\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn a_lost_last_good_component_is_not_reported_as_in_use() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    drop(pipeline);
    dir.drop_processor(FILE, "no component");
    let stored = format!("state/components/{}.wasm", sha256(&versioned(1)));
    fs::remove_file(dir.path().join(stored)).unwrap();
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["`theirs.wasm` was rejected: the file is not WebAssembly"]
    );
    // The rows are kept, and the component can be restored.
    dir.drop_processor(FILE, versioned(1));
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
}

#[test]
fn a_lower_version_is_rejected_unless_the_config_allows_it() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(2));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, versioned(1));
    examine_folder(&pipeline);
    let expected = [
        "faulty-versioned 2 of theirs.wasm (last good)",
        "`theirs.wasm` was rejected: version 1 is lower than version 2, which ran here before; use the newer component, \
         or set `allow_lower_version = true` in `[processors.faulty-versioned]`; \
         version 2 of `faulty-versioned` stays in use",
    ];
    assert_eq!(folder_status(&pipeline), expected);
    drop(pipeline);
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), expected, "after a restart");
    drop(pipeline);

    let mut config = dir.config();
    let own = config.processors.entry(VERSIONED.to_owned()).or_default();
    own.allow_lower_version = true;
    let pipeline = TestPipeline::open_with(&dir, config, &[]);
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    assert_eq!(processed_by(&pipeline, KEY), sha256(&versioned(1)));
    drop(pipeline);
    // The lower version stays in use without the setting.
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["faulty-versioned 1 of theirs.wasm"]
    );
}

#[test]
fn a_component_with_different_tables_is_rejected_with_the_difference() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let other = patched(&versioned(2), "text_of_line", "line_as_text");
    dir.drop_processor(FILE, other);
    examine_folder(&pipeline);
    insta::assert_snapshot!(folder_status(&pipeline).join("\n"), @"
    faulty-versioned 1 of theirs.wasm (last good)
    `theirs.wasm` was rejected: the table `faulty-versioned.lines` does not match the manifest: column 5 is `text_of_line VARCHAR` and should be `line_as_text VARCHAR`; use a new table name for the new columns; version 1 of `faulty-versioned` stays in use
    ");
    dir.write(KEY, "two\n");
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}

#[test]
fn a_replacement_without_the_required_permission_does_not_take_over() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    dir.drop_processor(FILE, misbehaving("asks_model").1);
    examine_folder(&pipeline);
    insta::assert_snapshot!(folder_status(&pipeline).join("\n"), @"
    faulty-versioned 1 of theirs.wasm (last good)
    `theirs.wasm` was rejected: it uses a language model, which is not permitted; set `llm = true` in `[processors.faulty-asks-model]` to permit it; version 1 of `faulty-versioned` stays in use
    ");
}

#[test]
fn a_processor_that_loses_its_permission_stays_listed_and_reports_the_reason() {
    let (dir, pipeline) = setup();
    drop(pipeline);
    let (name, component) = misbehaving("asks_model");
    dir.drop_processor(FILE, component);
    let mut config = dir.config();
    config.processors.entry(name.to_owned()).or_default().llm = Some(true);
    let permitted = TestPipeline::open_with(&dir, config, &[]);
    examine_folder(&permitted);
    assert_eq!(
        folder_status(&permitted),
        ["faulty-asks-model 1 of theirs.wasm"]
    );
    drop(permitted);
    let pipeline = open(&dir);
    for _ in 0..2 {
        examine_folder(&pipeline);
        assert_eq!(
            folder_status(&pipeline),
            ["faulty-asks-model 1 of theirs.wasm"]
        );
        let error = unavailable_error(&pipeline, name);
        let expected = "the processor `faulty-asks-model` is unavailable: component: it uses a language model, which is not permitted";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_file_that_becomes_another_processor_removes_the_first_one() {
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    pipeline.run(VERSIONED);
    let other = patched(&versioned(1), "faulty-versioned", "another-of-those");
    dir.drop_processor(FILE, other);
    examine_folder(&pipeline);
    assert_eq!(
        folder_status(&pipeline),
        ["another-of-those 1 of theirs.wasm"]
    );
    assert_eq!(pipeline.run("another-of-those").stats.processed, 1);
}

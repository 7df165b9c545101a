//! Random changes to a file: the last usable component stays in use.

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_pipeline::run::{RunError, RunRequest};

use super::{FILE, VERSIONED, examine_folder, processed_by, sha256, versioned};

/// A change to the file, or a restart of the process.
#[derive(Clone, Copy, Debug)]
enum FileAction {
    /// The file is replaced by a component with this version.
    Replace(u32),
    /// The file is overwritten by the first half of a component with this version.
    Truncate(u32),
    /// The file is replaced by a file that is not a component.
    Corrupt,
    /// The file is removed.
    Remove,
    /// The process is restarted.
    Restart,
}

fn action() -> impl Strategy<Value = FileAction> {
    prop_oneof![
        4 => (1_u32..4).prop_map(FileAction::Replace),
        2 => (1_u32..4).prop_map(FileAction::Truncate),
        1 => Just(FileAction::Corrupt),
        1 => Just(FileAction::Remove),
        2 => Just(FileAction::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 2))]

    /// Neither an invalid file nor a restart removes the last usable component.
    #[test]
    fn invariant_the_last_usable_component_stays_in_use(
        actions in prop::collection::vec(action(), 1..9),
    ) {
        let dir = DataDir::new();
        let mut pipeline = Some(TestPipeline::open(&dir, &[]));
        let (mut expected, mut highest, mut exists) = (None, 0, false);
        for (number, action) in actions.iter().enumerate() {
            match *action {
                FileAction::Replace(version) => {
                    dir.drop_processor(FILE, versioned(version));
                    exists = true;
                    if version >= highest {
                        (expected, highest) = (Some(version), version);
                    }
                }
                FileAction::Truncate(version) => {
                    let whole = versioned(version);
                    dir.copy_processor(FILE, &whole[..whole.len() / 2]);
                    exists = true;
                }
                FileAction::Corrupt => {
                    dir.drop_processor(FILE, "no component");
                    exists = true;
                }
                FileAction::Remove => {
                    if std::mem::take(&mut exists) {
                        dir.remove_processor(FILE);
                    }
                    expected = None;
                }
                FileAction::Restart => {
                    drop(pipeline.take());
                    pipeline = Some(TestPipeline::open(&dir, &[]));
                }
            }
            let pipeline = pipeline.as_ref().unwrap();
            examine_folder(pipeline);
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
                    let result = pipeline.try_run_as(VERSIONED, RunRequest::cli());
                    prop_assert!(matches!(result, Err(RunError::Registry(_))));
                }
            }
        }
    }
}

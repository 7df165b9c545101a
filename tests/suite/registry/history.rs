//! Whatever is done to a file: what could be used last is what runs.

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_pipeline::run::{RunError, RunRequest};

use super::{FILE, VERSIONED, look, processed_by, sha256, versioned};

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
                        dir.remove_processor(FILE);
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

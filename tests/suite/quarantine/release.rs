//! What leads out of quarantine, and what does not.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::quarantine::{self, QuarantineError};
use session_pipeline_store::{Actor, QuarantineFilter};

use crate::database::rows;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, well_behaved};

const ONE: &str = "ada/one.jsonl";
const TWO: &str = "bob/two.jsonl";

/// Two sessions in quarantine, and one that is well.
fn quarantined() -> (DataDir, TestPipeline) {
    let dir = DataDir::new();
    dir.write(ONE, POISON);
    dir.write(TWO, POISON);
    dir.write("bob/fine.jsonl", "fine\n");
    let pipeline = TestPipeline::open(&dir, &[panics(), well_behaved()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    (dir, pipeline)
}

fn which(processor: Option<&str>, session: Option<&str>) -> QuarantineFilter {
    QuarantineFilter {
        processor: processor.map(str::to_owned),
        session: session.map(str::to_owned),
    }
}

fn list(pipeline: &TestPipeline, which: &QuarantineFilter) -> Result<Vec<String>, QuarantineError> {
    let pipeline = pipeline.pipeline();
    let (config, registry) = (pipeline.config(), pipeline.registry());
    let now = pipeline.clock().now();
    let held = quarantine::list(config, registry, Some(pipeline.store()), which, now)?;
    Ok(held.into_iter().map(|held| held.session).collect())
}

fn check(pipeline: &TestPipeline, which: &QuarantineFilter) -> Result<u64, QuarantineError> {
    let pipeline = pipeline.pipeline();
    quarantine::release(
        pipeline.config(),
        pipeline.registry(),
        Some(pipeline.store()),
        which,
        Actor::cli(),
        pipeline.clock().now(),
    )
}

#[test]
fn a_released_session_is_tried_by_the_next_run_and_counted_anew() {
    let (_dir, pipeline) = quarantined();
    assert_eq!(check(&pipeline, &which(None, Some(ONE))).unwrap(), 1);
    assert_eq!(
        list(&pipeline, &QuarantineFilter::default()).unwrap(),
        [TWO]
    );
    // Scheduled: it does not even wait.
    let stats = pipeline.run_scheduled(PANICS).stats;
    assert_eq!((stats.errors, stats.quarantined), (1, 1));
    let failures = pipeline.failure(PANICS, ONE).unwrap().failures;
    assert_eq!((failures.attempts, failures.own_attempts), (1, 1));
}

#[test]
fn those_of_a_processor_are_released_together_and_everybody_when_nobody_is_named() {
    let (_dir, pipeline) = quarantined();
    assert_eq!(
        check(&pipeline, &which(Some(WELL_BEHAVED), None)).unwrap(),
        0
    );
    assert_eq!(
        list(&pipeline, &which(Some(PANICS), None)).unwrap(),
        [ONE, TWO]
    );
    assert_eq!(check(&pipeline, &which(Some(PANICS), None)).unwrap(), 2);
    assert_eq!(check(&pipeline, &QuarantineFilter::default()).unwrap(), 0);
    assert_eq!(pipeline.run(PANICS).stats.errors, 2);
}

#[test]
fn what_is_not_there_and_what_is_not_in_quarantine_is_told_apart() {
    let (_dir, pipeline) = quarantined();
    let refusal = |processor, session| {
        let which = which(processor, session);
        check(&pipeline, &which).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refusal(None, Some("ada/onw.jsonl")), @"unknown session `ada/onw.jsonl`; did you mean `ada/one.jsonl`?");
    insta::assert_snapshot!(refusal(None, Some("bob/fine.jsonl")), @"session `bob/fine.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are");
    insta::assert_snapshot!(refusal(Some(WELL_BEHAVED), Some(ONE)), @"session `ada/one.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are");
    insta::assert_snapshot!(refusal(Some("moon"), None), @"Unknown processor `moon`; known processors: faulty-panics, faulty-well-behaved, verification");
    assert_eq!(
        check(&pipeline, &which(Some("verification"), None)).unwrap(),
        0
    );
    assert!(list(&pipeline, &which(None, Some("ada/onw.jsonl"))).is_err());
    assert_eq!(
        list(&pipeline, &which(None, Some("bob/fine.jsonl"))).unwrap(),
        [""; 0]
    );
    assert_eq!(
        list(&pipeline, &QuarantineFilter::default()).unwrap(),
        [ONE, TWO]
    );
}

#[test]
fn a_release_is_audited_with_whom_it_was_for_and_a_refused_one_is_not() {
    let (dir, pipeline) = quarantined();
    check(&pipeline, &which(None, Some("bob/fine.jsonl"))).unwrap_err();
    check(&pipeline, &which(Some(PANICS), Some(ONE))).unwrap();
    check(&pipeline, &QuarantineFilter::default()).unwrap();
    drop(pipeline);
    let audit = "SELECT action, resource, params, result, client_kind FROM audit_log
        WHERE action LIKE 'quarantine%' ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r#"
    quarantine.release | session:ada/one.jsonl | {"processor":"faulty-panics","released":1,"session":"ada/one.jsonl"} | ok | cli
    quarantine.release | quarantine | {"processor":null,"released":1,"session":null} | ok | cli
    "#);
}

#[test]
fn a_session_that_waits_is_not_released_and_goes_on_waiting() {
    let dir = DataDir::new();
    dir.write(ONE, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    assert_eq!(check(&pipeline, &QuarantineFilter::default()).unwrap(), 0);
    assert_eq!(pipeline.run_scheduled(PANICS).stats.waiting, 1);
}

#[test]
fn one_whose_file_is_gone_is_listed_and_counted_no_more_and_stays_in_when_it_is_back() {
    let (dir, pipeline) = quarantined();
    dir.rename(ONE, "ada/.aside");
    pipeline.run(PANICS);
    let store = pipeline.pipeline().store();
    let held = store
        .sessions_in_quarantine(&which(None, Some(ONE)))
        .unwrap();
    assert!(held[0].missing_since.is_some());
    let since = pipeline.pipeline().clock().now();
    let counted = store.failures_by_processor(since).unwrap();
    assert_eq!((counted[0].quarantined, counted[0].failing), (1, 1));
    let counts = store.processor_counts().unwrap();
    let own = counts.iter().find(|counts| counts.processor == PANICS);
    assert_eq!(own.unwrap().quarantined, 1);

    dir.rename("ada/.aside", ONE);
    let stats = pipeline.run(PANICS).stats;
    assert_eq!((stats.errors, stats.quarantined), (0, 2));
    assert_eq!(
        store
            .sessions_in_quarantine(&which(None, Some(ONE)))
            .unwrap()[0]
            .missing_since,
        None
    );
}

#[test]
fn without_a_database_nobody_is_in_quarantine() {
    let dir = DataDir::new();
    dir.write(ONE, POISON);
    let pipeline = TestPipeline::open(&DataDir::new(), &[panics()]);
    let registry = pipeline.pipeline().registry();
    let now = pipeline.pipeline().clock().now();
    let config = dir.config();
    let listed =
        quarantine::list(&config, registry, None, &QuarantineFilter::default(), now).unwrap();
    assert_eq!(listed, []);
    let release = |which: &QuarantineFilter| {
        quarantine::release(&config, registry, None, which, Actor::cli(), now)
    };
    assert_eq!(release(&QuarantineFilter::default()).unwrap(), 0);
    assert!(matches!(
        release(&which(None, Some(ONE))),
        Err(QuarantineError::NotQuarantined { .. })
    ));
    assert!(matches!(
        release(&which(None, Some(TWO))),
        Err(QuarantineError::Listing(_))
    ));
}

//! Release from quarantine.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::quarantine::{self, QuarantineError};
use session_pipeline_store::{Actor, QuarantineFilter};

use crate::database::rows;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, well_behaved};

const ONE: &str = "ada/one.jsonl";
const TWO: &str = "bob/two.jsonl";

/// Returns a pipeline with two sessions in quarantine and a third one that succeeds.
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

fn filter(processor: Option<&str>, session: Option<&str>) -> QuarantineFilter {
    QuarantineFilter {
        processor: processor.map(str::to_owned),
        session: session.map(str::to_owned),
    }
}

fn list(
    pipeline: &TestPipeline,
    filter: &QuarantineFilter,
) -> Result<Vec<String>, QuarantineError> {
    let pipeline = pipeline.pipeline();
    let (config, registry) = (pipeline.config(), pipeline.registry());
    let now = pipeline.clock().now();
    let rows = quarantine::list(config, registry, Some(pipeline.store()), filter, now)?;
    Ok(rows.into_iter().map(|row| row.session).collect())
}

fn release(pipeline: &TestPipeline, filter: &QuarantineFilter) -> Result<u64, QuarantineError> {
    let pipeline = pipeline.pipeline();
    quarantine::release(
        pipeline.config(),
        pipeline.registry(),
        Some(pipeline.store()),
        filter,
        Actor::cli(),
        pipeline.clock().now(),
    )
}

#[test]
fn the_next_run_tries_a_released_session_and_restarts_its_failure_count() {
    let (_dir, pipeline) = quarantined();
    assert_eq!(release(&pipeline, &filter(None, Some(ONE))).unwrap(), 1);
    assert_eq!(
        list(&pipeline, &QuarantineFilter::default()).unwrap(),
        [TWO]
    );
    // The release clears the back-off, so a scheduled run tries the session immediately.
    let stats = pipeline.run_scheduled(PANICS).stats;
    assert_eq!((stats.errors, stats.quarantined), (1, 1));
    let failures = pipeline.failure(PANICS, ONE).unwrap().failures;
    assert_eq!((failures.attempts, failures.own_attempts), (1, 1));
}

#[test]
fn a_release_can_cover_one_processor_or_every_session() {
    let (_dir, pipeline) = quarantined();
    assert_eq!(
        release(&pipeline, &filter(Some(WELL_BEHAVED), None)).unwrap(),
        0
    );
    assert_eq!(
        list(&pipeline, &filter(Some(PANICS), None)).unwrap(),
        [ONE, TWO]
    );
    assert_eq!(release(&pipeline, &filter(Some(PANICS), None)).unwrap(), 2);
    assert_eq!(release(&pipeline, &QuarantineFilter::default()).unwrap(), 0);
    assert_eq!(pipeline.run(PANICS).stats.errors, 2);
}

#[test]
fn an_unknown_session_and_one_outside_quarantine_have_different_errors() {
    let (_dir, pipeline) = quarantined();
    let rejection = |processor, session| {
        let filter = filter(processor, session);
        release(&pipeline, &filter).unwrap_err().to_string()
    };
    insta::assert_snapshot!(rejection(None, Some("ada/onw.jsonl")), @"unknown session `ada/onw.jsonl`; did you mean `ada/one.jsonl`?");
    insta::assert_snapshot!(rejection(None, Some("bob/fine.jsonl")), @"session `bob/fine.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are");
    insta::assert_snapshot!(rejection(Some(WELL_BEHAVED), Some(ONE)), @"session `ada/one.jsonl` is not in quarantine; `session-pipeline quarantine list` lists those that are");
    insta::assert_snapshot!(rejection(Some("moon"), None), @"unknown processor `moon`; known processors: faulty-panics, faulty-well-behaved");
    assert!(list(&pipeline, &filter(None, Some("ada/onw.jsonl"))).is_err());
    assert_eq!(
        list(&pipeline, &filter(None, Some("bob/fine.jsonl"))).unwrap(),
        [""; 0]
    );
    assert_eq!(
        list(&pipeline, &QuarantineFilter::default()).unwrap(),
        [ONE, TWO]
    );
}

#[test]
fn a_release_is_audited_with_its_target_and_a_rejected_one_is_not_audited() {
    let (dir, pipeline) = quarantined();
    release(&pipeline, &filter(None, Some("bob/fine.jsonl"))).unwrap_err();
    release(&pipeline, &filter(Some(PANICS), Some(ONE))).unwrap();
    release(&pipeline, &QuarantineFilter::default()).unwrap();
    drop(pipeline);
    let audit = "SELECT action, resource, params, result, client_kind FROM audit_log
        WHERE action LIKE 'quarantine%' ORDER BY CAST(id AS INTEGER)";
    insta::assert_snapshot!(rows(&dir, audit).join("\n"), @r#"
    quarantine.release | session:ada/one.jsonl | {"processor":"faulty-panics","released":1,"session":"ada/one.jsonl"} | ok | cli
    quarantine.release | quarantine | {"processor":null,"released":1,"session":null} | ok | cli
    "#);
}

#[test]
fn a_release_does_not_end_the_backoff_of_a_session_outside_quarantine() {
    let dir = DataDir::new();
    dir.write(ONE, POISON);
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    pipeline.run(PANICS);
    assert_eq!(release(&pipeline, &QuarantineFilter::default()).unwrap(), 0);
    assert_eq!(pipeline.run_scheduled(PANICS).stats.waiting, 1);
}

#[test]
fn a_quarantined_session_without_a_file_is_listed_but_not_counted_until_it_returns() {
    let (dir, pipeline) = quarantined();
    dir.rename(ONE, "ada/.aside");
    pipeline.run(PANICS);
    let store = pipeline.pipeline().store();
    let listed = store
        .sessions_in_quarantine(&filter(None, Some(ONE)))
        .unwrap();
    assert!(listed[0].missing_since.is_some());
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
            .sessions_in_quarantine(&filter(None, Some(ONE)))
            .unwrap()[0]
            .missing_since,
        None
    );
}

#[test]
fn without_a_database_the_quarantine_is_empty() {
    let dir = DataDir::new();
    dir.write(ONE, POISON);
    let pipeline = TestPipeline::open(&DataDir::new(), &[panics()]);
    let registry = pipeline.pipeline().registry();
    let now = pipeline.pipeline().clock().now();
    let config = dir.config();
    let listed =
        quarantine::list(&config, registry, None, &QuarantineFilter::default(), now).unwrap();
    assert_eq!(listed, []);
    let release = |filter: &QuarantineFilter| {
        quarantine::release(&config, registry, None, filter, Actor::cli(), now)
    };
    assert_eq!(release(&QuarantineFilter::default()).unwrap(), 0);
    assert!(matches!(
        release(&filter(None, Some(ONE))),
        Err(QuarantineError::NotQuarantined { .. })
    ));
    assert!(matches!(
        release(&filter(None, Some(TWO))),
        Err(QuarantineError::Listing(_))
    ));
}

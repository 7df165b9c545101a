//! Tests the list of sessions: it joins files with database rows, and shows the decisions of the
//! next run.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, cases};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::listing::{
    self, ListRange, ListedSession, Listing, ListingError, SessionPages, SessionWithDetails,
};
use session_pipeline_pipeline::scan::ContentCheck;
use session_pipeline_store::{Actor, AuditedAction};

use crate::database::execute;
use crate::guests::{PANICS, POISON, WELL_BEHAVED, panics, prepared_dir, well_behaved};

fn list(pipeline: &TestPipeline) -> Listing {
    let pipeline = pipeline.pipeline();
    let (config, registry) = (pipeline.config(), pipeline.registry());
    let now = pipeline.clock().now();
    listing::list(config, registry, Some(pipeline.store()), now).unwrap()
}

fn show(pipeline: &TestPipeline, key: &str) -> Result<SessionWithDetails, ListingError> {
    let pipeline = pipeline.pipeline();
    let (config, registry) = (pipeline.config(), pipeline.registry());
    let now = pipeline.clock().now();
    listing::find_in(config, registry, Some(pipeline.store()), key, None, now)
}

/// The audited action of a request to reprocess sessions.
fn reprocess_action() -> AuditedAction {
    AuditedAction {
        action: "reprocess",
        actor: Actor::cli(),
        now: UtcMicros(0),
    }
}

/// The key, processor, state and items of each session, one line per session and processor.
fn check(pipeline: &TestPipeline) -> Vec<String> {
    let mut lines = Vec::new();
    for session in list(pipeline).sessions {
        for entry in session.processors {
            let processor = &entry.processor;
            let items = entry
                .items
                .map_or_else(|| "-".to_owned(), |items| items.to_string());
            lines.push(format!(
                "{} {processor} {} {items}",
                session.key,
                entry.state.as_str()
            ));
        }
    }
    lines
}

#[test]
fn the_list_shows_the_state_that_the_next_scheduled_run_will_find() {
    let dir = DataDir::new();
    let keys = [
        "processed",
        "changed",
        "asked",
        "failed",
        "waiting",
        "quarantined",
        "missing",
    ];
    for key in keys {
        dir.write(&format!("ada/{key}.jsonl"), format!("{key}\n"));
    }
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run_scheduled(PANICS);
    pipeline
        .pipeline()
        .store()
        .mark_due(PANICS, Some("ada/asked.jsonl"), reprocess_action())
        .unwrap();
    dir.write("ada/quarantined.jsonl", format!("{POISON} for ever\n"));
    for _ in 0..3 {
        pipeline.run(PANICS);
    }
    dir.write("ada/waiting.jsonl", format!("{POISON} twice\n"));
    pipeline.run(PANICS);
    dir.write("ada/failed.jsonl", format!("{POISON} once\n"));
    dir.rename("ada/missing.jsonl", "ada/.missing");
    pipeline.run(PANICS);
    dir.append("ada/changed.jsonl", "more\n");
    dir.write("ada/new.jsonl", "new\n");
    pipeline
        .pipeline()
        .store()
        .mark_due(PANICS, Some("ada/asked.jsonl"), reprocess_action())
        .unwrap();
    insta::assert_snapshot!(check(&pipeline).join("\n"), @r"
    ada/asked.jsonl faulty-panics due 1
    ada/changed.jsonl faulty-panics due 1
    ada/failed.jsonl faulty-panics due 1
    ada/missing.jsonl faulty-panics missing 1
    ada/new.jsonl faulty-panics new -
    ada/processed.jsonl faulty-panics processed 1
    ada/quarantined.jsonl faulty-panics quarantined 1
    ada/waiting.jsonl faulty-panics waiting 1
    ");
}

#[test]
fn a_list_is_the_same_for_any_page_size_and_start() {
    let dir = DataDir::new();
    for key in [
        "ada/a",
        "ada/a-b",
        "ada/a/b",
        "ada/a0",
        "bob/c",
        "bob/poison",
        "bob/gone",
    ] {
        dir.write(&format!("{key}.jsonl"), "one\n");
    }
    dir.write("bob/poison.jsonl", POISON);
    let pipeline = TestPipeline::open(&dir, &[panics(), well_behaved()]);
    pipeline.run(PANICS);
    dir.delete("bob/gone.jsonl");
    let whole = list(&pipeline).sessions;
    assert_eq!(whole.len(), 7);
    let inner = pipeline.pipeline();
    let (config, registry, store) = (inner.config(), inner.registry(), Some(inner.store()));
    let now = inner.clock().now();
    for limit in 1..=8 {
        // First with one walk for all pages, then with one walk per page.
        let mut pages =
            SessionPages::open(config, registry, store, ListRange::default(), now).unwrap();
        let mut one_walk = Vec::new();
        while let Some(page) = Some(pages.next(limit).unwrap()).filter(|page| !page.is_empty()) {
            one_walk.extend(page);
        }
        assert_eq!(one_walk, whole, "limit {limit}");
        let mut walk_per_page = Vec::new();
        loop {
            let after = walk_per_page
                .last()
                .map(|session: &ListedSession| session.key.clone());
            let range = ListRange {
                after: after.as_deref(),
                limit: Some(limit),
            };
            let mut pages = SessionPages::open(config, registry, store, range, now).unwrap();
            let page = pages.next(limit).unwrap();
            if page.is_empty() {
                break;
            }
            walk_per_page.extend(page);
        }
        assert_eq!(walk_per_page, whole, "limit {limit}, one walk per page");
    }
}

#[test]
fn a_session_has_a_state_per_processor() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved(), panics()]);
    pipeline.run(WELL_BEHAVED);
    assert_eq!(
        check(&pipeline),
        [
            "ada/one.jsonl faulty-panics new -",
            "ada/one.jsonl faulty-well-behaved processed 1"
        ]
    );
    drop(pipeline);
    // A removed processor keeps its rows, but has no new sessions.
    dir.write("bob/two.jsonl", "two\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    assert_eq!(
        check(&pipeline),
        [
            "ada/one.jsonl faulty-panics new -",
            "ada/one.jsonl faulty-well-behaved processed 1",
            "bob/two.jsonl faulty-panics new -"
        ]
    );
}

#[test]
fn without_a_sessions_root_known_sessions_are_listed_and_none_is_missing() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    pipeline.run(WELL_BEHAVED);
    std::fs::rename(dir.sessions_root(), dir.path().join("aside")).unwrap();
    assert_eq!(
        check(&pipeline),
        ["ada/one.jsonl faulty-well-behaved processed 1"]
    );
    let listing = list(&pipeline);
    assert!(!listing.has_root);
    assert_eq!(listing.sessions[0].file, None);
}

#[test]
fn a_session_is_shown_with_its_rows_its_cost_and_its_failure() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\ntwo\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    pipeline.run(PANICS);
    dir.append("ada/one.jsonl", POISON);
    pipeline.run(PANICS);
    let shown = show(&pipeline, "ada/one.jsonl").unwrap();
    let entry = &shown.listed.processors[0];
    let details = &shown.details[PANICS];
    assert_eq!(
        details.rows,
        [("lines".to_owned(), 2)],
        "the rows of the previous content"
    );
    assert_eq!(details.version, Some(1));
    assert_eq!(
        details.cost.as_ref().unwrap().run_id,
        "2",
        "the run of the last attempt"
    );
    assert!(details.cost.as_ref().unwrap().cost.fuel > 0);
    let failure = entry.failure.as_ref().unwrap();
    assert_eq!(failure.failures.attempts, 1);
    assert_eq!(entry.items, Some(2));
}

#[test]
fn a_legacy_session_is_shown_without_version_cost_and_component() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "one\n");
    drop(TestPipeline::open(&dir, &[well_behaved()]));
    execute(
        &dir,
        "INSERT INTO session_processor_state (processor_name, session_file, username, file_hash) \
         VALUES ('faulty-well-behaved', 'ada/one.jsonl', 'ada', '00000000000000000000000000000000')",
    );
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let shown = show(&pipeline, "ada/one.jsonl").unwrap();
    let details = &shown.details[WELL_BEHAVED];
    assert_eq!((details.version, &details.cost), (None, &None));
    assert_eq!(details.component, None);
}

#[test]
fn an_unknown_key_is_rejected_with_suggestions() {
    let dir = DataDir::new();
    for key in [
        "ada/first-one.jsonl",
        "ada/second-one.jsonl",
        "bob/s\u{1b}[2J.jsonl",
    ] {
        dir.write(key, "one\n");
    }
    dir.write("ada/.hidden.jsonl", "one\n");
    dir.write("ada/notes.txt", "one\n");
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    let error_of = |key: &str| show(&pipeline, key).unwrap_err().to_string();
    insta::assert_snapshot!(error_of("second"), @"unknown session `second`; did you mean `ada/second-one.jsonl`?");
    insta::assert_snapshot!(error_of("ada/frist-one.jsonl"), @"unknown session `ada/frist-one.jsonl`; did you mean `ada/first-one.jsonl`, or `ada/second-one.jsonl`?");
    insta::assert_snapshot!(error_of("/srv/sessions/ada/first-one.jsonl"), @"unknown session `/srv/sessions/ada/first-one.jsonl`; did you mean `ada/first-one.jsonl`?");
    insta::assert_snapshot!(error_of("bob/s"), @r"unknown session `bob/s`; did you mean `bob/s\u{1b}[2J.jsonl`?");
    insta::assert_snapshot!(error_of("zzz"), @"unknown session `zzz`; `session-pipeline sessions list` lists all sessions");
    for no_session in [
        "ada/.hidden.jsonl",
        "ada/notes.txt",
        "ada",
        "../ada/first-one.jsonl",
        "",
    ] {
        let error = show(&pipeline, no_session).unwrap_err();
        assert!(
            matches!(error, ListingError::UnknownSession { .. }),
            "{no_session}"
        );
    }
}

/// A change of one of four sessions, a run, or a change of the clock.
#[derive(Clone, Debug)]
enum Action {
    Write(u8, String),
    Touch(u8),
    Delete(u8),
    MarkDue(u8),
    Run { is_scheduled: bool },
    Pass(Duration),
}

fn action() -> impl Strategy<Value = Action> {
    let session = || 0_u8..4;
    let content = prop_oneof![
        Just("fine\n".to_owned()),
        Just("other\n".to_owned()),
        Just(format!("{POISON}\n"))
    ];
    prop_oneof![
        3 => (session(), content).prop_map(|(session, content)| Action::Write(session, content)),
        1 => session().prop_map(Action::Touch),
        1 => session().prop_map(Action::Delete),
        1 => session().prop_map(Action::MarkDue),
        4 => any::<bool>().prop_map(|is_scheduled| Action::Run { is_scheduled }),
        1 => (1_u64..100_000).prop_map(|seconds| Action::Pass(Duration::from_secs(seconds))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// The states in the list (new, due, waiting, quarantined) are the decisions in the plan of a
    /// scheduled run.
    #[test]
    fn invariant_the_list_matches_the_plan_of_the_next_run(actions in vec(action(), 1..20)) {
        let dir = prepared_dir();
        dir.write("zoe/anchor.jsonl", "always there\n");
        let pipeline = TestPipeline::open(&dir, &[panics()]);
        let key = |session: u8| format!("ada/{session}.jsonl");
        for action in actions {
            match action {
                Action::Write(session, content) => dir.write(&key(session), content),
                Action::Touch(session) if dir.has_session(&key(session)) => dir.touch(&key(session)),
                Action::Delete(session) if dir.has_session(&key(session)) => dir.delete(&key(session)),
                Action::Touch(_) | Action::Delete(_) => {}
                Action::MarkDue(session) => {
                    pipeline.pipeline().store().mark_due(PANICS, Some(&key(session)), reprocess_action()).unwrap();
                }
                Action::Run { is_scheduled: true } => drop(pipeline.run_scheduled(PANICS)),
                Action::Run { is_scheduled: false } => drop(pipeline.run(PANICS)),
                Action::Pass(time) => dir.clock().advance(time),
            }
        }
        let root = pipeline.pipeline().sessions_root().unwrap().unwrap();
        let processor = pipeline.pipeline().processor(PANICS).unwrap();
        let (plan, _) = pipeline.pipeline().plan(&root, &processor, false).unwrap();
        // Of a failed file, possibly only the times changed. It is hashed first, and here not
        // retried.
        let is_attempted = |check: ContentCheck| !matches!(check, ContentCheck::FailureHash { .. });
        let mut attempted: Vec<String> = plan.candidates.iter().filter(|candidate| is_attempted(candidate.check))
            .map(|candidate| candidate.key.clone()).collect();
        attempted.sort_unstable();
        let delayed = plan.candidates.len() - attempted.len();
        let lines = check(&pipeline);
        let of = |states: &[&str]| -> Vec<String> {
            let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
            words.filter(|words| states.contains(&words[2])).map(|words| words[0].to_owned()).collect()
        };
        prop_assert_eq!(of(&["new", "due"]), attempted);
        let not_attempted = of(&["waiting", "quarantined"]).len();
        prop_assert_eq!(not_attempted as u64, plan.waiting + plan.quarantined + delayed as u64);
        for key in of(&["missing"]) {
            prop_assert!(!dir.has_session(&key));
        }
    }
}

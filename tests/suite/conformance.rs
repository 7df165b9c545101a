//! The conformance suite: what keeps the laws of the contract passes it, and each law finds the
//! guest that was made to break it.

use std::path::PathBuf;

use session_pipeline_bundle::{USAGE, VERIFICATION, faulty};
use session_pipeline_harness::conformance::{
    self, ConformanceReport, LAWS, Options, Verdict, VerifyError, session_files, verify,
};
use session_pipeline_harness::{DataDir, Guest, Subject, Transcript};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::{Compiler, Limits};

use crate::usage::examples;

/// Each law with the guest that breaks it and no other.
const BREAKERS: [(&str, &str); 12] = [
    ("describes-itself", "describe_by_chance"),
    ("empty-session", "rejects_the_empty_session"),
    ("unknown-events", "rejects_unknown_events"),
    ("damaged-lines", "panics_at_damage"),
    ("same-rows", "rows_by_chance"),
    ("chunks", "reads_once"),
    ("once", "counts_again"),
    ("growth", "skips_what_it_knows"),
    ("order", "remembers_the_first"),
    ("fuel", "compares_every_pair"),
    ("memory", "hoards_memory"),
    ("tables", "strays_from_its_tables"),
];

fn held_to_laws(component: &[u8], options: &Options) -> ConformanceReport {
    verify(Guest::load(component).subject(), options, &mut |_| {}).unwrap()
}

/// The files in which the law that failed keeps its sessions.
fn kept(report: &ConformanceReport) -> Vec<PathBuf> {
    let mut laws = report.laws.iter();
    let failure = laws.find_map(|judged| match &judged.verdict {
        Verdict::Failed(failure) => Some(failure.saved.clone()),
        Verdict::Held | Verdict::Untried => None,
    });
    failure.unwrap_or_default()
}

#[test]
fn the_shipped_processors_keep_all_laws() {
    let options = Options {
        sessions: session_files(&examples()).unwrap(),
        ..Options::default()
    };
    assert!(options.sessions.len() >= 5, "{options:?}");
    for component in [USAGE, VERIFICATION] {
        let report = held_to_laws(component, &options);
        assert!(report.holds(), "{report}");
        let unanswered = report.laws.iter().map(|judged| judged.unanswered);
        assert_eq!(unanswered.sum::<u64>(), 0, "{report}");
        println!("{report}");
    }
}

#[test]
fn whoever_does_nothing_odd_keeps_all_laws() {
    let report = held_to_laws(faulty("well_behaved").unwrap(), &Options::default());
    assert!(report.holds(), "{report}");
    let tried = report.laws.iter().map(|judged| judged.sessions);
    assert!(tried.sum::<u64>() > 400, "{report:?}");
}

#[test]
fn each_law_finds_the_guest_that_breaks_it_and_no_other_law_blames_it() {
    let laws: Vec<&str> = LAWS.iter().map(|law| law.name).collect();
    assert_eq!(laws.len(), BREAKERS.len());
    for (law, way) in BREAKERS {
        assert!(laws.contains(&law), "{law}");
        let report = held_to_laws(faulty(way).unwrap(), &Options::default());
        assert_eq!(report.failed(), [law], "{way}: {report}");
    }
}

#[test]
fn the_same_seed_finds_the_same_and_another_one_something_else() {
    let with_seed = |seed| {
        let options = Options {
            seed,
            ..Options::default()
        };
        let report = held_to_laws(faulty("panics_at_damage").unwrap(), &options);
        let judged = &report.laws[3];
        match &judged.verdict {
            Verdict::Failed(failure) => (judged.sessions, failure.input.clone()),
            verdict => panic!("{verdict:?}"),
        }
    };
    assert_eq!(with_seed(1), with_seed(1));
    let found: Vec<_> = (1..6).map(with_seed).collect();
    assert!(found.iter().any(|other| *other != found[0]), "{found:?}");
    for (_, trial) in found {
        let lines = trial.sessions[0].split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty()).count();
        assert_eq!(lines, 1, "one damaged line is enough: {trial:?}");
    }
}

#[test]
fn what_failed_is_kept_and_tried_first_the_next_time() {
    let dir = DataDir::new();
    let folder = dir.path().join("regressions");
    for (law, way, files) in [
        ("damaged-lines", "panics_at_damage", 1),
        ("order", "remembers_the_first", 2),
    ] {
        let options = Options {
            regressions: Some(folder.clone()),
            ..Options::default()
        };
        let first = held_to_laws(faulty(way).unwrap(), &options);
        let kept_first = kept(&first);
        assert_eq!(kept_first.len(), files, "{first}");
        assert!(kept_first.iter().all(|path| path.is_file()), "{first}");
        // Another seed, and a single case: what is kept is found all the same.
        let options = Options {
            cases: 1,
            seed: 77,
            ..options
        };
        assert_eq!(session_files(&folder).unwrap().len(), files);
        let second = held_to_laws(faulty(way).unwrap(), &options);
        assert_eq!((second.failed(), kept(&second)), (vec![law], kept_first));
        let good = held_to_laws(faulty("well_behaved").unwrap(), &options);
        assert!(good.holds(), "{good}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_session_that_is_given_is_tried_too_and_made_shorter() {
    let dir = DataDir::new();
    let mut session = Transcript::new("s1");
    for number in 0..40 {
        session = session.user(&format!("line {number}"));
    }
    session = session.raw_line("{\"type\":\"brand-new\",\"sessionId\":\"s1\"}");
    session = session.assistant(|m| m.tool("Bash"));
    dir.write("ada/given.jsonl", &session);
    let options = Options {
        cases: 1,
        sessions: session_files(&dir.sessions_root()).unwrap(),
        ..Options::default()
    };
    let report = held_to_laws(faulty("rejects_unknown_events").unwrap(), &options);
    let Verdict::Failed(failure) = &report.laws[2].verdict else {
        panic!("{report}")
    };
    assert!(
        failure
            .source
            .as_ref()
            .unwrap()
            .ends_with("ada/given.jsonl")
    );
    let text = String::from_utf8_lossy(&failure.input.sessions[0]).into_owned();
    assert_eq!(text, "{\"type\":\"brand-new\",\"sessionId\":\"s1\"}\n");
    assert_eq!(
        failure.reason,
        "it failed: rejected: `brand-new` is unknown"
    );
}

#[test]
fn a_component_that_does_not_say_what_it_is_fails_the_first_law_and_is_tried_on_nothing() {
    for way in [
        "describe_loops",
        "describe_bad_name",
        "describe_calls_imports",
    ] {
        let fault = Guest::try_load(faulty(way).unwrap(), &Limits::default()).unwrap_err();
        let report = conformance::rejection_report(&fault, &Options::default());
        assert_eq!(report.failed(), ["describes-itself"]);
        assert!(!report.holds());
        let untried = |verdict: &Verdict| matches!(verdict, Verdict::Untried);
        let mut others = report.laws.iter().skip(1);
        assert!(others.all(|judged| untried(&judged.verdict)), "{report}");
    }
}

#[test]
fn what_needs_a_language_model_is_told_apart_from_what_fails() {
    let settings = vec![("detector".to_owned(), "llm".to_owned())];
    let limits = Limits::default();
    let subject = Subject::load(&Compiler::InProcess, &limits, settings, VERIFICATION).unwrap();
    let report = verify(&subject, &Options::default(), &mut |_| {}).unwrap();
    assert!(report.holds(), "{report}");
    let unanswered: u64 = report.laws.iter().map(|judged| judged.unanswered).sum();
    assert!(unanswered > 50, "{report:?}");
    let note = format!("{unanswered} times it asked for a language model");
    assert!(report.to_string().contains(&note), "{report}");
}

#[test]
fn a_session_that_can_not_be_read_and_a_machine_in_the_way_are_no_verdict() {
    let dir = DataDir::new();
    let missing = dir.path().join("missing.jsonl");
    assert!(matches!(
        session_files(&missing),
        Err(VerifyError::Io { .. })
    ));
    let options = Options {
        cases: 1,
        sessions: vec![missing],
        ..Options::default()
    };
    let guest = Guest::load(faulty("well_behaved").unwrap());
    let error = verify(guest.subject(), &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("missing.jsonl"), "{error}");
    // The folder for regressions is a file.
    dir.write("ada/occupied.jsonl", "");
    let options = Options {
        regressions: Some(dir.sessions_root().join("ada/occupied.jsonl")),
        ..Options::default()
    };
    let guest = Guest::load(faulty("panics_at_damage").unwrap());
    let error = verify(guest.subject(), &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("occupied.jsonl"), "{error}");
}

#[test]
fn a_law_blames_nobody_for_the_kind_of_fault_that_another_law_is_about() {
    let guest = Guest::load(faulty("strays_from_its_tables").unwrap());
    let session = Transcript::new("s1").assistant(|m| m.tool("Bash"));
    assert_eq!(guest.expect_fault(&session).kind, FaultKind::BadRecord);
}

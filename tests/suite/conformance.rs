//! The conformance checks: well-behaved components pass, and each law detects the guest that
//! violates it.

use std::path::PathBuf;

use session_pipeline_bundle::{USAGE, VERIFICATION, faulty};
use session_pipeline_harness::conformance::{
    self, ConformanceReport, LAWS, Options, Verdict, VerifyError, session_files, verify,
};
use session_pipeline_harness::{DataDir, Guest, Subject, Transcript};
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::limits::{Compiler, Limits};

use crate::usage::examples;

/// Each law, and a guest that violates only this law.
const VIOLATORS: [(&str, &str); 13] = [
    ("describes-itself", "describe_by_chance"),
    ("empty-session", "rejects_the_empty_session"),
    ("unknown-events", "rejects_unknown_events"),
    ("damaged-lines", "panics_at_damage"),
    ("same-rows", "rows_by_chance"),
    ("chunks", "reads_once"),
    ("once", "counts_again"),
    ("growth", "skips_what_it_knows"),
    ("resumption", "resumes_wrongly"),
    ("order", "remembers_the_first"),
    ("fuel", "compares_every_pair"),
    ("memory", "hoards_memory"),
    ("tables", "strays_from_its_tables"),
];

fn check_laws(component: &[u8], options: &Options) -> ConformanceReport {
    verify(Guest::load(component).subject(), options, &mut |_| {}).unwrap()
}

/// The saved sessions of the first law that failed.
fn saved_files(report: &ConformanceReport) -> Vec<PathBuf> {
    let mut laws = report.laws.iter();
    let files = laws.find_map(|result| match &result.verdict {
        Verdict::Failed(violation) => Some(violation.saved.clone()),
        Verdict::Held | Verdict::Untried => None,
    });
    files.unwrap_or_default()
}

#[test]
fn the_shipped_processors_pass_all_laws() {
    let options = Options {
        sessions: session_files(&examples()).unwrap(),
        ..Options::default()
    };
    assert!(options.sessions.len() >= 5, "{options:?}");
    for component in [USAGE, VERIFICATION] {
        let report = check_laws(component, &options);
        assert!(report.holds(), "{report}");
        let unanswered = report.laws.iter().map(|result| result.unanswered);
        assert_eq!(unanswered.sum::<u64>(), 0, "{report}");
        println!("{report}");
    }
}

#[test]
fn a_well_behaved_guest_passes_all_laws() {
    let report = check_laws(faulty("well_behaved").unwrap(), &Options::default());
    assert!(report.holds(), "{report}");
    let sessions = report.laws.iter().map(|result| result.sessions);
    assert!(sessions.sum::<u64>() > 400, "{report:?}");
}

#[test]
fn each_law_detects_its_violator_and_no_other_law_fails() {
    let laws: Vec<&str> = LAWS.iter().map(|law| law.name).collect();
    assert_eq!(laws.len(), VIOLATORS.len());
    for (law, variant) in VIOLATORS {
        assert!(laws.contains(&law), "{law}");
        let report = check_laws(faulty(variant).unwrap(), &Options::default());
        assert_eq!(report.failed(), [law], "{variant}: {report}");
    }
}

#[test]
fn the_same_seed_finds_the_same_violation() {
    let with_seed = |seed| {
        let options = Options {
            seed,
            ..Options::default()
        };
        let report = check_laws(faulty("panics_at_damage").unwrap(), &options);
        let result = &report.laws[3];
        match &result.verdict {
            Verdict::Failed(violation) => (result.sessions, violation.input.clone()),
            verdict => panic!("{verdict:?}"),
        }
    };
    assert_eq!(with_seed(1), with_seed(1));
    let found: Vec<_> = (1..6).map(with_seed).collect();
    assert!(found.iter().any(|other| *other != found[0]), "{found:?}");
    for (_, input) in found {
        let lines = input.sessions[0].split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty()).count();
        assert_eq!(lines, 1, "the session is minimized to one line: {input:?}");
    }
}

#[test]
fn a_violation_is_saved_and_found_again_with_another_seed() {
    let dir = DataDir::new();
    let folder = dir.path().join("regressions");
    for (law, variant, files) in [
        ("damaged-lines", "panics_at_damage", 1),
        ("order", "remembers_the_first", 2),
    ] {
        let options = Options {
            regressions: Some(folder.clone()),
            ..Options::default()
        };
        let first = check_laws(faulty(variant).unwrap(), &options);
        let first_files = saved_files(&first);
        assert_eq!(first_files.len(), files, "{first}");
        assert!(first_files.iter().all(|path| path.is_file()), "{first}");
        // With another seed and a single case, only the saved sessions can violate the law.
        let options = Options {
            cases: 1,
            seed: 77,
            ..options
        };
        assert_eq!(session_files(&folder).unwrap().len(), files);
        let second = check_laws(faulty(variant).unwrap(), &options);
        assert_eq!(
            (second.failed(), saved_files(&second)),
            (vec![law], first_files)
        );
        let good = check_laws(faulty("well_behaved").unwrap(), &options);
        assert!(good.holds(), "{good}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_session_file_is_checked_and_minimized() {
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
    let report = check_laws(faulty("rejects_unknown_events").unwrap(), &options);
    let Verdict::Failed(violation) = &report.laws[2].verdict else {
        panic!("{report}")
    };
    assert!(
        violation
            .source
            .as_ref()
            .unwrap()
            .ends_with("ada/given.jsonl")
    );
    let text = String::from_utf8_lossy(&violation.input.sessions[0]).into_owned();
    assert_eq!(text, "{\"type\":\"brand-new\",\"sessionId\":\"s1\"}\n");
    assert_eq!(
        violation.reason,
        "it failed: rejected: `brand-new` is unknown"
    );
}

#[test]
fn a_component_that_does_not_load_fails_the_first_law_and_the_others_are_untried() {
    for variant in [
        "describe_loops",
        "describe_bad_name",
        "describe_calls_imports",
    ] {
        let fault = Guest::try_load(faulty(variant).unwrap(), &Limits::default()).unwrap_err();
        let report = conformance::rejection_report(&fault, &Options::default());
        assert_eq!(report.failed(), ["describes-itself"]);
        assert!(!report.holds());
        let untried = |verdict: &Verdict| matches!(verdict, Verdict::Untried);
        let mut others = report.laws.iter().skip(1);
        assert!(others.all(|result| untried(&result.verdict)), "{report}");
    }
}

#[test]
fn sessions_that_need_a_language_model_are_not_failures() {
    let settings = vec![("detector".to_owned(), "llm".to_owned())];
    let limits = Limits::default();
    let subject = Subject::load(&Compiler::InProcess, &limits, settings, VERIFICATION).unwrap();
    let report = verify(&subject, &Options::default(), &mut |_| {}).unwrap();
    assert!(report.holds(), "{report}");
    let unanswered: u64 = report.laws.iter().map(|result| result.unanswered).sum();
    assert!(unanswered > 50, "{report:?}");
    let note = format!("{unanswered} times it asked for a language model");
    assert!(report.to_string().contains(&note), "{report}");
}

#[test]
fn unreadable_sessions_and_unwritable_regressions_are_errors() {
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
    // The path of the regressions folder is a file.
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
fn a_guest_that_violates_the_tables_law_fails_with_a_bad_record() {
    let guest = Guest::load(faulty("strays_from_its_tables").unwrap());
    let session = Transcript::new("s1").assistant(|m| m.tool("Bash"));
    assert_eq!(guest.expect_fault(&session).kind, FaultKind::BadRecord);
}

//! Snapshots of scan plans as text: the decision about each session, and the order in which a run
//! processes them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use session_pipeline_host::sessions::FileStat;
use session_pipeline_pipeline::scan::ScanPlan;
use session_pipeline_store::state_rows::{FailureRow, StateRow};

use super::{
    HOUR, MILLISECOND, OLDER, OTHER_BUILD, check, failure, file, legacy_row, own_row, scan,
};

/// One session of the data directory.
struct Case {
    key: &'static str,
    /// `None` if the file was deleted.
    file: Option<FileStat>,
    row: Option<StateRow>,
    failure: Option<FailureRow>,
}

fn case(
    key: &'static str,
    file: Option<FileStat>,
    row: Option<StateRow>,
    failure: Option<FailureRow>,
) -> Case {
    Case {
        key,
        file,
        row,
        failure,
    }
}

/// One session per situation. The component under test has version 3.
fn all_cases() -> Vec<Case> {
    let on_disk = Some(file(HOUR));
    let grown = Some(FileStat {
        size: 140,
        ..file(HOUR / 4)
    });
    let touched = Some(file(HOUR / 4));
    let row = |change: fn(&mut StateRow)| {
        let mut row = own_row();
        change(&mut row);
        Some(row)
    };
    vec![
        case("ada/new", on_disk, None, None),
        case("ada/stable", on_disk, row(|_| {}), None),
        case("ada/grown", grown, row(|_| {}), None),
        case("ada/touched", touched, row(|_| {}), None),
        case(
            "ada/older-version",
            on_disk,
            row(|row| row.digest = Some(OLDER)),
            None,
        ),
        case(
            "ada/other-build",
            on_disk,
            row(|row| row.digest = Some(OTHER_BUILD)),
            None,
        ),
        case("ada/requested", on_disk, row(|row| row.is_due = true), None),
        case("ada/gone", None, row(|row| row.row_id = 70), None),
        case(
            "ada/back",
            on_disk,
            row(|row| (row.row_id, row.is_missing) = (71, true)),
            None,
        ),
        case("bob/legacy", on_disk, Some(legacy_row()), None),
        case("bob/failed-once", on_disk, None, Some(failure(1))),
        case("bob/failed-twice", on_disk, None, Some(failure(2))),
        case("bob/failed-five-times", on_disk, None, Some(failure(5))),
        case("bob/grown-after-failures", grown, None, Some(failure(5))),
        case(
            "bob/touched-after-failures",
            touched,
            None,
            Some(failure(5)),
        ),
    ]
}

#[test]
fn a_scan_plan_has_a_decision_with_a_reason_for_each_session() {
    let mut table = String::new();
    let mut line = |cells: [&str; 5]| {
        let [key, file, known, failed, decision] = cells;
        let line = format!("{key:<26} {file:<11} {known:<36} {failed:<8} {decision}");
        writeln!(table, "{}", line.trim_end()).unwrap();
    };
    line([
        "session",
        "on disk",
        "known of it",
        "failures",
        "decision, and why",
    ]);
    for case in all_cases() {
        let decision = case.file.map_or("vanished", |file| {
            check(file, case.row, case.failure.clone())
        });
        line([
            case.key,
            &case.file.map_or("gone".to_owned(), on_disk),
            &case.row.map_or("nothing".to_owned(), known),
            &case.failure.as_ref().map_or(String::new(), |failure| {
                failure.failures.attempts.to_string()
            }),
            &format!("{decision}: {}", reason(&case)),
        ]);
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_scan_plan_lists_due_sessions_in_order_and_counts_the_others() {
    let cases = all_cases();
    let files: Vec<_> = cases
        .iter()
        .filter_map(|case| Some((case.key, case.file?)))
        .collect();
    let rows: Vec<_> = cases
        .iter()
        .filter_map(|case| Some((case.key, case.row?)))
        .collect();
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| Some((case.key, case.failure.clone()?)))
        .collect();
    let scheduler = scan(&files, &rows, &failures, false);
    let person = scan(&files, &rows, &failures, true);
    let keys: HashMap<i64, &str> = rows.iter().map(|(key, row)| (row.row_id, *key)).collect();
    let text = format!(
        "started by the scheduler\n{}\nstarted by a person\n{}",
        plan_text(&scheduler, &keys),
        plan_text(&person, &keys)
    );
    insta::assert_snapshot!(text);
}

fn plan_text(plan: &ScanPlan, keys: &HashMap<i64, &str>) -> String {
    let candidates: Vec<&str> = plan
        .candidates
        .iter()
        .map(|candidate| candidate.key.as_str())
        .collect();
    let keys = |rows: &[i64]| {
        let keys: Vec<&str> = rows.iter().map(|row| keys[row]).collect();
        keys.join(" ")
    };
    format!(
        "  in this order:\n    {}\n  waiting: {}\n  quarantined: {}\n  vanished: {}\n  returned: {}\n",
        candidates.join("\n    "),
        plan.waiting,
        plan.quarantined,
        keys(&plan.presence.missing),
        keys(&plan.presence.returned),
    )
}

fn on_disk(file: FileStat) -> String {
    format!("{} B, {}", file.size, age(file))
}

fn age(file: FileStat) -> String {
    let age = session_pipeline_harness::clock::START.as_nanos() - file.mtime_ns;
    let age = Duration::from_nanos(age.unsigned_abs());
    assert!(age > MILLISECOND);
    format!("{}m", age.as_secs() / 60)
}

fn known(row: StateRow) -> String {
    let file = row.observed.map_or("no size or time".to_owned(), on_disk);
    let component = match row.digest {
        None => "legacy".to_owned(),
        Some(OLDER) => "version 2".to_owned(),
        Some(OTHER_BUILD) => "version 3, another build".to_owned(),
        Some(_) => "version 3".to_owned(),
    };
    format!("{file}, {component}")
}

/// The difference between the file and its row.
fn reason(case: &Case) -> String {
    let Some(file) = case.file else {
        return "it has a row and no file".to_owned();
    };
    let mut reasons = Vec::new();
    if let Some(failure) = &case.failure {
        reasons.push(match failure.observed == Some(file) {
            true => "the file that failed",
            false => "not the file that failed",
        });
    }
    let compare = |known: FileStat| match known {
        known if known == file => "same size and times",
        known if known.size == file.size => "same size, other times",
        _ => "other size",
    };
    match case.row {
        None => reasons.push("never processed"),
        Some(row) => {
            reasons.push(
                row.observed
                    .map_or("changed before it was processed", compare),
            );
            if row.digest == Some(OLDER) {
                reasons.push("older version");
            }
            if row.is_due {
                reasons.push("reprocessing requested");
            }
            if row.is_missing {
                reasons.push("was missing");
            }
        }
    }
    reasons.join(", ")
}

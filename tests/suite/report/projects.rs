//! What a project is: a path. The clones of one repository have the same name, and can be added up or told
//! apart.

use std::collections::BTreeMap;

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};
use session_pipeline_pipeline::report::{ReportFilter, ReportGrouping, UsageReport, project_name};

use super::filtered;
use crate::guests::{usage, usage_dir};

/// Processes one session per path. The number of a session is its number of input tokens.
fn processed(sessions: &[(&str, &str)]) -> (DataDir, TestPipeline) {
    let dir = usage_dir();
    for (index, (user, path)) in sessions.iter().enumerate() {
        let number = index as u64 + 1;
        let session = Transcript::new(&format!("s{number}"))
            .cwd(path)
            .assistant(|message| message.tokens(number, 0));
        dir.write(&format!("{user}/{number}.jsonl"), session);
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    (dir, pipeline)
}

/// The input tokens and the number of paths of each row.
fn tokens(report: &UsageReport) -> BTreeMap<String, (i64, Option<i64>)> {
    let rows = report.rows.iter();
    rows.map(|row| {
        let key = row.key.clone().unwrap_or_default();
        (key, (row.totals.input_tokens, row.totals.paths))
    })
    .collect()
}

fn of_project(pipeline: &TestPipeline, project: &str) -> UsageReport {
    let filter = ReportFilter {
        project: Some(project.to_owned()),
        ..ReportFilter::default()
    };
    filtered(pipeline, ReportGrouping::Project, filter)
}

#[test]
fn clones_are_one_project_whose_paths_can_be_listed_and_selected() {
    let (_dir, pipeline) = processed(&[
        ("ada", "/home/ada/code/shop"),
        ("bob", "/Users/bob/shop"),
        ("carol", r"C:\src\shop"),
        ("carol", "/home/carol/docs"),
    ]);
    let all = ReportFilter::default();
    let by_name = filtered(&pipeline, ReportGrouping::ProjectName, all.clone());
    assert_eq!(
        tokens(&by_name),
        BTreeMap::from([
            ("docs".to_owned(), (4, Some(1))),
            ("shop".to_owned(), (6, Some(3))),
        ])
    );
    let by_path = filtered(&pipeline, ReportGrouping::Project, all);
    assert_eq!(
        tokens(&by_path),
        BTreeMap::from([
            ("/Users/bob/shop".to_owned(), (2, None)),
            ("/home/ada/code/shop".to_owned(), (1, None)),
            ("/home/carol/docs".to_owned(), (4, None)),
            (r"C:\src\shop".to_owned(), (3, None)),
        ])
    );
    for (project, expected) in [
        ("shop", 6),
        ("shop/", 6),
        ("code/shop", 1),
        ("/home/ada/code/shop", 1),
        ("/home/ada/code/shop/", 1),
        (r"c:\src\shop", 3),
        ("/code/shop", 0),
        ("hop", 0),
    ] {
        let found = of_project(&pipeline, project).totals.input_tokens;
        assert_eq!(found, expected, "{project}");
    }
}

#[test]
fn an_unknown_value_of_a_filter_is_reported_with_similar_values() {
    let (_dir, pipeline) =
        processed(&[("ada", "/home/ada/code/shop"), ("bob", "/home/bob/webshop")]);
    let text = |text: &str| Some(text.to_owned());
    let all = ReportFilter::default();
    let notices = |filter: ReportFilter| filtered(&pipeline, ReportGrouping::Day, filter).notices;
    for (filter, expected) in [
        (
            ReportFilter {
                project: text("shpo"),
                ..all.clone()
            },
            "no message matches project `shpo`; did you mean `shop`?",
        ),
        (
            ReportFilter {
                project: text("/home/ada/shop"),
                ..all.clone()
            },
            "no message matches project `/home/ada/shop`; did you mean `/home/ada/code/shop`, or `/home/bob/webshop`?",
        ),
        (
            ReportFilter {
                user: text("Bob"),
                ..all.clone()
            },
            "no message matches user `Bob`; did you mean `bob`?",
        ),
        (
            ReportFilter {
                model: text("opus"),
                ..all.clone()
            },
            "no message matches model `opus`; did you mean `claude-opus-4-5-20251101`?",
        ),
        (
            ReportFilter {
                agent: text("codex"),
                ..all.clone()
            },
            "no message matches agent `codex`",
        ),
        (
            ReportFilter {
                provider: text("openai"),
                ..all.clone()
            },
            "no message matches provider `openai`",
        ),
        (
            ReportFilter {
                session: text("s9"),
                ..all.clone()
            },
            "no message matches session `s9`",
        ),
        (
            ReportFilter {
                user: text("ada"),
                project: text("webshop"),
                ..all.clone()
            },
            "no message matches all filters, although each name is known",
        ),
    ] {
        assert_eq!(notices(filter), [expected]);
    }
    let known = ReportFilter {
        user: text("ada"),
        project: text("shop"),
        ..all.clone()
    };
    assert_eq!(notices(known), [""; 0]);
    assert_eq!(notices(all), [""; 0]);
}

/// Paths with few different parts, so that names repeat.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("näme"), Just("a b")];
    let separator = prop_oneof![Just("/"), Just("\\")];
    let start = prop_oneof![Just("/"), Just("C:\\"), Just("c:/"), Just("")];
    (
        start,
        proptest::collection::vec((part, separator), 1..4),
        any::<bool>(),
    )
        .prop_map(|(start, parts, ends_with_separator)| {
            let mut path = start.to_owned();
            let last = parts.len() - 1;
            for (index, (part, separator)) in parts.into_iter().enumerate() {
                path.push_str(part);
                if index < last || ends_with_separator {
                    path.push_str(separator);
                }
            }
            path
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(8)))]

    /// Reports, their filters and the names in the program agree on what a project is.
    #[test]
    fn the_key_of_a_row_selects_exactly_that_row(paths in proptest::collection::vec(path(), 1..8)) {
        let sessions: Vec<(&str, &str)> = paths.iter().map(|path| ("ada", path.as_str())).collect();
        let (_dir, pipeline) = processed(&sessions);
        let all = ReportFilter::default();
        let by_path = tokens(&filtered(&pipeline, ReportGrouping::Project, all.clone()));
        let report = filtered(&pipeline, ReportGrouping::ProjectName, all);
        let by_name = tokens(&report);
        let mut expected: BTreeMap<String, (i64, Option<i64>)> = BTreeMap::new();
        for (path, (count, _)) in &by_path {
            let (sum, paths) = expected.entry(project_name(path).to_owned()).or_insert((0, Some(0)));
            *sum += count;
            *paths = paths.map(|paths| paths + 1);
        }
        prop_assert_eq!(&by_name, &expected);
        for (name, (sum, _)) in &by_name {
            prop_assert_eq!(of_project(&pipeline, name).totals.input_tokens, *sum, "{}", name);
        }
        for (path, (sum, _)) in &by_path {
            // A relative path of one part is a name, and other relative paths are last parts.
            let is_whole = path.starts_with('/') || path.contains(':');
            let found = of_project(&pipeline, path).totals.input_tokens;
            prop_assert!(if is_whole { found == *sum } else { found >= *sum }, "{}: {}", path, found);
        }
    }
}

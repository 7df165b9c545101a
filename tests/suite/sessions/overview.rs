//! Tests the list of sessions with titles and costs: which sessions match, in which order, and what
//! a database of an earlier version lacks.

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_pipeline::listing::overview::{
    OverviewPages, SessionFilter, SessionOverview, SessionQuery, SessionSort, SessionSource,
    SortPosition, first_by_key, sorted,
};
use session_pipeline_pipeline::listing::{ListRange, ProcessingState};
use session_pipeline_pipeline::report::{self, DayRange, PriceTable, ReportGrouping};

use crate::database::execute;
use crate::guests::usage;
use crate::summaries::{FLAKY, FORK, HOSTILE, NEW, SECRET, SUBAGENT, UNTITLED, summaries_dir};

pub(super) const SESSION_SORTS: [SessionSort; 13] = [
    SessionSort::Key,
    SessionSort::Recent,
    SessionSort::Cost,
    SessionSort::Messages,
    SessionSort::Title,
    SessionSort::User,
    SessionSort::Project,
    SessionSort::Branch,
    SessionSort::Active,
    SessionSort::Prompts,
    SessionSort::Tools,
    SessionSort::Errors,
    SessionSort::Tokens,
];

/// The sessions of a query, each with the name that [`name`] returns.
fn check(pipeline: &TestPipeline, query: &SessionQuery) -> Vec<&'static str> {
    let sessions = all(pipeline, query);
    sessions
        .iter()
        .map(|session| name(&session.listed.key))
        .collect()
}

fn name(key: &str) -> &'static str {
    match key {
        FLAKY => "flaky",
        SUBAGENT => "subagent",
        FORK => "fork",
        HOSTILE => "hostile",
        UNTITLED => "untitled",
        NEW => "new",
        _ => panic!("unexpected key `{key}`"),
    }
}

fn all(pipeline: &TestPipeline, query: &SessionQuery) -> Vec<SessionOverview> {
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let source = source(pipeline, &prices);
    let mut pages = OverviewPages::open(source, &query.filter, ListRange::default()).unwrap();
    let sorted = sorted(&mut pages, query, None, None).unwrap();
    sorted.into_values().collect()
}

pub(super) fn source<'a>(pipeline: &'a TestPipeline, prices: &'a PriceTable) -> SessionSource<'a> {
    let pipeline = pipeline.pipeline();
    SessionSource {
        config: pipeline.config(),
        registry: pipeline.registry(),
        store: Some(pipeline.store()),
        prices: Some(prices),
        clock: pipeline.clock(),
    }
}

fn open(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[usage()])
}

#[test]
fn each_order_has_sessions_without_a_value_last_in_both_directions() {
    let dir = summaries_dir();
    let pipeline = open(&dir);
    let order = |sort, is_reversed| {
        let query = SessionQuery {
            sort,
            is_reversed,
            ..SessionQuery::default()
        };
        check(&pipeline, &query).join(" ")
    };
    insta::assert_snapshot!(order(SessionSort::Recent, false), @"hostile fork subagent flaky untitled new");
    insta::assert_snapshot!(order(SessionSort::Recent, true), @"new untitled flaky subagent fork hostile");
    insta::assert_snapshot!(order(SessionSort::Cost, false), @"hostile flaky fork untitled subagent new");
    insta::assert_snapshot!(order(SessionSort::Cost, true), @"untitled fork flaky hostile subagent new");
    insta::assert_snapshot!(order(SessionSort::Messages, false), @"hostile flaky fork untitled subagent new");
    insta::assert_snapshot!(order(SessionSort::Title, false), @"hostile fork flaky subagent untitled new");
    insta::assert_snapshot!(order(SessionSort::Title, true), @"flaky fork hostile subagent untitled new");
    insta::assert_snapshot!(order(SessionSort::Key, false), @"flaky subagent fork hostile untitled new");
    insta::assert_snapshot!(order(SessionSort::Key, true), @"new untitled hostile fork subagent flaky");
}

#[test]
fn each_filter_selects_the_sessions_that_match() {
    let dir = summaries_dir();
    let pipeline = open(&dir);
    let of = |filter| {
        let query = SessionQuery {
            filter,
            ..SessionQuery::default()
        };
        check(&pipeline, &query).join(" ")
    };
    let all = SessionFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        of(SessionFilter {
            user: text("bob"),
            ..all()
        }),
        "hostile untitled"
    );
    for project in ["/home/ada/api", "api"] {
        assert_eq!(
            of(SessionFilter {
                project: text(project),
                ..all()
            }),
            "flaky subagent fork"
        );
    }
    assert_eq!(
        of(SessionFilter {
            project: text("web"),
            ..all()
        }),
        "hostile"
    );
    assert_eq!(
        of(SessionFilter {
            project: text("tools"),
            ..all()
        }),
        "untitled"
    );
    assert_eq!(
        of(SessionFilter {
            project: text("pi"),
            ..all()
        }),
        ""
    );
    assert_eq!(
        of(SessionFilter {
            is_automated: Some(true),
            ..all()
        }),
        "hostile"
    );
    assert_eq!(
        of(SessionFilter {
            is_automated: Some(false),
            ..all()
        }),
        "flaky subagent fork"
    );
    assert_eq!(
        of(SessionFilter {
            search: text("FLAKY"),
            ..all()
        }),
        "flaky"
    );
    assert_eq!(
        of(SessionFilter {
            search: text(SECRET),
            ..all()
        }),
        "",
        "a secret cannot be guessed"
    );
    let days = |since: Option<&str>, until: Option<&str>| DayRange {
        since: since.map(|day| day.parse().unwrap()),
        until: until.map(|day| day.parse().unwrap()),
    };
    let since = days(Some("9001-01-06"), None);
    assert_eq!(
        of(SessionFilter {
            days: since,
            ..all()
        }),
        "fork hostile"
    );
    let until = days(None, Some("9001-01-04"));
    assert_eq!(
        of(SessionFilter {
            days: until,
            ..all()
        }),
        "untitled new"
    );
    let between = days(Some("9001-01-05"), Some("9001-01-05"));
    assert_eq!(
        of(SessionFilter {
            days: between,
            ..all()
        }),
        "flaky subagent"
    );
}

#[test]
fn the_cost_of_a_session_is_that_of_the_report_and_includes_its_sub_agents() {
    let dir = summaries_dir();
    let pipeline = open(&dir);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let inner = pipeline.pipeline();
    let report = report::usage(
        inner.store(),
        &prices,
        ReportGrouping::Session,
        DayRange::default(),
        inner.clock(),
    );
    let report = report.unwrap().unwrap();
    let sessions = all(&pipeline, &SessionQuery::default());
    let mut compared = 0;
    for session in &sessions {
        let Some(summary) = &session.summary else {
            assert_eq!(session.listed.key, NEW);
            continue;
        };
        let Some(figures) = summary.figures else {
            assert_eq!(session.listed.key, SUBAGENT);
            continue;
        };
        let mut rows = report.rows.iter();
        let row = rows.find(|row| row.key.as_ref() == Some(&summary.session_id));
        let Some(row) = row else {
            assert_eq!(session.listed.key, UNTITLED, "it has no messages");
            continue;
        };
        compared += 1;
        assert_eq!(figures.cost_usd, row.totals.cost_usd, "{session:?}");
        assert_eq!(figures.cost_is_lower_bound, row.totals.cost_is_lower_bound);
        assert_eq!(figures.messages, row.totals.messages);
        assert_eq!(figures.input_tokens, row.totals.input_tokens);
    }
    assert_eq!(compared, report.rows.len(), "each cost is in one session");
    let costs: Vec<String> = sessions
        .iter()
        .filter_map(|session| session.summary.as_ref()?.figures?.cost_usd)
        .map(|cost| cost.to_string())
        .collect();
    assert_eq!(costs, ["0.6", "0.3", "0.9", "0"]);
}

#[test]
fn pages_of_any_size_contain_each_session_once_and_whole() {
    let dir = summaries_dir();
    let pipeline = open(&dir);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let filters = [
        SessionFilter::default(),
        SessionFilter {
            search: Some("a".to_owned()),
            is_subagent: Some(false),
            ..SessionFilter::default()
        },
        SessionFilter {
            states: vec![ProcessingState::Processed, ProcessingState::New],
            ..SessionFilter::default()
        },
        SessionFilter {
            project: Some("api".to_owned()),
            days: DayRange {
                since: Some("2020-01-01".parse().unwrap()),
                until: None,
            },
            ..SessionFilter::default()
        },
    ];
    for (number, sort) in SESSION_SORTS.into_iter().enumerate() {
        let filter = &filters[number % filters.len()];
        let query = SessionQuery {
            sort,
            filter: filter.clone(),
            is_reversed: sort == SessionSort::Title,
        };
        let whole = all(&pipeline, &query);
        assert!(!whole.is_empty());
        for limit in [1, whole.len()] {
            let mut paged = Vec::new();
            let mut after: Option<SortPosition> = None;
            loop {
                let part = ListRange::default();
                let source = source(&pipeline, &prices);
                let mut pages = OverviewPages::open(source, &query.filter, part).unwrap();
                let page = sorted(&mut pages, &query, after.as_ref(), Some(limit)).unwrap();
                let Some((last, _)) = page.last_key_value() else {
                    break;
                };
                after = SortPosition::parse(&last.encoded());
                assert_eq!(after.as_ref(), Some(last), "positions are parsed back");
                paged.extend(page.into_values());
            }
            assert_eq!(paged, whole, "{query:?} by {limit}");
        }
    }
}

#[test]
fn a_filtered_list_by_key_reads_on_until_a_page_is_full() {
    let dir = summaries_dir();
    let pipeline = open(&dir);
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let filter = SessionFilter {
        user: Some("bob".to_owned()),
        ..SessionFilter::default()
    };
    let page = |after, limit| -> Vec<&str> {
        let sessions = first_by_key(source(&pipeline, &prices), &filter, after, limit).unwrap();
        sessions
            .iter()
            .map(|session| name(&session.listed.key))
            .collect()
    };
    assert_eq!(page(None, 1), ["hostile"]);
    assert_eq!(page(Some(HOSTILE), 1), ["untitled"]);
    assert_eq!(page(None, 9), ["hostile", "untitled"]);
    assert_eq!(page(Some(UNTITLED), 9), [""; 0]);
}

#[test]
fn a_database_of_an_earlier_version_lists_sessions_without_titles_and_costs() {
    let dir = summaries_dir();
    for column in ["title", "project", "is_automated", "first_uuid"] {
        execute(
            &dir,
            &format!("ALTER TABLE usage.sessions DROP COLUMN {column}"),
        );
    }
    execute(
        &dir,
        "ALTER TABLE usage.messages DROP COLUMN requests; DROP TABLE usage.agent_runs",
    );
    let pipeline = open(&dir);
    let sessions = all(&pipeline, &SessionQuery::default());
    let summary = |index: usize| sessions[index].summary.as_ref().unwrap();
    assert_eq!((&summary(0).title, summary(0).figures), (&None, None));
    assert_eq!(summary(0).project.as_deref(), Some("/home/ada/api"));
    assert_eq!(summary(4).project.as_deref(), Some("/home/bob/tools"));
    assert_eq!(sessions.len(), 6);
}

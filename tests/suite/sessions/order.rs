//! A page of a sorted list has the sessions that the whole list has at its place. The database ranks
//! most sessions, and never decides anything else than the whole list would.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use session_pipeline_harness::demo::{self, DemoOptions};
use session_pipeline_harness::{DataDir, TestPipeline, cases, counted};
use session_pipeline_host::clock::Clock as _;
use session_pipeline_pipeline::listing::ListRange;
use session_pipeline_pipeline::listing::overview::{
    OverviewPages, SessionFilter, SessionOverview, SessionQuery, SortPosition, sorted,
};
use session_pipeline_pipeline::report::{DayRange, PriceTable};

use super::overview::{SESSION_SORTS, source};
use crate::database::{cell, execute};
use crate::guests::usage;

/// The sessions of a small team. Some are new, some have no time, and some have rows, but no state.
/// `is_gone`: the file of one without a state is gone, so that no list has it.
fn team(is_gone: bool) -> DataDir {
    let dir = DataDir::new();
    let options = DemoOptions {
        users: 4,
        projects: 3,
        days: 6,
        end: dir.clock().now(),
        sessions: 40,
        ..DemoOptions::default()
    };
    demo::write(dir.path(), &options, &mut |_| true).unwrap();
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    drop(pipeline);
    execute(
        &dir,
        "CREATE TEMP TABLE numbered AS
            SELECT session_file, row_number() OVER (ORDER BY session_file) AS number FROM usage.sessions;
         UPDATE usage.sessions SET ended_at = NULL
            WHERE session_file IN (SELECT session_file FROM temp.numbered WHERE number % 9 = 0);
         UPDATE usage.sessions SET prompts = 3, tool_errors = NULL
            WHERE session_file IN (SELECT session_file FROM temp.numbered WHERE number % 3 = 0);
         DELETE FROM main.session_processor_state
            WHERE session_file IN (SELECT session_file FROM temp.numbered WHERE number % 10 = 1);",
    );
    if is_gone {
        let forgotten = "SELECT min(session_file) FROM usage.sessions
            WHERE session_file NOT IN (SELECT session_file FROM main.session_processor_state)";
        let key = cell(&dir, forgotten);
        std::fs::remove_file(dir.sessions_root().join(key)).unwrap();
    }
    dir.write("new/one.jsonl", "{}\n");
    dir.write("new/agent-two.jsonl", "{}\n");
    dir
}

fn sessions(
    pipeline: &TestPipeline,
    query: &SessionQuery,
    after: Option<&SortPosition>,
    limit: Option<usize>,
) -> Vec<(SortPosition, SessionOverview)> {
    let prices = PriceTable::load(pipeline.pipeline().config()).unwrap();
    let source = source(pipeline, &prices);
    let mut pages = OverviewPages::open(source, &query.filter, ListRange::default()).unwrap();
    let found = sorted(&mut pages, query, after, limit).unwrap();
    found.into_iter().collect()
}

/// Filters with values that the team has.
fn filters(pipeline: &TestPipeline) -> impl Strategy<Value = SessionFilter> + use<> {
    let all = sessions(pipeline, &SessionQuery::default(), None, None);
    let values = |of: fn(&SessionOverview) -> Option<String>| {
        let mut values: Vec<Option<String>> = all
            .iter()
            .filter_map(|(_, session)| of(session))
            .map(Some)
            .collect();
        values.sort_unstable();
        values.dedup();
        // Most queries do not filter by this.
        values.extend(vec![None; values.len() * 2 + 1]);
        select(values)
    };
    let users = values(|session| session.user_email.as_deref().map(str::to_owned));
    let folders = values(|session| session.listed.key.split('/').next().map(str::to_owned));
    let projects = values(|session| session.summary.as_ref()?.project.clone());
    let names = values(|session| {
        let path = session.summary.as_ref()?.project.as_deref()?;
        path.rsplit('/').next().map(str::to_owned)
    });
    let agents = values(|session| session.summary.as_ref()?.agent.clone());
    let days = values(|session| {
        let at = session.last_activity()?.to_string();
        at.get(..10).map(str::to_owned)
    });
    let flag = || select(vec![None, None, None, Some(true), Some(false)]);
    let search = select(vec![None, None, None, None, Some("a".to_owned())]);
    (
        (users, folders.clone(), projects, names, agents),
        (days.clone(), days, flag(), flag(), folders, search),
    )
        .prop_map(
            |(
                (email, folder, path, name, agent),
                (since, until, is_automated, is_subagent, own, search),
            )| {
                let day = |day: Option<String>| day.map(|day| day.parse().unwrap());
                SessionFilter {
                    user: email.or(folder),
                    project: path.or(name),
                    agent,
                    is_automated,
                    is_subagent,
                    days: DayRange {
                        since: day(since),
                        until: day(until),
                    },
                    directories: own.map(|own| vec![own, "new".to_owned()]),
                    search,
                    ..SessionFilter::default()
                }
            },
        )
}

#[test]
fn invariant_each_page_is_a_part_of_the_whole_list() {
    for is_gone in [false, true] {
        let dir = team(is_gone);
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        let queries = (
            filters(&pipeline),
            select(SESSION_SORTS.to_vec()),
            any::<bool>(),
        );
        let mut runner = TestRunner::new(counted(cases()));
        let checked = runner.run(
            &(queries, 1_usize..60),
            |((filter, sort, is_reversed), limit)| {
                let query = SessionQuery {
                    filter,
                    sort,
                    is_reversed,
                };
                let whole = sessions(&pipeline, &query, None, None);
                // Each place in the list, and the one after its end.
                for start in [0, whole.len() / 2, whole.len()] {
                    let after = start.checked_sub(1).and_then(|last| whole.get(last));
                    let after = after.map(|(position, _)| position);
                    let page = sessions(&pipeline, &query, after, Some(limit));
                    let expected = &whole[start..whole.len().min(start + limit)];
                    prop_assert_eq!(page.as_slice(), expected);
                }
                Ok(())
            },
        );
        checked.unwrap();
        // Without a filter, the list has all sessions.
        let found = sessions(&pipeline, &SessionQuery::default(), None, None);
        assert!(found.len() > 40, "{found:?}");
    }
}

//! Hazard: the process is killed repeatedly, at any point and at any time.
//!
//! The real program processes a folder of sessions over several simulated days. Each time it is
//! killed, the test restarts it. In the end, the database must be the same as without any kill:
//! no row is lost or duplicated, and no row belongs to an unknown session.

mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use life::{ALL_DAYS, Life, SESSIONS};
use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::program::Interruption;
use session_pipeline_harness::{cases, counted, tally};
use session_pipeline_store::kill_point::POINTS;

/// Enough days for the kills by name: sessions are created on the first day, and changed, touched
/// and deleted on the second.
const DAYS_FOR_NAMED_POINTS: usize = 2;
/// Points that are reached only with an older database or with a component that is not compiled
/// yet.
const STARTUP_POINTS: [&str; 5] = [
    "before database backup",
    "after database backup",
    "migration",
    "before cache write",
    "after cache write",
];

/// Returns the final state after this many days without a kill.
fn state_without_kills(days: usize) -> &'static BTreeMap<&'static str, Vec<String>> {
    static STATES: [OnceLock<BTreeMap<&'static str, Vec<String>>>; ALL_DAYS + 1] =
        [const { OnceLock::new() }; ALL_DAYS + 1];
    STATES[days].get_or_init(|| {
        let mut life = Life::prepared();
        life.run_days(days, |_, _| Interruption::None);
        let state = life.final_state();
        assert_eq!(life.deaths.len(), 0);
        assert!(state["messages"].len() > SESSIONS && state["state"].len() > SESSIONS);
        state
    })
}

fn tally_kills(life: &Life) {
    for point in life.deaths.iter().flatten() {
        tally(&format!("killed at: {point}"), 1);
    }
}

#[test]
fn kills_at_successive_points_change_nothing() {
    let mut life = Life::with_older_database();
    life.run_days(ALL_DAYS, |_, start| {
        Interruption::At((2 * start + 1).to_string())
    });
    assert_eq!(&life.final_state(), state_without_kills(ALL_DAYS));
    tally_kills(&life);
    println!("{} kills", life.deaths.len());
    // Each start is killed two points later than the one before. Committed work is not repeated, so
    // some points are never reached. The next test covers every point by name.
    assert!(life.deaths.len() > SESSIONS);
}

/// Points that only a server reaches. `budgets::kills` covers them.
const SERVER_POINTS: [&str; 2] = ["before notification", "after notification"];

#[test]
fn a_kill_at_every_named_point_changes_nothing() {
    let mut reached = BTreeSet::new();
    let points = || {
        POINTS
            .into_iter()
            .filter(|point| !SERVER_POINTS.contains(point))
    };
    for point in points() {
        tally(&format!("killed at: {point}"), 0);
        let mut life = match point {
            "before database rename" => Life::without_database(),
            point if STARTUP_POINTS.contains(&point) => Life::with_older_database(),
            _ => Life::prepared(),
        };
        // The first start of each run is killed at the point, if it reaches it. The second one is
        // not.
        life.run_days(DAYS_FOR_NAMED_POINTS, |_, start| match start {
            0 => Interruption::At(point.to_owned()),
            _ => Interruption::None,
        });
        assert_eq!(
            &life.final_state(),
            state_without_kills(DAYS_FOR_NAMED_POINTS),
            "killed at `{point}`"
        );
        tally_kills(&life);
        reached.extend(life.deaths.into_iter().flatten());
    }
    let missed: Vec<&str> = points().filter(|point| !reached.contains(*point)).collect();
    assert_eq!(
        missed, [""; 0],
        "points at which the program was never killed"
    );
}

/// Distinct point numbers. Three consecutive deaths at the same point could be attributed to a
/// session.
fn distinct_points(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u64>> {
    vec(1_u64..60, count).prop_map(|mut points| {
        let mut unique = BTreeSet::new();
        points.retain(|point| unique.insert(*point));
        points
    })
}

/// Counts the kills between the points `begin` and `end`.
fn tally_kills_within(life: &Life, operation: &str, begin: &str, end: &str) {
    let is_within = |death: &&Vec<String>| {
        death.iter().any(|point| point == begin) && death.iter().all(|point| point != end)
    };
    let deaths = life.deaths.iter().filter(is_within).count();
    tally(&format!("killed within: {operation}"), deaths as u64);
}

proptest! {
    // Each case starts the program about a dozen times.
    #![proptest_config(counted(cases().div_ceil(8)))]

    #[test]
    fn invariant_kills_at_random_points_change_nothing(
        // At least one kill on the first day, which has the most work.
        first in distinct_points(1..5),
        others in vec(distinct_points(0..5), ALL_DAYS - 1),
    ) {
        let kills: Vec<Vec<u64>> = std::iter::once(first).chain(others).collect();
        let mut life = Life::prepared();
        life.run_days(ALL_DAYS, |day, start| kills[day].get(start).map_or(Interruption::None, |point| Interruption::At(point.to_string())));
        tally_kills(&life);
        prop_assert!(!life.deaths.is_empty(), "the program was never killed");
        prop_assert_eq!(&life.final_state(), state_without_kills(ALL_DAYS));
    }

    #[test]
    fn invariant_kills_at_random_times_change_nothing(
        // The first kill is too early for the program to have done anything.
        first in 0_u64..5,
        kills in vec(vec(0_u64..250, 0..5), ALL_DAYS),
    ) {
        let mut kills = kills;
        kills[0].insert(0, first);
        let mut life = Life::prepared();
        life.run_days(ALL_DAYS, |day, start| {
            kills[day].get(start).map_or(Interruption::None, |millis| Interruption::After(Duration::from_millis(*millis)))
        });
        prop_assert!(!life.deaths.is_empty(), "the program was never killed");
        prop_assert_eq!(&life.final_state(), state_without_kills(ALL_DAYS));
    }

    #[test]
    fn invariant_kills_within_commits_and_checkpoints_change_nothing(
        kills in vec(prop_oneof![
            // Syncing a small commit takes a fraction of the time of a checkpoint.
            (Just("before commit"), 1_u64..8, 1_u64..1_500),
            (Just("before checkpoint"), Just(1), 1_u64..6_000),
        ], ALL_DAYS),
    ) {
        let mut life = Life::prepared();
        life.run_days(ALL_DAYS, |day, start| match (kills[day], start) {
            ((point, nth, micros), 0) => Interruption::At(format!("{point}#{nth}+{micros}")),
            _ => Interruption::None,
        });
        prop_assert!(!life.deaths.is_empty(), "the program was never killed");
        prop_assert_eq!(&life.final_state(), state_without_kills(ALL_DAYS));
        tally_kills_within(&life, "commit", "before commit", "after commit");
        tally_kills_within(&life, "checkpoint", "before checkpoint", "after checkpoint");
    }
}

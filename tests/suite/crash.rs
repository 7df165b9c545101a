//! The danger: the process dies, at any point and at any moment, again and again.
//!
//! The real program lives through some days of a folder of sessions. Whenever it is killed it is
//! started again, and in the end everything must be as if it had never died: every row once, none
//! lost, none of a session that is not known.

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

/// Sessions come on the first day, and are changed, renamed and deleted on the second.
const DAYS_BY_NAME: usize = 2;
/// Those that only a database of an older version, or a component never compiled, comes to.
const AT_THE_BEGINNING: [&str; 5] = [
    "before database backup",
    "after database backup",
    "migration",
    "before cache write",
    "after cache write",
];

/// What a life of so many days leaves without a crash.
fn undisturbed(days: usize) -> &'static BTreeMap<&'static str, Vec<String>> {
    static LEFT: [OnceLock<BTreeMap<&'static str, Vec<String>>>; ALL_DAYS + 1] =
        [const { OnceLock::new() }; ALL_DAYS + 1];
    LEFT[days].get_or_init(|| {
        let mut life = Life::prepared();
        life.live(days, |_, _| Interruption::None);
        let left = life.end();
        assert_eq!(life.deaths.len(), 0);
        assert!(left["messages"].len() > SESSIONS && left["state"].len() > SESSIONS);
        left
    })
}

fn tally_points(life: &Life) {
    for point in life.deaths.iter().flatten() {
        tally(&format!("killed at: {point}"), 1);
    }
}

#[test]
fn killed_at_each_point_in_turn_it_ends_as_if_nothing_had_happened() {
    let mut life = Life::from_an_older_database();
    life.live(ALL_DAYS, |_, start| {
        Interruption::At((2 * start + 1).to_string())
    });
    assert_eq!(&life.end(), undisturbed(ALL_DAYS));
    tally_points(&life);
    println!("{} kills", life.deaths.len());
    // Each start is killed two points later, while what was committed before is not done again, so
    // that points are jumped over; the test below knows them by name.
    assert!(life.deaths.len() > SESSIONS);
}

#[test]
fn killed_at_every_point_there_is_by_its_name_it_ends_as_if_nothing_had_happened() {
    let mut hit = BTreeSet::new();
    for point in POINTS {
        tally(&format!("killed at: {point}"), 0);
        let mut life = match point {
            "before database rename" => Life::from_nothing(),
            point if AT_THE_BEGINNING.contains(&point) => Life::from_an_older_database(),
            _ => Life::prepared(),
        };
        // The first start of each run dies there, if it comes there, and the second goes on.
        life.live(DAYS_BY_NAME, |_, start| match start {
            0 => Interruption::At(point.to_owned()),
            _ => Interruption::None,
        });
        assert_eq!(
            &life.end(),
            undisturbed(DAYS_BY_NAME),
            "killed at `{point}`"
        );
        tally_points(&life);
        hit.extend(life.deaths.into_iter().flatten());
    }
    let missed: Vec<&str> = POINTS
        .into_iter()
        .filter(|point| !hit.contains(*point))
        .collect();
    assert_eq!(missed, [""; 0], "never killed there");
}

/// Numbers of points, none twice: three deaths in a row at the very same one might be taken for a
/// session's doing.
fn distinct_points(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u64>> {
    vec(1_u64..60, count).prop_map(|mut points| {
        let mut seen = BTreeSet::new();
        points.retain(|point| seen.insert(*point));
        points
    })
}

/// Where it died, of what was begun at this point and has its end at that one.
fn tally_within(life: &Life, what: &str, begin: &str, end: &str) {
    let is_hit = |death: &&Vec<String>| {
        death.iter().any(|point| point == begin) && death.iter().all(|point| point != end)
    };
    let deaths = life.deaths.iter().filter(is_hit).count();
    tally(&format!("killed within: {what}"), deaths as u64);
}

proptest! {
    // Each case is a dozen starts of the program.
    #![proptest_config(counted(cases().div_ceil(8)))]

    #[test]
    fn invariant_chains_of_kills_at_any_points_change_nothing(
        // On the first day, when there is much to do, at least one.
        first in distinct_points(1..5),
        others in vec(distinct_points(0..5), ALL_DAYS - 1),
    ) {
        let kills: Vec<Vec<u64>> = std::iter::once(first).chain(others).collect();
        let mut life = Life::prepared();
        life.live(ALL_DAYS, |day, start| kills[day].get(start).map_or(Interruption::None, |point| Interruption::At(point.to_string())));
        tally_points(&life);
        prop_assert!(!life.deaths.is_empty(), "it was never killed");
        prop_assert_eq!(&life.end(), undisturbed(ALL_DAYS));
    }

    #[test]
    fn invariant_kills_at_any_moments_change_nothing(
        // The first kill comes before the program can have done anything.
        first in 0_u64..5,
        kills in vec(vec(0_u64..250, 0..5), ALL_DAYS),
    ) {
        let mut kills = kills;
        kills[0].insert(0, first);
        let mut life = Life::prepared();
        life.live(ALL_DAYS, |day, start| {
            kills[day].get(start).map_or(Interruption::None, |millis| Interruption::After(Duration::from_millis(*millis)))
        });
        prop_assert!(!life.deaths.is_empty(), "it was never killed");
        prop_assert_eq!(&life.end(), undisturbed(ALL_DAYS));
    }

    #[test]
    fn invariant_kills_within_commits_and_checkpoints_change_nothing(
        kills in vec(prop_oneof![
            // The sync of a small commit takes a fraction of what a checkpoint takes.
            (Just("before commit"), 1_u64..8, 1_u64..1_500),
            (Just("before checkpoint"), Just(1), 1_u64..6_000),
        ], ALL_DAYS),
    ) {
        let mut life = Life::prepared();
        life.live(ALL_DAYS, |day, start| match (kills[day], start) {
            ((point, nth, micros), 0) => Interruption::At(format!("{point}#{nth}+{micros}")),
            _ => Interruption::None,
        });
        prop_assert!(!life.deaths.is_empty(), "it was never killed");
        prop_assert_eq!(&life.end(), undisturbed(ALL_DAYS));
        tally_within(&life, "commit", "before commit", "after commit");
        tally_within(&life, "checkpoint", "before checkpoint", "after checkpoint");
    }
}

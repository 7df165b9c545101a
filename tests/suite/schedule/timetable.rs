//! Tests which jobs a tick starts, after any events between two ticks.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{cases, clock};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::schedule::TickTooLong;
use session_pipeline_pipeline::scheduler::timetable::{JobResult, Timetable};
use session_pipeline_store::JobRow;

use super::{HOUR, MINUTE, at, schedule};

/// A timetable with one job per schedule, for the processors `p0`, `p1` and so on.
fn timetable(schedules: &[&str]) -> Timetable {
    let mut config = Config::new("data");
    let names: Vec<String> = (0..schedules.len()).map(|n| format!("p{n}")).collect();
    for (name, text) in names.iter().zip(schedules) {
        let own = config.processors.entry(name.clone()).or_default();
        own.schedule = Some(schedule(text));
    }
    Timetable::new(&config, names.into_iter().map(|name| (name, None))).unwrap()
}

/// The processors that a tick starts.
fn started(timetable: &mut Timetable, now: UtcMicros) -> Vec<String> {
    let started = timetable.start_due(now).into_iter();
    started.map(|job| job.processor).collect()
}

#[test]
fn jobs_have_the_names_and_cadences_of_their_processors() {
    let mut config = Config::new("data");
    config
        .processors
        .entry("c".to_owned())
        .or_default()
        .schedule = Some(schedule("daily 04:15"));
    let processors = [
        ("usage", Some(600)),
        ("verification", None),
        ("c", Some(600)),
    ];
    let timetable = Timetable::new(
        &config,
        processors.map(|(name, cadence)| (name.to_owned(), cadence.map(Duration::from_secs))),
    );
    let jobs = timetable.unwrap();
    let jobs = jobs.jobs().iter();
    let jobs: Vec<String> = jobs
        .map(|job| format!("{} {}", job.name, job.schedule))
        .collect();
    assert_eq!(
        jobs,
        [
            "session-processor:usage every 10m",
            "session-processor:verification every 15m",
            "session-processor:c daily 04:15",
        ]
    );
}

#[test]
fn a_tick_longer_than_a_positive_interval_is_rejected() {
    let mut config = Config::new("data");
    config.scheduler.tick = HOUR;
    let one = |config: &Config| {
        Timetable::new(config, [("usage".to_owned(), Some(MINUTE * 10))]).map(drop)
    };
    let error = one(&config).unwrap_err();
    assert_eq!(
        error,
        TickTooLong {
            job: "session-processor:usage".to_owned(),
            tick: HOUR,
            interval: MINUTE * 10,
        }
    );
    insta::assert_snapshot!(error, @"the scheduler's tick of 3600 s is longer than the interval of `session-processor:usage`, 600 s; lower the tick (SCHEDULER_TICK_SECONDS), or raise the interval");
    for text in ["daily 04:15", "every 1h", "every 0m"] {
        let own = config.processors.entry("usage".to_owned()).or_default();
        own.schedule = Some(schedule(text));
        assert_eq!(one(&config), Ok(()), "{text}");
    }
}

#[test]
fn stored_runs_are_restored_for_existing_jobs() {
    let mut jobs = timetable(&["every 15m", "every 15m"]);
    let row = |name: &str| JobRow {
        name: name.to_owned(),
        last_run_at: Some(at(0, "11:50")),
        last_status: Some("failed".to_owned()),
    };
    jobs.restore(&[row("session-processor:gone"), row("session-processor:p1")]);
    assert_eq!(started(&mut jobs, at(0, "12:00")), ["p0"]);
    assert_eq!(started(&mut jobs, at(0, "12:05")), ["p1"]);
}

#[test]
fn a_tick_after_three_days_of_downtime_starts_every_job_once() {
    let mut jobs = timetable(&["every 15m", "every 2h", "daily 09:00,10:00", "daily 18:00"]);
    let rows: Vec<JobRow> = jobs
        .jobs()
        .iter()
        .map(|job| JobRow {
            name: job.name.clone(),
            last_run_at: Some(at(-3, "20:00")),
            last_status: None,
        })
        .collect();
    jobs.restore(&rows);
    assert_eq!(started(&mut jobs, at(0, "12:00")), ["p0", "p1", "p2", "p3"]);
    for job in jobs.clone().jobs() {
        jobs.finish(&job.name, JobResult::Ok);
    }
    assert!(started(&mut jobs, at(0, "12:01")).is_empty());
    assert_eq!(started(&mut jobs, at(0, "18:00")), ["p0", "p1", "p3"]);
}

#[test]
fn a_daily_time_just_before_midnight_is_not_missed_between_two_ticks() {
    let mut jobs = timetable(&["daily 23:59"]);
    assert_eq!(
        started(&mut jobs, at(0, "12:00")),
        ["p0"],
        "the job never ran"
    );
    jobs.finish("session-processor:p0", JobResult::Ok);
    assert!(started(&mut jobs, at(0, "23:58:31")).is_empty());
    assert_eq!(started(&mut jobs, at(1, "00:00:31")), ["p0"]);
    jobs.finish("session-processor:p0", JobResult::Ok);
    assert!(started(&mut jobs, at(1, "00:02:31")).is_empty());
}

#[test]
fn a_daily_time_missed_while_the_server_was_down_over_midnight_is_caught_up_once() {
    let last = JobRow {
        name: "session-processor:p0".to_owned(),
        last_run_at: Some(at(0, "04:15")),
        last_status: Some("ok".to_owned()),
    };
    let mut jobs = timetable(&["daily 04:15,23:00"]);
    jobs.restore(&[last]);
    assert_eq!(started(&mut jobs, at(1, "00:30")), ["p0"]);
    jobs.finish("session-processor:p0", JobResult::Failed("no".to_owned()));
    assert!(started(&mut jobs, at(1, "04:14:59")).is_empty());
    assert_eq!(started(&mut jobs, at(1, "04:15")), ["p0"]);
}

#[test]
fn a_clock_set_back_neither_stops_a_job_nor_starts_it_immediately() {
    let mut jobs = timetable(&["every 15m", "daily 09:00"]);
    let all = |jobs: &mut Timetable| {
        for job in jobs.clone().jobs() {
            jobs.finish(&job.name, JobResult::Ok);
        }
    };
    assert_eq!(started(&mut jobs, at(0, "09:00:10")), ["p0", "p1"]);
    all(&mut jobs);
    // One minute back: the daily time passes again, but its run has already been.
    assert!(started(&mut jobs, at(0, "08:59:10")).is_empty());
    assert!(started(&mut jobs, at(0, "09:00:10")).is_empty());
    // The interval of 15 minutes starts again.
    assert_eq!(started(&mut jobs, at(0, "09:14:10")), ["p0"]);
    all(&mut jobs);
    // A month back.
    assert!(started(&mut jobs, at(-30, "08:00")).is_empty());
    assert_eq!(started(&mut jobs, at(-30, "09:00")), ["p0", "p1"]);
}

#[test]
fn a_clock_set_forward_causes_one_run_per_job() {
    let mut jobs = timetable(&["every 15m", "daily 09:00"]);
    assert_eq!(started(&mut jobs, at(0, "10:00")), ["p0", "p1"]);
    let mut runs = 0;
    for minute in 0..30 {
        for job in jobs.clone().jobs() {
            jobs.finish(&job.name, JobResult::Ok);
        }
        let now = at(40, "10:00").plus(MINUTE * minute);
        runs += started(&mut jobs, now).len();
    }
    assert_eq!(
        runs, 3,
        "each job runs once after the jump, and the interval job again 15 minutes later"
    );
}

#[derive(Clone, Debug)]
enum Event {
    /// A tick, this many seconds after the previous event.
    Tick(u16),
    /// The run of a job ends, if it is running.
    End {
        job: prop::sample::Index,
        succeeds: bool,
    },
    /// The process restarts. Runs in progress are lost.
    Restart,
    /// The clock is set forward or back by this many seconds.
    Jump(i32),
}

/// The maximum number of seconds between two ticks.
const TICK_SECONDS_MAX: u16 = 300;

fn event(with_jumps: bool) -> impl Strategy<Value = Event> {
    let jumps = if with_jumps { 1 } else { 0 };
    prop_oneof![
        12 => (1..=TICK_SECONDS_MAX).prop_map(Event::Tick),
        12 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(job, succeeds)| Event::End { job, succeeds }),
        2 => Just(Event::Restart),
        jumps => (-400_000_i32..400_000).prop_map(Event::Jump),
    ]
}

/// A job in the model. All times are in seconds of elapsed time.
#[derive(Clone, Default)]
struct Model {
    last_start: Option<i64>,
    running_since: Option<i64>,
    starts: i64,
    /// Since when the job could run without a restart or a jump of the clock.
    quiet_since: i64,
}

const INTERVALS: [i64; 3] = [5 * 60, 15 * 60, 60 * 60];
const SCHEDULES: [&str; 3] = ["every 5m", "every 15m", "every 1h"];

/// The rows that the process stores for its jobs.
fn rows_of(jobs: &Timetable) -> Vec<JobRow> {
    let jobs = jobs.jobs().iter();
    jobs.map(|job| JobRow {
        name: job.name.clone(),
        last_run_at: job.last_run_at,
        last_status: job.last_end.as_ref().map(|end| end.as_str().to_owned()),
    })
    .collect()
}

fn restarted(jobs: &Timetable) -> Timetable {
    let rows = rows_of(jobs);
    let mut jobs = timetable(&SCHEDULES);
    jobs.restore(&rows);
    jobs
}

#[test]
fn after_a_restart_the_status_of_a_job_is_known_but_not_the_reason() {
    for (end, word, reason) in [
        (JobResult::Ok, "ok", None),
        (
            JobResult::Failed("3 failed".to_owned()),
            "failed",
            Some("3 failed"),
        ),
        (
            JobResult::Rejected("not here".to_owned()),
            "refused",
            Some("not here"),
        ),
    ] {
        assert_eq!((end.as_str(), end.reason()), (word, reason));
        let mut jobs = timetable(&SCHEDULES);
        started(&mut jobs, at(0, "00:00"));
        jobs.finish("session-processor:p0", end);
        let after = restarted(&jobs).jobs()[0].last_end.clone().unwrap();
        assert_eq!((after.as_str(), after.reason()), (word, reason.map(|_| "")));
    }
}

#[test]
fn a_new_processor_gets_a_job_and_a_removed_one_loses_it_after_its_run() {
    let mut timetable = timetable(&["every 10m", "every 10m"]);
    assert_eq!(started(&mut timetable, at(0, "00:00")), ["p0", "p1"]);
    timetable.finish("session-processor:p0", JobResult::Ok);
    let row = JobRow {
        name: "session-processor:new".to_owned(),
        last_run_at: Some(at(0, "00:00")),
        last_status: Some("failed".to_owned()),
    };
    let config = Config::new("data");
    let now = |names: &[&str]| -> Vec<(String, Option<Duration>)> {
        let names = names.iter().map(|name| (*name).to_owned());
        names.map(|name| (name, Some(MINUTE * 10))).collect()
    };
    let names = |timetable: &Timetable| -> Vec<String> {
        let jobs = timetable.jobs().iter();
        jobs.map(|job| job.processor.clone()).collect()
    };
    timetable.update_processors(&config, now(&["new", "newer"]), std::slice::from_ref(&row));
    assert_eq!(names(&timetable), ["new", "newer", "p1"], "p1 is running");
    timetable.finish("session-processor:p1", JobResult::Ok);
    timetable.update_processors(&config, now(&["new", "newer"]), &[row]);
    assert_eq!(names(&timetable), ["new", "newer"]);
    assert_eq!(
        started(&mut timetable, at(0, "00:00:01")),
        ["newer"],
        "the other job has a stored run"
    );
    assert_eq!(started(&mut timetable, at(0, "00:10")), ["new"]);
}

#[test]
fn a_replaced_processor_keeps_its_job_and_uses_its_new_cadence() {
    let mut timetable = timetable(&["every 10m"]);
    assert_eq!(started(&mut timetable, at(0, "00:00")), ["p0"]);
    timetable.finish("session-processor:p0", JobResult::Ok);
    let mut config = Config::new("data");
    config.scheduler.tick = MINUTE * 5;
    let set_cadence = |timetable: &mut Timetable, cadence| {
        timetable.update_processors(&config, [("p0".to_owned(), Some(cadence))], &[]);
    };
    set_cadence(&mut timetable, HOUR);
    assert_eq!(started(&mut timetable, at(0, "00:20")), [""; 0]);
    set_cadence(&mut timetable, MINUTE * 20);
    assert_eq!(started(&mut timetable, at(0, "00:20")), ["p0"]);
    // An interval shorter than the tick is raised to the tick.
    timetable.finish("session-processor:p0", JobResult::Ok);
    set_cadence(&mut timetable, Duration::from_secs(1));
    assert_eq!(timetable.jobs()[0].schedule.interval(), Some(MINUTE * 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 8))]

    /// A tick starts exactly the jobs that are not running and whose last start is at least an
    /// interval ago, whatever its result. So a failing job runs at its cadence, and jobs do not
    /// wait for each other.
    #[test]
    fn invariant_a_tick_starts_the_due_jobs_that_are_not_running(events in vec(event(false), 1..200)) {
        let mut jobs = timetable(&SCHEDULES);
        let mut models = vec![Model::default(); SCHEDULES.len()];
        let mut now = 0;
        for event in events {
            match event {
                Event::Tick(seconds) => {
                    now += i64::from(seconds);
                    let expected: Vec<String> = models
                        .iter_mut()
                        .zip(INTERVALS)
                        .enumerate()
                        .filter_map(|(index, (model, interval))| {
                            let has_elapsed = model.last_start.is_none_or(|last| now - last >= interval);
                            (has_elapsed && model.running_since.is_none()).then(|| {
                                model.running_since = Some(now);
                                format!("p{index}")
                            })
                        })
                        .collect();
                    let at = UtcMicros(clock::START.0 + now * 1_000_000);
                    prop_assert_eq!(started(&mut jobs, at), expected);
                }
                Event::End { job, succeeds } => {
                    let index = job.index(models.len());
                    let end = if succeeds { JobResult::Ok } else { JobResult::Failed("no".to_owned()) };
                    let tick = jobs.finish(&format!("session-processor:p{index}"), end);
                    let model = &mut models[index];
                    prop_assert_eq!(tick.is_some(), model.running_since.is_some());
                    model.last_start = model.running_since.take().or(model.last_start);
                }
                Event::Restart => {
                    jobs = restarted(&jobs);
                    for model in &mut models {
                        model.running_since = None;
                    }
                }
                Event::Jump(_) => {}
            }
        }
    }

    /// If one or more daily times passed since the last start, the next tick starts exactly one
    /// run.
    #[test]
    fn invariant_passed_daily_times_cause_one_run_at_the_next_tick(
        times in vec((0_i64..24, 0_i64..60), 1..5),
        // Mostly normal ticks. Sometimes the server was down, for up to days.
        ticks in vec((prop_oneof![6 => 1_i64..300, 3 => 300_i64..40_000, 1 => 40_000_i64..300_000], 0_u8..10), 1..80),
    ) {
        let text: Vec<String> = times.iter().map(|(h, m)| format!("{h:02}:{m:02}")).collect();
        let text = format!("daily {}", text.join(","));
        let mut jobs = timetable(&[&text]);
        let mut last: Option<i64> = None;
        // Do not start at midnight, so that the first day is incomplete.
        let mut now = 40_000;
        for (seconds, restart) in ticks {
            now += seconds;
            if restart == 0 {
                let rows = rows_of(&jobs);
                jobs = timetable(&[&text]);
                jobs.restore(&rows);
            }
            let has_passed = last.is_none_or(|last| {
                (last / 86_400..=now / 86_400).any(|day| {
                    times.iter().any(|(hour, minute)| {
                        let at = day * 86_400 + hour * 3600 + minute * 60;
                        last < at && at <= now
                    })
                })
            });
            let starts = started(&mut jobs, UtcMicros(clock::START.0 + now * 1_000_000)).len();
            prop_assert_eq!(starts, usize::from(has_passed), "{} s, last {:?}", now, last);
            if has_passed {
                last = Some(now);
                jobs.finish("session-processor:p0", JobResult::Ok);
            }
        }
    }

    /// A job starts at most once per interval of elapsed time, plus once for each jump of the clock
    /// and each restart. A job that can run starts within one interval and two ticks.
    #[test]
    fn invariant_a_clock_jump_neither_causes_a_burst_of_runs_nor_stops_a_job(
        events in vec(event(true), 1..300),
    ) {
        let mut jobs = timetable(&SCHEDULES);
        let mut models = vec![Model::default(); SCHEDULES.len()];
        let (mut now, mut clock_offset, mut disturbances) = (0_i64, 0_i64, 0_i64);
        for event in events {
            match event {
                Event::Tick(seconds) => {
                    now += i64::from(seconds);
                    let at = UtcMicros(clock::START.0 + (now + clock_offset) * 1_000_000);
                    for processor in started(&mut jobs, at) {
                        let index: usize = processor.trim_start_matches('p').parse().unwrap();
                        prop_assert!(models[index].running_since.is_none(), "two runs of {} at once", processor);
                        models[index].running_since = Some(now);
                        models[index].starts += 1;
                    }
                    for (model, interval) in models.iter_mut().zip(INTERVALS) {
                        let starts_max = 1 + now / interval + disturbances;
                        prop_assert!(model.starts <= starts_max, "too many runs");
                        if model.running_since.is_some() {
                            model.quiet_since = now;
                        }
                        // The next tick detects that the clock was set back.
                        let quiet_max = interval + 2 * i64::from(TICK_SECONDS_MAX);
                        prop_assert!(now - model.quiet_since <= quiet_max, "the job no longer starts");
                    }
                }
                Event::End { job, .. } => {
                    let index = job.index(models.len());
                    jobs.finish(&format!("session-processor:p{index}"), JobResult::Ok);
                    models[index].running_since = None;
                    models[index].quiet_since = now;
                }
                Event::Restart | Event::Jump(_) => {
                    disturbances += 1;
                    if let Event::Jump(seconds) = event {
                        clock_offset += i64::from(seconds);
                    } else {
                        jobs = restarted(&jobs);
                    }
                    for model in &mut models {
                        if matches!(event, Event::Restart) {
                            model.running_since = None;
                        }
                        model.quiet_since = now;
                    }
                }
            }
        }
    }
}

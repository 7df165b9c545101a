//! The scheduler as it drives: hours of it, in paused time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::pipeline::scheduled_request;
use session_pipeline_harness::{DataDir, PausedClock, Transcript, cases, clock};
use session_pipeline_host::clock::Clock;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunError};
use session_pipeline_pipeline::scheduler::timetable::JobResult;
use session_pipeline_pipeline::scheduler::{Scheduler, SchedulerHandle, cadences};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_store::{JobRow, Store};

use crate::database::rows;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What one run of a job does: how long it takes, and how it ends; `None`: it panics.
#[derive(Clone, Debug)]
struct Play(Duration, Option<JobResult>);

/// The times at which each processor was started, in seconds since the stage was set.
type Starts = BTreeMap<String, Vec<u64>>;

/// A store, a clock, and processors that do as they are told.
struct Stage {
    _dir: DataDir,
    config: Config,
    store: Arc<Store>,
    clock: Arc<PausedClock>,
    starts: Arc<Mutex<Starts>>,
    at_work: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Stage {
    async fn set() -> Self {
        let dir = DataDir::new();
        let mut config = dir.config();
        config.scheduler.startup_grace = Duration::ZERO;
        Self {
            store: Arc::new(Store::open(&config.store_options(), clock::START).unwrap()),
            config,
            clock: Arc::new(PausedClock::start().await),
            starts: Arc::default(),
            at_work: Arc::default(),
            _dir: dir,
        }
    }

    /// Drives jobs of these processors, given with their cadences in minutes, for so long.
    async fn drive(
        &self,
        processors: &[(&str, u64)],
        time: Duration,
        play: impl Fn(&str) -> Play + Send + Sync + 'static,
    ) -> SchedulerHandle {
        let processors = processors.iter().map(|&(name, minutes)| {
            (
                name.to_owned(),
                Some(MINUTE * u32::try_from(minutes).unwrap()),
            )
        });
        let clock = Arc::clone(&self.clock);
        let scheduler = Scheduler::new(&self.config, processors, clock).unwrap();
        let watch = scheduler.watch();
        let (starts, at_work) = (Arc::clone(&self.starts), Arc::clone(&self.at_work));
        let most_at_once = Arc::new(AtomicU32::new(0));
        let most = Arc::clone(&most_at_once);
        let clock = Arc::clone(&self.clock);
        let run = move |processor: String| {
            let seconds = clock.monotonic().as_secs();
            starts
                .lock()
                .unwrap()
                .entry(processor.clone())
                .or_default()
                .push(seconds);
            let count = *at_work
                .lock()
                .unwrap()
                .entry(processor.clone())
                .and_modify(|count| *count += 1)
                .or_insert(1);
            most.fetch_max(count, Ordering::SeqCst);
            let Play(time, end) = play(&processor);
            let at_work = Arc::clone(&at_work);
            async move {
                tokio::time::sleep(time).await;
                *at_work.lock().unwrap().get_mut(&processor).unwrap() -= 1;
                end.expect("a run may panic")
            }
        };
        scheduler
            .run(Arc::clone(&self.store), run, tokio::time::sleep(time))
            .await;
        // Here and not in the run: what panics there is a failed run, and no failed test.
        let most_at_once = most_at_once.load(Ordering::SeqCst);
        assert!(most_at_once <= 1, "{most_at_once} runs of one job at once");
        watch
    }

    /// The starts since this was last asked.
    fn starts(&self) -> Starts {
        std::mem::take(&mut self.starts.lock().unwrap())
    }

    fn starts_of(&self, processor: &str) -> Vec<u64> {
        self.starts().remove(processor).unwrap_or_default()
    }
}

/// A short run that goes well.
fn well() -> Play {
    Play(Duration::from_secs(1), Some(JobResult::Ok))
}

/// Runs a test in time that passes as soon as everybody waits for it.
fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn every_job_runs_at_its_cadence() {
    paused(async {
        let stage = Stage::set().await;
        let jobs = [("usage", 10), ("verification", 15)];
        stage.drive(&jobs, MINUTE * 40, |_| well()).await;
        let starts = stage.starts();
        assert_eq!(starts["usage"], [0, 600, 1200, 1800]);
        assert_eq!(starts["verification"], [0, 900, 1800]);
    });
}

#[test]
fn nothing_starts_before_the_grace_is_over_and_a_stop_in_it_is_prompt() {
    paused(async {
        let mut stage = Stage::set().await;
        stage.config.scheduler.startup_grace = Duration::from_secs(60);
        let watch = stage
            .drive(&[("usage", 10)], Duration::from_secs(59), |_| well())
            .await;
        assert_eq!(stage.clock.monotonic().as_secs(), 59);
        assert_eq!(watch.status().last_tick_at, None);
        assert!(stage.starts().is_empty());
        stage
            .drive(&[("usage", 10)], Duration::from_secs(61), |_| well())
            .await;
        assert_eq!(stage.starts_of("usage"), [59 + 60]);
    });
}

#[test]
fn a_job_at_work_is_not_started_again_and_follows_at_the_tick_after_its_end() {
    paused(async {
        let stage = Stage::set().await;
        let slow = Play(MINUTE * 25 - Duration::from_secs(5), Some(JobResult::Ok));
        stage
            .drive(&[("usage", 10)], HOUR, move |_| slow.clone())
            .await;
        assert_eq!(stage.starts_of("usage"), [0, 1500, 3000]);
    });
}

#[test]
fn a_slow_job_delays_no_other() {
    paused(async {
        let stage = Stage::set().await;
        let jobs = [("slow", 10), ("usage", 10), ("verification", 15)];
        stage
            .drive(&jobs, HOUR, |name| match name {
                "slow" => Play(HOUR * 5, Some(JobResult::Ok)),
                _ => well(),
            })
            .await;
        let starts = stage.starts();
        assert_eq!(starts["slow"], [0]);
        assert_eq!(starts["usage"], [0, 600, 1200, 1800, 2400, 3000]);
        assert_eq!(starts["verification"], [0, 900, 1800, 2700]);
    });
}

#[test]
fn a_job_that_fails_is_refused_or_panics_runs_at_its_cadence_too() {
    paused(async {
        let stage = Stage::set().await;
        let jobs = [("fails", 10), ("panics", 10), ("refused", 10)];
        let watch = stage
            .drive(&jobs, MINUTE * 25, |name| {
                let end = match name {
                    "fails" => Some(JobResult::Failed("3 sessions failed".to_owned())),
                    "refused" => Some(JobResult::Rejected("already running".to_owned())),
                    _ => None,
                };
                Play(Duration::ZERO, end)
            })
            .await;
        for (name, starts) in stage.starts() {
            assert_eq!(starts, [0, 600, 1200], "{name}");
        }
        let jobs = watch.status().jobs.into_iter();
        let ends: Vec<_> = jobs
            .map(|job| (job.processor, job.last_end.unwrap().as_str()))
            .collect();
        let expected = [
            ("fails", "failed"),
            ("panics", "failed"),
            ("refused", "refused"),
        ];
        assert_eq!(ends, expected.map(|(name, end)| (name.to_owned(), end)));
        let kept: Vec<_> = stage.store.jobs().unwrap();
        let kept: Vec<_> = kept
            .into_iter()
            .map(|row| row.last_status.unwrap())
            .collect();
        assert_eq!(kept, ["failed", "failed", "refused"]);
    });
}

#[test]
fn a_restart_goes_on_where_the_process_before_ended() {
    paused(async {
        let stage = Stage::set().await;
        let jobs = [("usage", 10), ("verification", 15)];
        stage.drive(&jobs, MINUTE * 12, |_| well()).await;
        assert_eq!(stage.starts()["usage"], [0, 600]);
        stage.drive(&jobs, MINUTE * 12, |_| well()).await;
        let starts = stage.starts();
        assert_eq!(starts["usage"], [1200]);
        assert_eq!(starts["verification"], [900]);
    });
}

#[test]
fn after_three_days_down_every_job_catches_up_once() {
    paused(async {
        let stage = Stage::set().await;
        let jobs = [("usage", 10), ("verification", 15)];
        stage.drive(&jobs, MINUTE, |_| well()).await;
        stage.starts();
        tokio::time::advance(HOUR * 72).await;
        stage.drive(&jobs, MINUTE * 9, |_| well()).await;
        for (name, starts) in stage.starts() {
            assert_eq!(starts.len(), 1, "{name}");
        }
    });
}

#[test]
fn a_clock_that_jumps_neither_fires_a_burst_nor_stops_a_job() {
    for jump in [HOUR * 24 * 40, HOUR * 30, MINUTE * 3] {
        let jump = i64::try_from(jump.as_micros()).unwrap();
        for jump in [jump, -jump] {
            paused(async {
                let stage = Stage::set().await;
                let jobs = [("usage", 10)];
                let clock = Arc::clone(&stage.clock);
                tokio::spawn(async move {
                    tokio::time::sleep(MINUTE * 15).await;
                    clock.jump_micros(jump);
                });
                stage.drive(&jobs, HOUR, |_| well()).await;
                let starts = stage.starts_of("usage");
                assert!((5..=7).contains(&starts.len()), "{jump}: {starts:?}");
                let rests = starts.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(rests.max() <= Some(1200), "{jump}: {starts:?}");
            });
        }
    }
}

#[test]
fn a_stop_waits_for_what_is_at_work_and_its_books_are_kept() {
    paused(async {
        let stage = Stage::set().await;
        let slow = Play(MINUTE * 5, Some(JobResult::Ok));
        stage
            .drive(&[("usage", 1)], MINUTE, move |_| slow.clone())
            .await;
        assert_eq!(stage.clock.monotonic(), MINUTE * 5);
        assert_eq!(stage.starts_of("usage"), [0]);
        let expected = JobRow {
            name: "session-processor:usage".to_owned(),
            last_run_at: Some(clock::START),
            last_status: Some("ok".to_owned()),
        };
        assert_eq!(stage.store.jobs().unwrap(), [expected]);
    });
}

#[test]
fn a_watch_tells_what_is_at_work() {
    paused(async {
        let stage = Stage::set().await;
        let seen: Arc<Mutex<Option<SchedulerHandle>>> = Arc::default();
        let config = stage.config.clone();
        let clock: Arc<dyn Clock> = Arc::clone(&stage.clock) as _;
        let processors = [("usage".to_owned(), Some(MINUTE * 10))];
        let scheduler = Scheduler::new(&config, processors, clock).unwrap();
        *seen.lock().unwrap() = Some(scheduler.watch());
        let run = move |_| {
            let status = seen.lock().unwrap().as_ref().unwrap().status();
            assert_eq!(status.last_tick_at, Some(clock::START));
            assert_eq!(status.jobs[0].running_since, Some(clock::START));
            async { JobResult::Ok }
        };
        let watch = scheduler.watch();
        scheduler
            .run(Arc::clone(&stage.store), run, tokio::time::sleep(MINUTE))
            .await;
        let job = &watch.status().jobs[0];
        assert_eq!(
            (job.running_since, &job.last_end),
            (None, &Some(JobResult::Ok))
        );
    });
}

#[test]
fn a_run_that_a_person_has_at_work_is_refused_and_one_that_broke_off_failed() {
    let ends = [
        RunError::AlreadyRunning("usage".to_owned()),
        RunError::Internal("a panic".to_owned()),
    ]
    .map(|error| JobResult::from(&Err(error)).as_str());
    assert_eq!(ends, ["refused", "failed"]);
}

#[test]
fn scheduled_runs_go_the_way_of_all_runs() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let mut config = dir.config();
    config.scheduler.startup_grace = Duration::ZERO;
    let registry = Registry::new([ShippedProcessor {
        name: "usage",
        component: USAGE,
    }]);
    let clock: Arc<dyn Clock> = Arc::clone(dir.clock()) as _;
    let pipeline = Pipeline::open(config, Arc::clone(&clock), registry).unwrap();
    let pipeline = Arc::new(pipeline);
    let scheduler = Scheduler::new(pipeline.config(), cadences(&pipeline), clock).unwrap();
    let watch = scheduler.watch();
    let store = Arc::clone(&pipeline);
    let run = move |processor: String| {
        let pipeline = Arc::clone(&pipeline);
        async move {
            let run = move || pipeline.run(&processor, &scheduled_request(), &());
            JobResult::from(&tokio::task::spawn_blocking(run).await.unwrap())
        }
    };
    paused(async { scheduler.run(store, run, tokio::time::sleep(MINUTE)).await });
    let jobs = watch.status().jobs.into_iter();
    let jobs: Vec<String> = jobs
        .map(|job| {
            format!(
                "{}, {}: {:?}",
                job.name,
                job.schedule,
                job.last_end.unwrap()
            )
        })
        .collect();
    insta::assert_snapshot!(jobs.join("\n"), @r#"
    session-processor:usage, every 10m: Ok
    session-processor:verification, every 15m: Refused("the processor `verification` is not installed; installed processors: usage")
    "#);
    insta::assert_snapshot!(
        rows(&dir, "SELECT name, last_run_at, last_status FROM scheduler_jobs ORDER BY name").join("\n"),
        @"
    session-processor:usage | 2100-01-01 00:00:00 | ok
    session-processor:verification | 2100-01-01 00:00:00 | refused
    "
    );
    insta::assert_snapshot!(
        rows(&dir, "SELECT processor_name, trigger, result FROM runs").join("\n"),
        @"usage | scheduler | ok"
    );
    insta::assert_snapshot!(
        rows(&dir, "SELECT action, client_kind, result FROM audit_log").join("\n"),
        @"run_session_processor:usage | scheduler | ok"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Whatever runs take and however they end: never two of one job at once (the stage sees to
    /// that), a job rests for its cadence and no longer than one tick more than that or its own run
    /// takes, and no other job has a say in it.
    #[test]
    fn invariant_a_job_runs_at_its_cadence_whatever_happens_in_runs(
        plays in vec((0_u64..4000, 0_u8..4), 1..5),
    ) {
        let jobs = [("a", 5), ("b", 10), ("c", 15)];
        let starts = paused(async {
            let stage = Stage::set().await;
            let index = Mutex::new(0);
            let plays = plays.clone();
            stage.drive(&jobs, HOUR * 4, move |_| {
                let mut index = index.lock().unwrap();
                *index += 1;
                let (seconds, end) = plays[*index % plays.len()];
                Play(Duration::from_secs(seconds), match end {
                    0 => None,
                    1 => Some(JobResult::Failed("no".to_owned())),
                    _ => Some(JobResult::Ok),
                })
            }).await;
            stage.starts()
        });
        let longest = plays.iter().map(|(seconds, _)| *seconds).max().unwrap();
        for (name, minutes) in jobs {
            let cadence = minutes * 60;
            prop_assert_eq!(starts[name][0], 0, "no due job waits for another");
            for pair in starts[name].windows(2) {
                let rest = pair[1] - pair[0];
                prop_assert!(rest >= cadence, "{} ran too soon: {:?}", name, starts);
                prop_assert!(rest <= cadence.max(longest) + 30, "{} waited: {:?}", name, starts);
            }
        }
    }
}

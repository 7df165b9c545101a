//! Tests the async scheduler over hours of paused time.

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
use session_pipeline_pipeline::config::{Config, ProcessorConfig};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::run::{Pipeline, RunError};
use session_pipeline_pipeline::scheduler::timetable::JobResult;
use session_pipeline_pipeline::scheduler::{Scheduler, SchedulerHandle, cadences};
use session_pipeline_pipeline::shipped::ShippedProcessor;
use session_pipeline_store::{JobRow, Store};

use crate::database::rows;
use crate::guests::misbehaving;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A simulated run: its duration, and its result, or `None` to panic.
#[derive(Clone, Debug)]
struct FakeRun(Duration, Option<JobResult>);

/// The times at which each processor was started, in seconds since the creation of the fixture.
type Starts = BTreeMap<String, Vec<u64>>;

/// A scheduler with a store, a clock and simulated processors.
struct SchedulerFixture {
    _dir: DataDir,
    config: Config,
    store: Arc<Store>,
    clock: Arc<PausedClock>,
    starts: Arc<Mutex<Starts>>,
    running: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl SchedulerFixture {
    async fn new() -> Self {
        let dir = DataDir::new();
        let mut config = dir.config();
        config.scheduler.startup_grace = Duration::ZERO;
        Self {
            store: Arc::new(Store::open(&config.store_options(), clock::START).unwrap()),
            config,
            clock: Arc::new(PausedClock::start().await),
            starts: Arc::default(),
            running: Arc::default(),
            _dir: dir,
        }
    }

    /// Runs the scheduler for `time`. `processors` contains names and cadences in minutes.
    async fn drive(
        &self,
        processors: &[(&str, u64)],
        time: Duration,
        fake_run: impl Fn(&str) -> FakeRun + Send + Sync + 'static,
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
        let (starts, running) = (Arc::clone(&self.starts), Arc::clone(&self.running));
        let concurrent_max = Arc::new(AtomicU32::new(0));
        let max = Arc::clone(&concurrent_max);
        let clock = Arc::clone(&self.clock);
        let run = move |processor: String| {
            let seconds = clock.monotonic().as_secs();
            starts
                .lock()
                .unwrap()
                .entry(processor.clone())
                .or_default()
                .push(seconds);
            let count = *running
                .lock()
                .unwrap()
                .entry(processor.clone())
                .and_modify(|count| *count += 1)
                .or_insert(1);
            max.fetch_max(count, Ordering::SeqCst);
            let FakeRun(time, end) = fake_run(&processor);
            let running = Arc::clone(&running);
            async move {
                tokio::time::sleep(time).await;
                *running.lock().unwrap().get_mut(&processor).unwrap() -= 1;
                end.expect("this run is meant to panic")
            }
        };
        scheduler
            .run(Arc::clone(&self.store), run, tokio::time::sleep(time))
            .await;
        // Assert here, because a panic in a run only fails the run, not the test.
        let concurrent_max = concurrent_max.load(Ordering::SeqCst);
        assert!(
            concurrent_max <= 1,
            "{concurrent_max} runs of one job at once"
        );
        watch
    }

    /// Returns the starts since the last call.
    fn starts(&self) -> Starts {
        std::mem::take(&mut self.starts.lock().unwrap())
    }

    fn starts_of(&self, processor: &str) -> Vec<u64> {
        self.starts().remove(processor).unwrap_or_default()
    }
}

/// A short, successful run.
fn succeed() -> FakeRun {
    FakeRun(Duration::from_secs(1), Some(JobResult::Ok))
}

/// Runs a test in paused time, which advances as soon as all tasks are idle.
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
        let fixture = SchedulerFixture::new().await;
        let jobs = [("usage", 10), ("verification", 15)];
        fixture.drive(&jobs, MINUTE * 40, |_| succeed()).await;
        let starts = fixture.starts();
        assert_eq!(starts["usage"], [0, 600, 1200, 1800]);
        assert_eq!(starts["verification"], [0, 900, 1800]);
    });
}

#[test]
fn no_job_starts_in_the_startup_grace_and_a_stop_ends_it_immediately() {
    paused(async {
        let mut fixture = SchedulerFixture::new().await;
        fixture.config.scheduler.startup_grace = Duration::from_secs(60);
        let watch = fixture
            .drive(&[("usage", 10)], Duration::from_secs(59), |_| succeed())
            .await;
        assert_eq!(fixture.clock.monotonic().as_secs(), 59);
        assert_eq!(watch.status().last_tick_at, None);
        assert!(fixture.starts().is_empty());
        fixture
            .drive(&[("usage", 10)], Duration::from_secs(61), |_| succeed())
            .await;
        assert_eq!(fixture.starts_of("usage"), [59 + 60]);
    });
}

#[test]
fn a_running_job_is_not_started_again_until_the_tick_after_its_end() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let slow = FakeRun(MINUTE * 25 - Duration::from_secs(5), Some(JobResult::Ok));
        fixture
            .drive(&[("usage", 10)], HOUR, move |_| slow.clone())
            .await;
        assert_eq!(fixture.starts_of("usage"), [0, 1500, 3000]);
    });
}

#[test]
fn a_slow_job_does_not_delay_other_jobs() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let jobs = [("slow", 10), ("usage", 10), ("verification", 15)];
        fixture
            .drive(&jobs, HOUR, |name| match name {
                "slow" => FakeRun(HOUR * 5, Some(JobResult::Ok)),
                _ => succeed(),
            })
            .await;
        let starts = fixture.starts();
        assert_eq!(starts["slow"], [0]);
        assert_eq!(starts["usage"], [0, 600, 1200, 1800, 2400, 3000]);
        assert_eq!(starts["verification"], [0, 900, 1800, 2700]);
    });
}

#[test]
fn a_job_that_fails_panics_or_is_rejected_still_runs_at_its_cadence() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let jobs = [("fails", 10), ("panics", 10), ("refused", 10)];
        let watch = fixture
            .drive(&jobs, MINUTE * 25, |name| {
                let end = match name {
                    "fails" => Some(JobResult::Failed("3 sessions failed".to_owned())),
                    "refused" => Some(JobResult::Rejected("already running".to_owned())),
                    _ => None,
                };
                FakeRun(Duration::ZERO, end)
            })
            .await;
        for (name, starts) in fixture.starts() {
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
        let rows: Vec<_> = fixture.store.jobs().unwrap();
        let statuses: Vec<_> = rows
            .into_iter()
            .map(|row| row.last_status.unwrap())
            .collect();
        assert_eq!(statuses, ["failed", "failed", "refused"]);
    });
}

#[test]
fn after_a_restart_jobs_continue_at_their_cadence() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let jobs = [("usage", 10), ("verification", 15)];
        fixture.drive(&jobs, MINUTE * 12, |_| succeed()).await;
        assert_eq!(fixture.starts()["usage"], [0, 600]);
        fixture.drive(&jobs, MINUTE * 12, |_| succeed()).await;
        let starts = fixture.starts();
        assert_eq!(starts["usage"], [1200]);
        assert_eq!(starts["verification"], [900]);
    });
}

#[test]
fn after_three_days_of_downtime_every_job_runs_once() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let jobs = [("usage", 10), ("verification", 15)];
        fixture.drive(&jobs, MINUTE, |_| succeed()).await;
        fixture.starts();
        tokio::time::advance(HOUR * 72).await;
        fixture.drive(&jobs, MINUTE * 9, |_| succeed()).await;
        for (name, starts) in fixture.starts() {
            assert_eq!(starts.len(), 1, "{name}");
        }
    });
}

#[test]
fn a_clock_jump_neither_causes_a_burst_of_runs_nor_stops_a_job() {
    for jump in [HOUR * 24 * 40, HOUR * 30, MINUTE * 3] {
        let jump = i64::try_from(jump.as_micros()).unwrap();
        for jump in [jump, -jump] {
            paused(async {
                let fixture = SchedulerFixture::new().await;
                let jobs = [("usage", 10)];
                let clock = Arc::clone(&fixture.clock);
                tokio::spawn(async move {
                    tokio::time::sleep(MINUTE * 15).await;
                    clock.jump_micros(jump);
                });
                fixture.drive(&jobs, HOUR, |_| succeed()).await;
                let starts = fixture.starts_of("usage");
                assert!((5..=7).contains(&starts.len()), "{jump}: {starts:?}");
                let gaps = starts.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(gaps.max() <= Some(1200), "{jump}: {starts:?}");
            });
        }
    }
}

#[test]
fn a_stop_waits_for_running_jobs_and_stores_their_results() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let slow = FakeRun(MINUTE * 5, Some(JobResult::Ok));
        fixture
            .drive(&[("usage", 1)], MINUTE, move |_| slow.clone())
            .await;
        assert_eq!(fixture.clock.monotonic(), MINUTE * 5);
        assert_eq!(fixture.starts_of("usage"), [0]);
        let expected = JobRow {
            name: "session-processor:usage".to_owned(),
            last_run_at: Some(clock::START),
            last_status: Some("ok".to_owned()),
        };
        assert_eq!(fixture.store.jobs().unwrap(), [expected]);
    });
}

#[test]
fn a_handle_reports_the_running_jobs() {
    paused(async {
        let fixture = SchedulerFixture::new().await;
        let handle: Arc<Mutex<Option<SchedulerHandle>>> = Arc::default();
        let config = fixture.config.clone();
        let clock: Arc<dyn Clock> = Arc::clone(&fixture.clock) as _;
        let processors = [("usage".to_owned(), Some(MINUTE * 10))];
        let scheduler = Scheduler::new(&config, processors, clock).unwrap();
        *handle.lock().unwrap() = Some(scheduler.watch());
        let run = move |_| {
            let status = handle.lock().unwrap().as_ref().unwrap().status();
            assert_eq!(status.last_tick_at, Some(clock::START));
            assert_eq!(status.jobs[0].running_since, Some(clock::START));
            async { JobResult::Ok }
        };
        let watch = scheduler.watch();
        scheduler
            .run(Arc::clone(&fixture.store), run, tokio::time::sleep(MINUTE))
            .await;
        let job = &watch.status().jobs[0];
        assert_eq!(
            (job.running_since, &job.last_end),
            (None, &Some(JobResult::Ok))
        );
    });
}

#[test]
fn an_already_running_processor_is_a_rejection_and_an_internal_error_a_failure() {
    let ends = [
        RunError::AlreadyRunning("usage".to_owned()),
        RunError::Internal("a panic".to_owned()),
    ]
    .map(|error| JobResult::from(&Err(error)).as_str());
    assert_eq!(ends, ["refused", "failed"]);
}

#[test]
fn scheduled_runs_are_recorded_and_audited_like_other_runs() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    let mut config = dir.config();
    config.scheduler.startup_grace = Duration::ZERO;
    let needs_model = ProcessorConfig {
        settings: [("uses-llm".to_owned(), "true".to_owned())].into(),
        ..ProcessorConfig::default()
    };
    let processors = &mut config.processors;
    processors.insert("faulty-asks-model".to_owned(), needs_model);
    let registry = Registry::new(
        [("usage", USAGE), misbehaving("asks_model")]
            .map(|(name, component)| ShippedProcessor::new(name, component)),
    );
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
    session-processor:faulty-asks-model, every 15m: Rejected("the processor `faulty-asks-model` is unavailable: with its current settings it needs a language model; no language model is configured; set ANTHROPIC_API_KEY or LLM_API_KEY in the environment, or add `[llm]` to the config file (see docs/llm.md)")
    session-processor:usage, every 10m: Ok
    "#);
    insta::assert_snapshot!(
        rows(&dir, "SELECT name, last_run_at, last_status FROM scheduler_jobs ORDER BY name").join("\n"),
        @"
    session-processor:faulty-asks-model | 2100-01-01 00:00:00 | refused
    session-processor:usage | 2100-01-01 00:00:00 | ok
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

    /// For any durations and results: no two runs of a job at once (the fixture asserts this), and
    /// the gap between two starts is at least the cadence, and at most one tick longer than the
    /// cadence or the longest run. Jobs do not delay each other.
    #[test]
    fn invariant_a_job_runs_at_its_cadence_for_any_durations_and_results(
        runs in vec((0_u64..4000, 0_u8..4), 1..5),
    ) {
        let jobs = [("a", 5), ("b", 10), ("c", 15)];
        let starts = paused(async {
            let fixture = SchedulerFixture::new().await;
            let index = Mutex::new(0);
            let runs = runs.clone();
            fixture.drive(&jobs, HOUR * 4, move |_| {
                let mut index = index.lock().unwrap();
                *index += 1;
                let (seconds, end) = runs[*index % runs.len()];
                FakeRun(Duration::from_secs(seconds), match end {
                    0 => None,
                    1 => Some(JobResult::Failed("no".to_owned())),
                    _ => Some(JobResult::Ok),
                })
            }).await;
            fixture.starts()
        });
        let longest = runs.iter().map(|(seconds, _)| *seconds).max().unwrap();
        for (name, minutes) in jobs {
            let cadence = minutes * 60;
            prop_assert_eq!(starts[name][0], 0, "{} waited for another job", name);
            for pair in starts[name].windows(2) {
                let gap = pair[1] - pair[0];
                prop_assert!(gap >= cadence, "{} started too early: {:?}", name, starts);
                prop_assert!(gap <= cadence.max(longest) + 30, "{} started too late: {:?}", name, starts);
            }
        }
    }
}

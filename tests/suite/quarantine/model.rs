//! The whole machine against a small model: a real pipeline and a real guest, and whatever happens
//! to a session between two runs.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use session_pipeline_harness::{DataDir, TestPipeline, cases, clock, counted, pipeline};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::fault::FaultKind;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::quarantine;
use session_pipeline_pipeline::run::{Progress, RunRequest};
use session_pipeline_store::retry::FAILURES_MAX;
use session_pipeline_store::{Actor, QuarantineFilter};

use crate::guests::{PANICS, POISON, panics};

const KEY: &str = "ada/one.jsonl";
const ASIDE: &str = "ada/.aside";
/// Processed at the start and never again: so that the folder is never empty.
const BYSTANDER: &str = "bob/other.jsonl";
/// Two that fail, of two sizes, and two that do not, each of the size of one that does.
const CONTENTS: [&str; 4] = [
    "misbehave\n",
    "misbehavf\n",
    "misbehave more\n",
    "behaves as well\n",
];
/// What the guest's manifest says.
const CADENCE: i64 = 600_000_000;
/// No multiple of it is the minute by which files look older than the clock: their times are
/// always to be trusted.
const CLOCK_STEP: i64 = 7 * 60_000_000;

/// What befalls whoever is tried, whatever it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// The content decides.
    Fair,
    /// The disk gives nothing: an outage.
    Unreadable,
    /// The operator's limit on sizes is too low: nobody's fault either.
    TooLarge,
    /// There is no room for a single row: a failure of its own making, whatever the content.
    NoRows,
}

#[derive(Clone, Debug)]
enum Step {
    Run { by_person: bool },
    Write(usize),
    Touch,
    Vanish,
    Return,
    Component(usize),
    Weather(Weather),
    Clock(i64),
    Release,
    Restart,
}

/// What should be known, in the simplest words there are.
#[derive(Clone, Debug)]
struct Model {
    content: usize,
    /// Another one for every change that the file system shows.
    stamp: u64,
    is_there: bool,
    component: usize,
    weather: Weather,
    now: i64,
    /// Content and stamp of the last success.
    done: Option<(usize, u64)>,
    failure: Option<Failed>,
    last: Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    fault: FaultKind,
    component: usize,
    content: Option<usize>,
    /// Stamp and size, where they are kept.
    seen: Option<(u64, usize)>,
    attempts: u32,
    own_attempts: u32,
    next_attempt_at: Option<i64>,
    is_held: bool,
    is_missing: bool,
}

/// What the last step should tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    processed: u64,
    skipped: u64,
    errors: u64,
    waiting: u64,
    quarantined: u64,
    released: u64,
}

/// What is found out before a session is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Straight,
    ForSuccess,
    ForFailure,
}

impl Model {
    fn run(&mut self, by_person: bool) {
        if !self.is_there {
            if let Some(failure) = &mut self.failure {
                failure.is_missing = true;
            }
            return;
        }
        if let Some(failure) = &mut self.failure {
            failure.is_missing = false;
        }
        self.look(by_person);
        if self.weather == Weather::Unreadable {
            // It was moved away and back.
            self.stamp += 1;
        }
    }

    fn look(&mut self, by_person: bool) {
        let size = CONTENTS[self.content].len();
        let mut look = match self.done {
            Some((_, stamp)) if stamp == self.stamp => return,
            Some((content, _)) if CONTENTS[content].len() == size => Look::ForSuccess,
            _ => Look::Straight,
        };
        let may_be_done = look == Look::ForSuccess;
        let component = self.component;
        let known = self
            .failure
            .clone()
            .filter(|failure| failure.component == component);
        let waits = known.as_ref().is_some_and(|failure| {
            !by_person && failure.next_attempt_at.is_some_and(|at| self.now < at)
        });
        if let Some(failure) = &known {
            let is_seen = failure.seen == Some((self.stamp, size));
            let is_other_size = failure.seen.is_some_and(|(_, seen)| seen != size);
            let is_unread = failure.seen.is_none()
                && matches!(failure.fault, FaultKind::Input | FaultKind::TooLarge);
            if failure.is_held && is_seen {
                self.last.quarantined = 1;
                return;
            }
            if waits && (is_seen && !failure.is_held || is_unread && failure.is_held) {
                self.last.waiting = 1;
                return;
            }
            if (failure.is_held || waits) && !is_other_size {
                look = Look::ForFailure;
            }
        }
        let is_own = match self.weather {
            Weather::Unreadable => return self.fail(FaultKind::Input, None),
            Weather::TooLarge => return self.fail(FaultKind::TooLarge, None),
            // The guest hands its rows over at the end, to which it does not come with this word.
            _ if CONTENTS[self.content].contains(POISON) => Some(FaultKind::Panic),
            Weather::NoRows => Some(FaultKind::OutputLimit),
            Weather::Fair => None,
        };
        if look == Look::ForFailure
            && let Some(failure) = self
                .failure
                .as_mut()
                .filter(|failure| failure.content == Some(self.content))
        {
            failure.seen = Some((self.stamp, size));
            match failure.is_held {
                true => self.last.quarantined = 1,
                false => self.last.waiting = 1,
            }
            return;
        }
        if may_be_done
            && self
                .done
                .is_some_and(|(content, _)| content == self.content)
        {
            self.last.skipped = 1;
            self.done = Some((self.content, self.stamp));
            self.failure = None;
            return;
        }
        match is_own {
            Some(fault) => self.fail(fault, Some(self.content)),
            None => {
                self.last.processed = 1;
                self.done = Some((self.content, self.stamp));
                self.failure = None;
            }
        }
    }

    fn fail(&mut self, fault: FaultKind, content: Option<usize>) {
        self.last.errors = 1;
        let component = self.component;
        let before = self
            .failure
            .take()
            .filter(|failure| failure.component == component)
            .filter(|failure| {
                content.is_none() || failure.content.is_none() || failure.content == content
            });
        let (known, attempts, own_attempts, was_held) =
            before.map_or((None, 0, 0, false), |failure| {
                (
                    failure.content,
                    failure.attempts,
                    failure.own_attempts,
                    failure.is_held,
                )
            });
        let attempts = attempts + 1;
        let own_attempts = own_attempts + u32::from(content.is_some());
        let wait = (CADENCE << (attempts - 1).min(20)).min(86_400_000_000);
        self.failure = Some(Failed {
            fault,
            component,
            content: content.or(known),
            seen: (!was_held).then_some((self.stamp, CONTENTS[self.content].len())),
            attempts,
            own_attempts,
            next_attempt_at: (attempts > 1).then_some(self.now + wait),
            is_held: was_held || own_attempts >= FAILURES_MAX,
            is_missing: false,
        });
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            content: 0,
            stamp: 0,
            is_there: true,
            component: 0,
            weather: Weather::Fair,
            now: clock::START.0,
            done: None,
            failure: None,
            last: Report::default(),
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let weather = prop_oneof![
            3 => Just(Weather::Fair),
            1 => Just(Weather::Unreadable),
            1 => Just(Weather::TooLarge),
            1 => Just(Weather::NoRows),
        ];
        prop_oneof![
            12 => any::<bool>().prop_map(|by_person| Step::Run { by_person }),
            // So that it is held now and then, which takes five.
            6 => Just(Step::Run { by_person: true }),
            2 => (0..CONTENTS.len()).prop_map(Step::Write),
            2 => Just(Step::Touch),
            1 => Just(Step::Vanish),
            2 => Just(Step::Return),
            1 => (0..2_usize).prop_map(Step::Component),
            2 => weather.prop_map(Step::Weather),
            3 => (-3..20_i64).prop_map(|steps| Step::Clock(steps * CLOCK_STEP)),
            1 => Just(Step::Clock(86_400_000_000 * 2)),
            1 => Just(Step::Release),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Write(_) | Step::Touch | Step::Vanish => state.is_there,
            Step::Return => !state.is_there,
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.last = Report::default();
        match step {
            Step::Run { by_person } => state.run(*by_person),
            Step::Write(content) => {
                state.content = *content;
                state.stamp += 1;
            }
            Step::Touch => state.stamp += 1,
            Step::Vanish => state.is_there = false,
            Step::Return => {
                state.is_there = true;
                state.stamp += 1;
            }
            Step::Component(component) => state.component = *component,
            Step::Weather(weather) => state.weather = *weather,
            Step::Clock(by) => state.now += by,
            Step::Release => {
                if state
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.is_held)
                {
                    state.failure = None;
                    state.last.released = 1;
                }
            }
            Step::Restart => {}
        }
        state
    }
}

/// The pipeline, opened when it is needed: configuration and components hold as long as it lives.
struct Machine {
    dir: DataDir,
    pipeline: Option<TestPipeline>,
    now: i64,
    /// Whether it was held after the step before, and on what.
    held: Option<(usize, usize)>,
}

/// The same guest with another digest: a section that says nothing stands at its end.
fn rebuilt() -> (&'static str, &'static [u8]) {
    static REBUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let (name, component) = panics();
    let bytes = REBUILT.get_or_init(|| {
        let section = b"\x00\x07\x05again!";
        [component, &section[..]].concat()
    });
    (name, bytes)
}

fn component(index: usize) -> (&'static str, &'static [u8]) {
    match index {
        0 => panics(),
        _ => rebuilt(),
    }
}

/// A data dir that knows both builds, and the bystander.
fn prepared() -> DataDir {
    thread_local! {
        static PREPARED: DataDir = {
            let dir = DataDir::new();
            for index in [1, 0] {
                let pipeline = TestPipeline::open(&dir, &[component(index)]);
                pipeline.pipeline().processor(PANICS).unwrap();
            }
            dir
        };
    }
    PREPARED.with(DataDir::with_state_of)
}

/// Takes the session away between the scan and the read, and puts a folder in its place.
struct Blocking<'a>(&'a DataDir);

impl Progress for Blocking<'_> {
    fn planned(&self, _: u64, _: u64) {
        if self.0.has_session(KEY) {
            self.0.rename(KEY, ASIDE);
            fs::create_dir(self.0.session_path(KEY)).unwrap();
        }
    }
    fn advanced(&self, _: u64) {}
}

impl Machine {
    fn pipeline(&mut self, model: &Model) -> &TestPipeline {
        let dir = &self.dir;
        self.pipeline.get_or_insert_with(|| {
            let mut config: Config = dir.config();
            match model.weather {
                Weather::TooLarge => config.limits.session_bytes_max = 3,
                Weather::NoRows => config.limits.rows_max = 0,
                Weather::Fair | Weather::Unreadable => {}
            }
            TestPipeline::open_with(dir, config, &[component(model.component)])
        })
    }

    fn run(&mut self, model: &Model, by_person: bool) -> Report {
        let request = match by_person {
            true => RunRequest::cli(),
            false => pipeline::scheduled_request(),
        };
        self.pipeline(model);
        let pipeline = self.pipeline.as_ref().unwrap().pipeline();
        let report = match model.weather {
            Weather::Unreadable => {
                let report = pipeline
                    .run(PANICS, &request, &Blocking(&self.dir))
                    .unwrap();
                if self.dir.has_session(ASIDE) && model.is_there {
                    fs::remove_dir(self.dir.session_path(KEY)).unwrap();
                    self.dir.rename(ASIDE, KEY);
                    self.dir.touch(KEY);
                }
                report
            }
            _ => pipeline.run(PANICS, &request, &()).unwrap(),
        };
        let stats = report.stats;
        Report {
            processed: stats.processed,
            skipped: stats.skipped,
            errors: stats.errors,
            waiting: stats.waiting,
            quarantined: stats.quarantined,
            released: 0,
        }
    }

    fn release(&mut self, model: &Model) -> u64 {
        let pipeline = self.pipeline(model).pipeline();
        quarantine::release(
            pipeline.config(),
            pipeline.registry(),
            Some(pipeline.store()),
            &QuarantineFilter::default(),
            Actor::cli(),
            pipeline.clock().now(),
        )
        .unwrap()
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let dir = prepared();
        dir.write(BYSTANDER, "fine\n");
        let pipeline = TestPipeline::open(&dir, &[component(0)]);
        assert_eq!(pipeline.run(PANICS).stats.processed, 1);
        dir.write(KEY, CONTENTS[model.content]);
        Self {
            dir,
            pipeline: Some(pipeline),
            now: model.now,
            held: None,
        }
    }

    fn apply(mut machine: Self, model: &Model, step: Step) -> Self {
        match step {
            Step::Run { by_person } => {
                let report = machine.run(model, by_person);
                assert_eq!(report, model.last, "{model:#?}");
                let is_tried = report.errors + report.processed > 0;
                let is_outage = matches!(model.weather, Weather::Unreadable | Weather::TooLarge);
                if machine.held == Some((model.content, model.component)) && !is_outage {
                    assert!(!is_tried, "what is in quarantine is not tried: {report:?}");
                }
                if machine.held.is_none() && is_outage {
                    let held = machine.pipeline(model).failure(PANICS, KEY);
                    let is_held = held.is_some_and(|row| row.failures.quarantined_at.is_some());
                    assert!(!is_held, "an outage quarantines nothing");
                }
            }
            Step::Release => assert_eq!(machine.release(model), model.last.released),
            Step::Write(content) => machine.dir.write(KEY, CONTENTS[content]),
            Step::Touch => machine.dir.touch(KEY),
            Step::Vanish => machine.dir.rename(KEY, ASIDE),
            Step::Return => {
                machine.dir.rename(ASIDE, KEY);
                machine.dir.touch(KEY);
            }
            Step::Component(_) | Step::Weather(_) | Step::Restart => machine.pipeline = None,
            Step::Clock(by) => {
                machine.now += by;
                machine.dir.clock().set(UtcMicros(machine.now));
            }
        }
        let failure = model.failure.as_ref().filter(|failure| failure.is_held);
        machine.held = failure.and_then(|failure| Some((failure.content?, failure.component)));
        machine
    }

    fn check_invariants(machine: &Self, model: &Model) {
        let Some(pipeline) = &machine.pipeline else {
            return;
        };
        let row = pipeline.failure(PANICS, KEY);
        let found = row.as_ref().map(|row| {
            let failures = row.failures;
            (
                row.fault.kind,
                (failures.attempts, failures.own_attempts),
                failures.next_attempt_at.map(|at| at.0),
                (failures.quarantined_at.is_some(), row.is_missing),
                (row.hash.is_some(), row.observed.map(|seen| seen.size)),
            )
        });
        let expected = model.failure.as_ref().map(|failure| {
            (
                failure.fault,
                (failure.attempts, failure.own_attempts),
                failure.next_attempt_at,
                (failure.is_held, failure.is_missing),
                (
                    failure.content.is_some(),
                    failure.seen.map(|(_, size)| size as u64),
                ),
            )
        });
        assert_eq!(found, expected, "{model:#?}");
        // Who is listed, and who is counted: those whose files are gone are nobody's trouble.
        let store = pipeline.pipeline().store();
        let held = store
            .sessions_in_quarantine(&QuarantineFilter::default())
            .unwrap();
        let failure = model.failure.as_ref().filter(|failure| failure.is_held);
        assert_eq!(held.len(), usize::from(failure.is_some()));
        let since = UtcMicros(0);
        let counted = store.failures_by_processor(since).unwrap();
        let counted: u64 = counted.iter().map(|failures| failures.quarantined).sum();
        let is_counted = failure.is_some_and(|failure| !failure.is_missing);
        assert_eq!(counted, u64::from(is_counted));
        let age = Duration::from_secs(24 * 3600);
        let longest = model
            .failure
            .as_ref()
            .and_then(|failure| failure.next_attempt_at);
        if let (Some(at), Some(row)) = (longest, &row) {
            assert!(
                at <= row.last_attempt_at.plus(age).0,
                "nobody waits longer than a day"
            );
        }
    }
}

prop_state_machine! {
    #![proptest_config(counted(cases()))]

    #[test]
    fn invariant_whatever_happens_a_session_is_tried_when_the_model_says(sequential 1..30 => Machine);
}

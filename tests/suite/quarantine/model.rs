//! Checks retries and quarantine against a small model. A real pipeline runs a real guest, and a
//! session changes in random ways between runs.

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
const HIDDEN_KEY: &str = "ada/.aside";
/// Processed once at the start, so that the sessions folder is never empty.
const BYSTANDER: &str = "bob/other.jsonl";
/// Two contents that fail, with different sizes, and two that succeed, with the same two sizes.
const CONTENTS: [&str; 4] = [
    "misbehave\n",
    "misbehavf\n",
    "misbehave more\n",
    "behaves as well\n",
];
/// The cadence in the guest's manifest, in microseconds.
const CADENCE: i64 = 600_000_000;
/// In microseconds. No multiple of it equals the minute by which files appear older than the clock,
/// so modification times can always be trusted.
const CLOCK_STEP: i64 = 7 * 60_000_000;

/// An external condition that applies to every attempt, regardless of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// The result depends on the content.
    Normal,
    /// The file cannot be read, which is an outage.
    Unreadable,
    /// The configured size limit is too low, which is an outage as well.
    TooLarge,
    /// The row limit is zero, so any content fails with a fault of its own.
    NoRows,
}

#[derive(Clone, Debug)]
enum Step {
    Run { is_manual: bool },
    Write(usize),
    Touch,
    Vanish,
    Return,
    Component(usize),
    Condition(Condition),
    Clock(i64),
    Release,
    Restart,
}

/// The expected state.
#[derive(Clone, Debug)]
struct Model {
    content: usize,
    /// Incremented for every change that is visible in the file's metadata.
    stamp: u64,
    is_present: bool,
    component: usize,
    condition: Condition,
    now: i64,
    /// The content and stamp of the last success.
    last_success: Option<(usize, u64)>,
    failure: Option<ModelFailure>,
    last: StepCounts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelFailure {
    fault: FaultKind,
    component: usize,
    content: Option<usize>,
    /// The stored stamp and size. `None`: they are not stored.
    observed: Option<(u64, usize)>,
    attempts: u32,
    own_attempts: u32,
    next_attempt_at: Option<i64>,
    is_quarantined: bool,
    is_missing: bool,
}

/// The counts that the last step should report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StepCounts {
    processed: u64,
    skipped: u64,
    errors: u64,
    waiting: u64,
    quarantined: u64,
    released: u64,
}

/// What the content is compared with before it is processed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Nothing,
    LastSuccess,
    LastFailure,
}

impl Model {
    fn run(&mut self, is_manual: bool) {
        if !self.is_present {
            if let Some(failure) = &mut self.failure {
                failure.is_missing = true;
            }
            return;
        }
        if let Some(failure) = &mut self.failure {
            failure.is_missing = false;
        }
        self.attempt(is_manual);
        if self.condition == Condition::Unreadable {
            // The test moved the file away and back.
            self.stamp += 1;
        }
    }

    fn attempt(&mut self, is_manual: bool) {
        let size = CONTENTS[self.content].len();
        let mut comparison = match self.last_success {
            Some((_, stamp)) if stamp == self.stamp => return,
            Some((content, _)) if CONTENTS[content].len() == size => Comparison::LastSuccess,
            _ => Comparison::Nothing,
        };
        let may_be_done = comparison == Comparison::LastSuccess;
        let component = self.component;
        let known = self
            .failure
            .clone()
            .filter(|failure| failure.component == component);
        let waits = known.as_ref().is_some_and(|failure| {
            !is_manual && failure.next_attempt_at.is_some_and(|at| self.now < at)
        });
        if let Some(failure) = &known {
            let is_unchanged = failure.observed == Some((self.stamp, size));
            let is_other_size = failure
                .observed
                .is_some_and(|(_, observed)| observed != size);
            let is_unread = failure.observed.is_none()
                && matches!(failure.fault, FaultKind::Input | FaultKind::TooLarge);
            if failure.is_quarantined && is_unchanged {
                self.last.quarantined = 1;
                return;
            }
            if waits
                && (is_unchanged && !failure.is_quarantined || is_unread && failure.is_quarantined)
            {
                self.last.waiting = 1;
                return;
            }
            if (failure.is_quarantined || waits) && !is_other_size {
                comparison = Comparison::LastFailure;
            }
        }
        let own_fault = match self.condition {
            Condition::Unreadable => return self.fail(FaultKind::Input, None),
            Condition::TooLarge => return self.fail(FaultKind::TooLarge, None),
            // The guest panics before it emits rows, so the row limit does not matter.
            _ if CONTENTS[self.content].contains(POISON) => Some(FaultKind::Panic),
            Condition::NoRows => Some(FaultKind::OutputLimit),
            Condition::Normal => None,
        };
        if comparison == Comparison::LastFailure
            && let Some(failure) = self
                .failure
                .as_mut()
                .filter(|failure| failure.content == Some(self.content))
        {
            failure.observed = Some((self.stamp, size));
            match failure.is_quarantined {
                true => self.last.quarantined = 1,
                false => self.last.waiting = 1,
            }
            return;
        }
        if may_be_done
            && self
                .last_success
                .is_some_and(|(content, _)| content == self.content)
        {
            self.last.skipped = 1;
            self.last_success = Some((self.content, self.stamp));
            self.failure = None;
            return;
        }
        match own_fault {
            Some(fault) => self.fail(fault, Some(self.content)),
            None => {
                self.last.processed = 1;
                self.last_success = Some((self.content, self.stamp));
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
        let (known, attempts, own_attempts, was_quarantined) =
            before.map_or((None, 0, 0, false), |failure| {
                (
                    failure.content,
                    failure.attempts,
                    failure.own_attempts,
                    failure.is_quarantined,
                )
            });
        let attempts = attempts + 1;
        let own_attempts = own_attempts + u32::from(content.is_some());
        let wait = (CADENCE << (attempts - 1).min(20)).min(86_400_000_000);
        self.failure = Some(ModelFailure {
            fault,
            component,
            content: content.or(known),
            observed: (!was_quarantined).then_some((self.stamp, CONTENTS[self.content].len())),
            attempts,
            own_attempts,
            next_attempt_at: (attempts > 1).then_some(self.now + wait),
            is_quarantined: was_quarantined || own_attempts >= FAILURES_MAX,
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
            is_present: true,
            component: 0,
            condition: Condition::Normal,
            now: clock::START.0,
            last_success: None,
            failure: None,
            last: StepCounts::default(),
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let condition = prop_oneof![
            3 => Just(Condition::Normal),
            1 => Just(Condition::Unreadable),
            1 => Just(Condition::TooLarge),
            1 => Just(Condition::NoRows),
        ];
        prop_oneof![
            12 => any::<bool>().prop_map(|is_manual| Step::Run { is_manual }),
            // Quarantine takes five failures, so make manual runs frequent.
            6 => Just(Step::Run { is_manual: true }),
            2 => (0..CONTENTS.len()).prop_map(Step::Write),
            2 => Just(Step::Touch),
            1 => Just(Step::Vanish),
            2 => Just(Step::Return),
            1 => (0..2_usize).prop_map(Step::Component),
            2 => condition.prop_map(Step::Condition),
            3 => (-3..20_i64).prop_map(|steps| Step::Clock(steps * CLOCK_STEP)),
            1 => Just(Step::Clock(86_400_000_000 * 2)),
            1 => Just(Step::Release),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Write(_) | Step::Touch | Step::Vanish => state.is_present,
            Step::Return => !state.is_present,
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.last = StepCounts::default();
        match step {
            Step::Run { is_manual } => state.run(*is_manual),
            Step::Write(content) => {
                state.content = *content;
                state.stamp += 1;
            }
            Step::Touch => state.stamp += 1,
            Step::Vanish => state.is_present = false,
            Step::Return => {
                state.is_present = true;
                state.stamp += 1;
            }
            Step::Component(component) => state.component = *component,
            Step::Condition(condition) => state.condition = *condition,
            Step::Clock(by) => state.now += by,
            Step::Release => {
                if state
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.is_quarantined)
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

/// The system under test. The pipeline is opened on demand, because its configuration and
/// components are fixed while it is open.
struct Machine {
    dir: DataDir,
    pipeline: Option<TestPipeline>,
    now: i64,
    /// The content and component that were in quarantine after the previous step.
    quarantined: Option<(usize, usize)>,
}

/// Returns the same guest with a different digest: an empty custom section is appended.
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

/// Returns a data directory in which both builds are registered.
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

/// Replaces the session with a folder between the scan and the read.
struct FolderSwap<'a>(&'a DataDir);

impl Progress for FolderSwap<'_> {
    fn planned(&self, _: u64, _: u64) {
        if self.0.has_session(KEY) {
            self.0.rename(KEY, HIDDEN_KEY);
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
            match model.condition {
                Condition::TooLarge => config.limits.session_bytes_max = 3,
                Condition::NoRows => config.limits.rows_max = 0,
                Condition::Normal | Condition::Unreadable => {}
            }
            TestPipeline::open_with(dir, config, &[component(model.component)])
        })
    }

    fn run(&mut self, model: &Model, is_manual: bool) -> StepCounts {
        let request = match is_manual {
            true => RunRequest::cli(),
            false => pipeline::scheduled_request(),
        };
        self.pipeline(model);
        let pipeline = self.pipeline.as_ref().unwrap().pipeline();
        let report = match model.condition {
            Condition::Unreadable => {
                let report = pipeline
                    .run(PANICS, &request, &FolderSwap(&self.dir))
                    .unwrap();
                if self.dir.has_session(HIDDEN_KEY) && model.is_present {
                    fs::remove_dir(self.dir.session_path(KEY)).unwrap();
                    self.dir.rename(HIDDEN_KEY, KEY);
                    self.dir.touch(KEY);
                }
                report
            }
            _ => pipeline.run(PANICS, &request, &()).unwrap(),
        };
        let stats = report.stats;
        StepCounts {
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
            quarantined: None,
        }
    }

    fn apply(mut machine: Self, model: &Model, step: Step) -> Self {
        match step {
            Step::Run { is_manual } => {
                let report = machine.run(model, is_manual);
                assert_eq!(report, model.last, "{model:#?}");
                let was_tried = report.errors + report.processed > 0;
                let is_outage =
                    matches!(model.condition, Condition::Unreadable | Condition::TooLarge);
                if machine.quarantined == Some((model.content, model.component)) && !is_outage {
                    assert!(!was_tried, "a quarantined session was tried: {report:?}");
                }
                if machine.quarantined.is_none() && is_outage {
                    let row = machine.pipeline(model).failure(PANICS, KEY);
                    let is_quarantined =
                        row.is_some_and(|row| row.failures.quarantined_at.is_some());
                    assert!(!is_quarantined, "an outage quarantined the session");
                }
            }
            Step::Release => assert_eq!(machine.release(model), model.last.released),
            Step::Write(content) => machine.dir.write(KEY, CONTENTS[content]),
            Step::Touch => machine.dir.touch(KEY),
            Step::Vanish => machine.dir.rename(KEY, HIDDEN_KEY),
            Step::Return => {
                machine.dir.rename(HIDDEN_KEY, KEY);
                machine.dir.touch(KEY);
            }
            Step::Component(_) | Step::Condition(_) | Step::Restart => machine.pipeline = None,
            Step::Clock(by) => {
                machine.now += by;
                machine.dir.clock().set(UtcMicros(machine.now));
            }
        }
        let failure = model
            .failure
            .as_ref()
            .filter(|failure| failure.is_quarantined);
        machine.quarantined =
            failure.and_then(|failure| Some((failure.content?, failure.component)));
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
                (
                    row.hash.is_some(),
                    row.observed.map(|observed| observed.size),
                ),
            )
        });
        let expected = model.failure.as_ref().map(|failure| {
            (
                failure.fault,
                (failure.attempts, failure.own_attempts),
                failure.next_attempt_at,
                (failure.is_quarantined, failure.is_missing),
                (
                    failure.content.is_some(),
                    failure.observed.map(|(_, size)| size as u64),
                ),
            )
        });
        assert_eq!(found, expected, "{model:#?}");
        // Sessions whose files are missing are listed, but not counted.
        let store = pipeline.pipeline().store();
        let listed = store
            .sessions_in_quarantine(&QuarantineFilter::default())
            .unwrap();
        let failure = model
            .failure
            .as_ref()
            .filter(|failure| failure.is_quarantined);
        assert_eq!(listed.len(), usize::from(failure.is_some()));
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
                "the backoff exceeds one day"
            );
        }
    }
}

prop_state_machine! {
    #![proptest_config(counted(cases()))]

    #[test]
    fn invariant_a_session_is_tried_exactly_when_the_model_predicts_it(sequential 1..30 => Machine);
}

//! The search for a session for which a law does not hold, and the smallest one around it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use session_pipeline_host::fault::Fault;

use super::checks::LawFailure;
use super::laws::{GivenSession, InputKind, Law, LawInput};
use super::report::{LawResult, LawViolation, Verdict};
use super::{Options, VerifyError, regressions};
use crate::subject::Subject;

/// Attempts at making a failing session simpler.
const SHRINKS_MAX: u32 = 2_000;
/// Attempts at leaving lines of it out.
const SHORTENINGS_MAX: u32 = 400;
/// Lines that are shown of a session that was given: those of the largest are left as they are.
const SHORTENED_BYTES_MAX: usize = 4 << 20;

/// A law at work on a component.
struct LawSearch<'a> {
    law: &'static Law,
    subject: &'a Subject,
    sessions: Cell<u64>,
    unanswered: Cell<u64>,
    /// What was in the way of all.
    host: RefCell<Option<Fault>>,
}

impl LawSearch<'_> {
    /// Why the law does not hold for these sessions, if it does not.
    fn broken(&self, trial: &LawInput) -> Option<String> {
        if self.host.borrow().is_some() {
            return None;
        }
        match (self.law.check)(self.subject, trial) {
            Ok(()) => None,
            Err(LawFailure::Law(why)) => Some(why),
            Err(LawFailure::Unanswered) => {
                self.unanswered.set(self.unanswered.get() + 1);
                None
            }
            Err(LawFailure::Host(fault)) => {
                self.host.replace(Some(fault));
                None
            }
        }
    }

    /// As [`LawSearch::broken`], for a session that counts as tried.
    fn tried(&self, trial: &LawInput) -> Option<String> {
        let sessions = trial.sessions.len() as u64;
        self.sessions.set(self.sessions.get() + sessions);
        self.broken(trial)
    }
}

/// Tries a law until it fails or nothing is left to be tried.
pub(super) fn search(
    law: &'static Law,
    subject: &Subject,
    options: &Options,
) -> Result<LawResult, VerifyError> {
    let trying = LawSearch {
        law,
        subject,
        sessions: Cell::new(0),
        unanswered: Cell::new(0),
        host: RefCell::new(None),
    };
    let failure = failure(&trying, options)?;
    if let Some(fault) = trying.host.take() {
        return Err(VerifyError::Host(fault));
    }
    let verdict = match failure {
        None => Verdict::Held,
        Some(mut failure) => {
            if let Some(folder) = &options.regressions {
                failure.kept = regressions::keep(folder, law, &failure.trial)?;
            }
            Verdict::Failed(failure)
        }
    };
    Ok(LawResult {
        law,
        sessions: trying.sessions.get(),
        unanswered: trying.unanswered.get(),
        verdict,
    })
}

fn failure(trying: &LawSearch<'_>, options: &Options) -> Result<Option<LawViolation>, VerifyError> {
    let by_itself = |trial: LawInput| {
        let why = trying.tried(&trial)?;
        Some(LawViolation::new(why, trial))
    };
    match &trying.law.tries {
        InputKind::Itself => Ok(by_itself(LawInput::none())),
        InputKind::Once(trial) => Ok(by_itself(trial())),
        InputKind::Many {
            made,
            given,
            seldom,
        } => {
            if let Some(folder) = &options.regressions {
                for trial in regressions::of(folder, trying.law)? {
                    if let Some(why) = trying.tried(&trial) {
                        return Ok(Some(LawViolation::new(why, trial)));
                    }
                }
            }
            if let Some(failure) = among_given(trying, options, *given)? {
                return Ok(Some(failure));
            }
            let cases = options.cases.div_ceil(*seldom);
            Ok(among_made(trying, &made(), cases, options.seed))
        }
    }
}

/// Tries the sessions that were given, and makes the first that fails shorter by lines.
fn among_given(
    trying: &LawSearch<'_>,
    options: &Options,
    trial_of: fn(&GivenSession<'_>) -> Option<LawInput>,
) -> Result<Option<LawViolation>, VerifyError> {
    let mut before: Option<Vec<u8>> = None;
    for path in &options.sessions {
        let session = fs::read(path).map_err(|error| VerifyError::io(path, error))?;
        let given = |session: &[u8]| {
            trial_of(&GivenSession {
                session,
                before: before.as_deref(),
                manifest: trying.subject.manifest(),
            })
        };
        let failed = given(&session).and_then(|trial| Some((trying.tried(&trial)?, trial)));
        if let Some((why, trial)) = failed {
            let shorter = |session: &[u8]| {
                let trial = given(session)?;
                Some((trying.broken(&trial)?, trial))
            };
            let (why, trial) = shortened(&session, shorter).unwrap_or((why, trial));
            return Ok(Some(LawViolation {
                given: Some(path.clone()),
                ..LawViolation::new(why, trial)
            }));
        }
        before = Some(session);
    }
    Ok(None)
}

/// Tries sessions that chance makes, and makes the first that fails simpler.
fn among_made(
    trying: &LawSearch<'_>,
    made: &proptest::strategy::BoxedStrategy<LawInput>,
    cases: u32,
    seed: u64,
) -> Option<LawViolation> {
    let config = Config {
        cases,
        max_shrink_iters: SHRINKS_MAX,
        // Regressions are kept as sessions, which other programs can read.
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_of(trying.law, seed));
    let tried =
        TestRunner::new_with_rng(config, rng).run(made, |trial| match trying.tried(&trial) {
            Some(why) => Err(TestCaseError::fail(why)),
            None => Ok(()),
        });
    let Err(TestError::Fail(why, trial)) = tried else {
        return None;
    };
    let (why, trial) = match trial.sessions.as_slice() {
        [session] => {
            let shorter = |session: &[u8]| {
                let trial = LawInput::of(session.to_vec());
                Some((trying.broken(&trial)?, trial))
            };
            shortened(session, shorter).unwrap_or((why.to_string(), trial))
        }
        _ => (why.to_string(), trial),
    };
    Some(LawViolation::new(why, trial))
}

/// Each law has a chance of its own, so that a new one does not change what the others find.
fn seed_of(law: &Law, seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    let name = law.name.bytes().cycle();
    for (byte, from) in bytes
        .iter_mut()
        .zip(seed.to_le_bytes().into_iter().chain(name))
    {
        *byte = from;
    }
    bytes
}

/// Leaves out as many lines as it can, by halves, then quarters and so on, as long as `failing` finds
/// what is left failing; gives what it said of the shortest. Nothing where no line can go.
fn shortened<T>(session: &[u8], failing: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    if session.len() > SHORTENED_BYTES_MAX {
        return None;
    }
    let mut lines: Vec<&[u8]> = session.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut found, mut left) = (None, SHORTENINGS_MAX);
    let mut step = lines.len().div_ceil(2);
    while step > 0 {
        let mut start = 0;
        while start < lines.len() && left > 0 {
            left -= 1;
            let is_left = |(place, _): &(usize, &&[u8])| *place < start || *place >= start + step;
            let fewer: Vec<&[u8]> = lines
                .iter()
                .enumerate()
                .filter(is_left)
                .map(|(_, line)| *line)
                .collect();
            // Without any line it would be another law that fails.
            let failed = (!fewer.is_empty()).then(|| failing(&fewer.concat()));
            match failed.flatten() {
                Some(failed) => {
                    found = Some(failed);
                    lines = fewer;
                }
                None => start += step,
            }
        }
        step = match step {
            1 => 0,
            step => step.div_ceil(2),
        };
    }
    found
}

/// What reads a folder or writes to it has the same way to say that it can't.
pub(super) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, VerifyError> {
    result.map_err(|error| VerifyError::io(path, error))
}

//! Searches for an input that violates a law, and minimizes it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use session_pipeline_host::fault::Fault;

use super::checks::LawFailure;
use super::laws::{InputKind, Law, LawInput, SessionFile};
use super::report::{LawResult, LawViolation, Verdict};
use super::{Options, VerifyError, regressions};
use crate::subject::Subject;

/// The maximum number of shrink steps for a generated input.
const SHRINKS_MAX: u32 = 2_000;
/// The maximum number of attempts to remove lines from a session.
const LINE_REMOVALS_MAX: u32 = 400;
/// The maximum size of a session from which lines are removed, in bytes. Larger sessions are
/// reported as they are.
const MINIMIZED_BYTES_MAX: usize = 4 << 20;

/// The state of the search for a violation of one law.
struct LawSearch<'a> {
    law: &'static Law,
    subject: &'a Subject,
    sessions: Cell<u64>,
    unanswered: Cell<u64>,
    /// The first failure of the machine. It ends the search.
    host: RefCell<Option<Fault>>,
}

impl LawSearch<'_> {
    /// Checks the law. Returns an explanation if the input violates it.
    fn violation(&self, input: &LawInput) -> Option<String> {
        if self.host.borrow().is_some() {
            return None;
        }
        match (self.law.check)(self.subject, input) {
            Ok(()) => None,
            Err(LawFailure::Law(reason)) => Some(reason),
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

    /// Like [`LawSearch::violation`], and counts the sessions of the input.
    fn counted_violation(&self, input: &LawInput) -> Option<String> {
        let sessions = input.sessions.len() as u64;
        self.sessions.set(self.sessions.get() + sessions);
        self.violation(input)
    }
}

/// Checks a law with all inputs, up to the first violation.
pub(super) fn search(
    law: &'static Law,
    subject: &Subject,
    options: &Options,
) -> Result<LawResult, VerifyError> {
    let search = LawSearch {
        law,
        subject,
        sessions: Cell::new(0),
        unanswered: Cell::new(0),
        host: RefCell::new(None),
    };
    let violation = find_violation(&search, options)?;
    if let Some(fault) = search.host.take() {
        return Err(VerifyError::Host(fault));
    }
    let verdict = match violation {
        None => Verdict::Held,
        Some(mut violation) => {
            if let Some(folder) = &options.regressions {
                violation.saved = regressions::save(folder, law, &violation.input)?;
            }
            Verdict::Failed(violation)
        }
    };
    Ok(LawResult {
        law,
        sessions: search.sessions.get(),
        unanswered: search.unanswered.get(),
        verdict,
    })
}

fn find_violation(
    search: &LawSearch<'_>,
    options: &Options,
) -> Result<Option<LawViolation>, VerifyError> {
    let check_one = |input: LawInput| {
        let reason = search.counted_violation(&input)?;
        Some(LawViolation::new(reason, input))
    };
    match &search.law.input {
        InputKind::Component => Ok(check_one(LawInput::empty())),
        InputKind::Fixed(input) => Ok(check_one(input())),
        InputKind::Sessions {
            generated,
            from_file,
            cases_divisor,
        } => {
            if let Some(folder) = &options.regressions {
                for input in regressions::load(folder, search.law)? {
                    if let Some(reason) = search.counted_violation(&input) {
                        return Ok(Some(LawViolation::new(reason, input)));
                    }
                }
            }
            if let Some(violation) = check_files(search, options, *from_file)? {
                return Ok(Some(violation));
            }
            let cases = options.cases.div_ceil(*cases_divisor);
            Ok(check_generated(search, &generated(), cases, options.seed))
        }
    }
}

/// Checks the session files. Removes lines from the first file that violates the law.
fn check_files(
    search: &LawSearch<'_>,
    options: &Options,
    from_file: fn(&SessionFile<'_>) -> Option<LawInput>,
) -> Result<Option<LawViolation>, VerifyError> {
    let mut before: Option<Vec<u8>> = None;
    for path in &options.sessions {
        let session = fs::read(path).map_err(|error| VerifyError::io(path, error))?;
        let input_of = |session: &[u8]| {
            from_file(&SessionFile {
                session,
                before: before.as_deref(),
                manifest: search.subject.manifest(),
            })
        };
        let violation =
            input_of(&session).and_then(|input| Some((search.counted_violation(&input)?, input)));
        if let Some((reason, input)) = violation {
            let shorter = |session: &[u8]| {
                let input = input_of(session)?;
                Some((search.violation(&input)?, input))
            };
            let (reason, input) = minimize_lines(&session, shorter).unwrap_or((reason, input));
            return Ok(Some(LawViolation {
                source: Some(path.clone()),
                ..LawViolation::new(reason, input)
            }));
        }
        before = Some(session);
    }
    Ok(None)
}

/// Checks generated inputs. Shrinks the first input that violates the law.
fn check_generated(
    search: &LawSearch<'_>,
    generated: &proptest::strategy::BoxedStrategy<LawInput>,
    cases: u32,
    seed: u64,
) -> Option<LawViolation> {
    let config = Config {
        cases,
        max_shrink_iters: SHRINKS_MAX,
        // Regressions are saved as sessions instead, so that other programs can read them.
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_of(search.law, seed));
    let result = TestRunner::new_with_rng(config, rng).run(generated, |input| {
        match search.counted_violation(&input) {
            Some(reason) => Err(TestCaseError::fail(reason)),
            None => Ok(()),
        }
    });
    let Err(TestError::Fail(reason, input)) = result else {
        return None;
    };
    let (reason, input) = match input.sessions.as_slice() {
        [session] => {
            let shorter = |session: &[u8]| {
                let input = LawInput::single(session.to_vec());
                Some((search.violation(&input)?, input))
            };
            minimize_lines(session, shorter).unwrap_or((reason.to_string(), input))
        }
        _ => (reason.to_string(), input),
    };
    Some(LawViolation::new(reason, input))
}

/// Each law has its own seed, so a new law does not change the inputs of the others.
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

/// Removes as many lines as possible while `failing` still returns a value: first halves, then
/// quarters, and so on. Returns the value for the shortest session, or `None` if no line can be
/// removed.
fn minimize_lines<T>(session: &[u8], failing: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    if session.len() > MINIMIZED_BYTES_MAX {
        return None;
    }
    let mut lines: Vec<&[u8]> = session.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut shortest, mut attempts_left) = (None, LINE_REMOVALS_MAX);
    let mut step = lines.len().div_ceil(2);
    while step > 0 {
        let mut start = 0;
        while start < lines.len() && attempts_left > 0 {
            attempts_left -= 1;
            let remains = |(index, _): &(usize, &&[u8])| *index < start || *index >= start + step;
            let fewer: Vec<&[u8]> = lines
                .iter()
                .enumerate()
                .filter(remains)
                .map(|(_, line)| *line)
                .collect();
            // Another law covers the empty session.
            let failed = (!fewer.is_empty()).then(|| failing(&fewer.concat()));
            match failed.flatten() {
                Some(failed) => {
                    shortest = Some(failed);
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
    shortest
}

/// Adds the path to an I/O error.
pub(super) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, VerifyError> {
    result.map_err(|error| VerifyError::io(path, error))
}

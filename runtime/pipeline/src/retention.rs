//! Retention: what is removed after how long. A pure function of time.
//!
//! It covers runs and the costs of their sessions, requests to language models and their answers,
//! failures of sessions whose files are gone, and sign-ins. The audit log and rows of processors are never
//! removed. [`Pipeline::delete_expired`](crate::run::Pipeline::sweep) executes the plan.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::RetentionLimits;

use crate::token::SIGN_IN_IDLE_MAX;

/// Runs and costs: a quarter shows the trend of a processor.
const RUNS_DAYS: u64 = 90;
/// Answers of language models: long enough that reprocessing soon does not repeat requests.
const RESPONSES_DAYS: u64 = 30;
/// Failures of sessions whose files are gone. A file that returns later is tried again.
const MISSING_FAILURES_DAYS: u64 = 90;
/// Interval between two sweeps.
const SWEPT_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The retention limits at `now`. Failures are removed no later than the rows of the same missing
/// session.
pub fn plan(now: UtcMicros, keep_missing_days: Option<u32>) -> RetentionLimits {
    let days_ago = |days: u64| now.minus(Duration::from_secs(days * 24 * 3600));
    let missing_days = keep_missing_days.map_or(MISSING_FAILURES_DAYS, |days| {
        u64::from(days).min(MISSING_FAILURES_DAYS)
    });
    RetentionLimits {
        runs_since: days_ago(RUNS_DAYS),
        calls_since: days_ago(RUNS_DAYS),
        responses_since: days_ago(RESPONSES_DAYS),
        missing_failures_since: days_ago(missing_days),
        sign_ins_since: now.minus(SIGN_IN_IDLE_MAX),
    }
}

/// Whether a sweep is due. Also true if the clock was set back.
pub fn is_due(last: Option<UtcMicros>, now: UtcMicros) -> bool {
    last.is_none_or(|last| now < last || now >= last.plus(SWEPT_EVERY))
}

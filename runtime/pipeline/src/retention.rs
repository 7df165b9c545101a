//! What is removed after a time (ARCHITECTURE.md §6): a plan by the clock, and nothing else.
//!
//! Runs and what their sessions cost, what language models were asked and answered, and failures of
//! sessions whose files are gone. Never the audit log, and never what a processor wrote.
//! [`Pipeline::sweep`](crate::run::Pipeline::sweep) carries it out.

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::Retention;

/// Runs and costs: a quarter tells how a processor develops.
const RUNS_DAYS: u64 = 90;
/// Answers of language models: long enough that processing everything again soon asks nothing twice.
const RESPONSES_DAYS: u64 = 30;
/// Failures of sessions whose file is gone: a file that comes back later is tried anew.
const MISSING_FAILURES_DAYS: u64 = 90;
/// How often somebody looks.
const SWEPT_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What is kept at `now`. Where sessions are forgotten whose files are gone, their failures go no
/// later.
pub fn plan(now: UtcMicros, keep_missing_days: Option<u32>) -> Retention {
    let days_ago = |days: u64| now.minus(Duration::from_secs(days * 24 * 3600));
    let missing_days = keep_missing_days.map_or(MISSING_FAILURES_DAYS, |days| {
        u64::from(days).min(MISSING_FAILURES_DAYS)
    });
    Retention {
        runs_since: days_ago(RUNS_DAYS),
        calls_since: days_ago(RUNS_DAYS),
        responses_since: days_ago(RESPONSES_DAYS),
        missing_failures_since: days_ago(missing_days),
    }
}

/// Whether it is time to look again. A clock that was set back is no reason to wait for it.
pub fn is_due(last: Option<UtcMicros>, now: UtcMicros) -> bool {
    last.is_none_or(|last| now < last || now >= last.plus(SWEPT_EVERY))
}

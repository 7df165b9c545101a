//! What this process committed since it started: runs, sessions, requests to language models, and
//! how long the writer took. Monitoring reads it without a query.
//!
//! Everything is counted after its commit, so the counts agree with the database. They start at
//! zero in each process, like all counters that a scraper reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_pipeline_host::processor::Cost;

use crate::money::Usd;

/// Upper bounds of the buckets of [`Durations`], in seconds.
pub const DURATION_BOUNDS: [f64; 10] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The activity of a process. All methods can be called from any thread, and none waits for the
/// database.
#[derive(Debug, Default)]
pub struct Activity {
    writer_queue: AtomicU64,
    writer_waits: DurationHistogram,
    commits: DurationHistogram,
    work: Mutex<WorkCounts>,
}

/// Counts by labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkCounts {
    /// Finished runs, by processor and result.
    pub runs: BTreeMap<(String, String), u64>,
    /// Committed sessions, by processor, outcome and fault. Only failed sessions have a fault.
    pub sessions: BTreeMap<(String, SessionResult, Option<&'static str>), u64>,
    /// Resources of committed sessions, by processor.
    pub processors: BTreeMap<String, ProcessorWork>,
    /// Requests to language models, by processor, model and outcome.
    pub model_calls: BTreeMap<(String, String, &'static str), ModelWork>,
}

/// What became of a session in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionResult {
    /// Its rows were committed.
    Processed,
    /// Its content was unchanged.
    Skipped,
    /// Its attempt failed.
    Failed,
}

impl SessionResult {
    /// The name in the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// The resources that a processor used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorWork {
    /// Fuel.
    pub fuel: u64,
    /// CPU time of the guest, in microseconds.
    pub guest_micros: u64,
    /// Bytes of the sessions.
    pub bytes: u64,
}

/// Requests to a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelWork {
    /// Requests.
    pub calls: u64,
    /// Tokens in the requests, as the budgets count them.
    pub input_tokens: u64,
    /// Tokens in the responses, as the budgets count them.
    pub output_tokens: u64,
    /// Cost of the requests to models with a price.
    pub cost: Usd,
}

/// The state of the writer.
#[derive(Clone, Debug, PartialEq)]
pub struct WriterActivity {
    /// Jobs that wait for the writer.
    pub queue: u64,
    /// How long jobs waited for the writer.
    pub waits: Durations,
    /// How long committed transactions took, from their first statement until they were on disk.
    pub commits: Durations,
}

/// Durations in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// The sum, in seconds.
    pub sum_seconds: f64,
    /// The number of durations.
    pub count: u64,
    /// The number in each bucket of [`DURATION_BOUNDS`], without those of lower buckets. Longer
    /// durations are only in `count`.
    pub buckets: [u64; DURATION_BOUNDS.len()],
}

impl Activity {
    /// The counts by labels.
    pub fn work(&self) -> WorkCounts {
        self.counts().clone()
    }

    /// The state of the writer.
    pub fn writer(&self) -> WriterActivity {
        WriterActivity {
            queue: self.writer_queue.load(Ordering::Relaxed),
            waits: self.writer_waits.read(),
            commits: self.commits.read(),
        }
    }

    /// Counts a job that waits for the writer, until the guard is dropped.
    pub(crate) fn wait_for_writer(&self) -> WriterWait<'_> {
        self.writer_queue.fetch_add(1, Ordering::Relaxed);
        WriterWait {
            activity: self,
            began: std::time::Instant::now(),
        }
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.add(took);
    }

    pub(crate) fn run_ended(&self, processor: String, result: String) {
        *self.counts().runs.entry((processor, result)).or_default() += 1;
    }

    /// Counts the sessions of a commit: what became of each, its fault, and its cost.
    pub(crate) fn sessions_committed(
        &self,
        processor: &str,
        sessions: impl Iterator<Item = (SessionResult, Option<&'static str>, Cost)>,
    ) {
        let mut counts = self.counts();
        for (result, fault, cost) in sessions {
            let key = (processor.to_owned(), result, fault);
            *counts.sessions.entry(key).or_default() += 1;
            let work = counts.processors.entry(processor.to_owned()).or_default();
            work.fuel = work.fuel.saturating_add(cost.fuel);
            work.guest_micros = work.guest_micros.saturating_add(cost.guest_micros);
            work.bytes = work.bytes.saturating_add(cost.bytes);
        }
    }

    pub(crate) fn model_called(
        &self,
        processor: String,
        model: String,
        outcome: &'static str,
        call: ModelWork,
    ) {
        let mut counts = self.counts();
        let key = (processor, model, outcome);
        let total = counts.model_calls.entry(key).or_default();
        total.calls += call.calls;
        total.input_tokens = total.input_tokens.saturating_add(call.input_tokens);
        total.output_tokens = total.output_tokens.saturating_add(call.output_tokens);
        let cost = total.cost.pico_dollars;
        total.cost.pico_dollars = cost.saturating_add(call.cost.pico_dollars);
    }

    fn counts(&self) -> MutexGuard<'_, WorkCounts> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that waits for the writer.
pub(crate) struct WriterWait<'a> {
    activity: &'a Activity,
    began: std::time::Instant,
}

impl Drop for WriterWait<'_> {
    fn drop(&mut self) {
        self.activity.writer_queue.fetch_sub(1, Ordering::Relaxed);
        self.activity.writer_waits.add(self.began.elapsed());
    }
}

/// Counts durations in buckets.
#[derive(Debug, Default)]
struct DurationHistogram {
    sum_micros: AtomicU64,
    count: AtomicU64,
    buckets: [AtomicU64; DURATION_BOUNDS.len()],
}

impl DurationHistogram {
    fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bounds = DURATION_BOUNDS.iter().zip(&self.buckets);
        if let Some((_, bucket)) = bounds.into_iter().find(|(bound, _)| seconds <= **bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Durations {
        let buckets = self.buckets.each_ref();
        let buckets = buckets.map(|bucket| bucket.load(Ordering::Relaxed));
        // A duration that is added at the same time must not make the buckets exceed the count.
        let in_buckets = buckets.iter().sum();
        Durations {
            sum_seconds: self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6,
            count: self.count.load(Ordering::Relaxed).max(in_buckets),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_large_enough() {
        let histogram = DurationHistogram::default();
        for millis in [1, 2, 25, 26, 60_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let read = histogram.read();
        assert_eq!(read.buckets, [1, 1, 0, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(read.count, 5);
        assert!((read.sum_seconds - 60.054).abs() < 1e-9, "{read:?}");
    }

    #[test]
    fn a_job_is_in_the_queue_until_it_no_longer_waits() {
        let activity = Activity::default();
        let (one, two) = (activity.wait_for_writer(), activity.wait_for_writer());
        assert_eq!(
            (activity.writer().queue, activity.writer().waits.count),
            (2, 0)
        );
        drop((one, two));
        assert_eq!(
            (activity.writer().queue, activity.writer().waits.count),
            (0, 2)
        );
    }
}

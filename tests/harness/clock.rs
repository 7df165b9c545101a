//! Clocks that only a test advances.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use session_pipeline_host::clock::{Clock, UtcMicros};

/// The start time of test clocks: 2100-01-01T00:00:00Z.
///
/// The ctime of a file is the real time of the machine and cannot be set. The start time is far in
/// the future, so every real ctime is in the past.
pub const START: UtcMicros = UtcMicros(4_102_444_800_000_000);

/// A clock that is stopped until a test advances it.
///
/// ```
/// use std::time::Duration;
/// use session_pipeline_harness::TestClock;
/// use session_pipeline_host::clock::Clock;
///
/// let clock = TestClock::default();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2100-01-01T00:01:00Z");
/// assert_eq!(clock.monotonic(), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct TestClock {
    now_micros: AtomicI64,
    monotonic_nanos: AtomicU64,
    nanos_per_read: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl TestClock {
    /// Creates a clock that shows `now`.
    pub fn at(now: UtcMicros) -> Self {
        Self {
            now_micros: AtomicI64::new(now.0),
            monotonic_nanos: AtomicU64::new(0),
            nanos_per_read: AtomicU64::new(0),
        }
    }

    /// Advances the wall clock and the monotonic clock.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
        self.monotonic_nanos
            .fetch_add(nanos(duration), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator would. The monotonic clock does not change.
    pub fn set(&self, now: UtcMicros) {
        self.now_micros.store(now.0, Ordering::SeqCst);
    }

    /// Makes every read of the monotonic clock advance it by `duration`. A test can exhaust a time
    /// budget this way without waiting. The first read returns the time before the advance.
    pub fn advance_on_each_read(&self, duration: Duration) {
        self.nanos_per_read.store(nanos(duration), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UtcMicros {
        UtcMicros(self.now_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        let step = self.nanos_per_read.load(Ordering::SeqCst);
        Duration::from_nanos(self.monotonic_nanos.fetch_add(step, Ordering::SeqCst))
    }
}

/// A clock that follows tokio's time. If a test pauses tokio's time, hours pass instantly.
#[derive(Debug)]
pub struct PausedClock {
    started: tokio::time::Instant,
    offset_micros: AtomicI64,
}

impl PausedClock {
    /// Creates a clock that shows [`START`] now.
    ///
    /// # Panics
    /// The time of the tokio runtime is not paused. The test would wait in real time.
    pub async fn start() -> Self {
        let started = tokio::time::Instant::now();
        tokio::time::advance(Duration::ZERO).await;
        Self {
            started,
            offset_micros: AtomicI64::new(0),
        }
    }

    /// Moves the wall clock forward or back, as an administrator would. The monotonic clock does
    /// not change.
    pub fn jump_micros(&self, by: i64) {
        self.offset_micros.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for PausedClock {
    fn now(&self) -> UtcMicros {
        let now = START.plus(self.started.elapsed());
        UtcMicros(now.0 + self.offset_micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("the duration is less than 500 years")
}

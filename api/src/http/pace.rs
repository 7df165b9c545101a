//! Deadlines and minimum rates for request bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The time limit of a body, and optionally a minimum rate.
#[derive(Debug)]
pub(super) struct BodyDeadline {
    ends_at: Instant,
    rate: Option<MinimumRate>,
}

/// A minimum rate, as a time budget. Waiting uses up the budget, and received bytes refill it.
#[derive(Debug)]
struct MinimumRate {
    bytes_per_second: u64,
    left: Duration,
    max: Duration,
}

impl BodyDeadline {
    /// A body must be complete after this time.
    pub(super) fn new(time_max: Duration) -> Self {
        Self {
            ends_at: Instant::now() + time_max,
            rate: None,
        }
    }

    /// Also aborts a body that is slower than this rate for longer than this time.
    pub(super) fn with_minimum_rate(self, bytes_per_second: u64, time_max: Duration) -> Self {
        Self {
            rate: Some(MinimumRate {
                bytes_per_second: bytes_per_second.max(1),
                left: time_max,
                max: time_max,
            }),
            ..self
        }
    }

    fn next_deadline(&self) -> Instant {
        let rate = self.rate.as_ref();
        rate.map_or(self.ends_at, |rate| {
            self.ends_at.min(Instant::now() + rate.left)
        })
    }

    /// Updates the time budget after a wait that returned this many bytes.
    fn record(&mut self, waited: Duration, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            let refill = Duration::from_secs_f64(bytes as f64 / rate.bytes_per_second as f64);
            rate.left = rate.left.saturating_sub(waited).saturating_add(refill);
            rate.left = rate.left.min(rate.max);
        }
    }
}

/// Streams the chunks of a body. If the client is too slow, the stream ends with an error, and
/// `is_late` is set.
pub(super) fn with_deadline(
    chunks: Arc<Mutex<BodyDataStream>>,
    is_late: Arc<AtomicBool>,
    deadline: BodyDeadline,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    futures_util::stream::unfold(
        (chunks, is_late, deadline),
        |(chunks, is_late, mut deadline)| async move {
            let started = Instant::now();
            let next = async { chunks.lock().await.next().await };
            let item = match tokio::time::timeout_at(deadline.next_deadline(), next).await {
                Ok(None) => return None,
                Ok(Some(chunk)) => {
                    let bytes = chunk.as_ref().map_or(0, Bytes::len);
                    deadline.record(started.elapsed(), bytes);
                    chunk
                }
                Err(_) => {
                    is_late.store(true, Ordering::SeqCst);
                    Err(axum::Error::new("the request body arrived too slowly"))
                }
            };
            Some((item, (chunks, is_late, deadline)))
        },
    )
}

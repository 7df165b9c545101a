//! How fast the body of a request has to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a body may take.
#[derive(Debug)]
pub(super) struct BodyDeadline {
    until: Instant,
    rate: Option<MinimumRate>,
}

/// A rate below which a client runs out of time: waiting uses up time, bytes earn it.
#[derive(Debug)]
struct MinimumRate {
    bytes_per_second: u64,
    left: Duration,
    max: Duration,
}

impl BodyDeadline {
    /// A body that has to be there after this time.
    pub(super) fn new(time_max: Duration) -> Self {
        Self {
            until: Instant::now() + time_max,
            rate: None,
        }
    }

    /// Also ends a body that comes more slowly than this rate for longer than this time.
    pub(super) fn at_least(self, bytes_per_second: u64, time_max: Duration) -> Self {
        Self {
            rate: Some(MinimumRate {
                bytes_per_second: bytes_per_second.max(1),
                left: time_max,
                max: time_max,
            }),
            ..self
        }
    }

    fn deadline(&self) -> Instant {
        let rate = self.rate.as_ref();
        rate.map_or(self.until, |rate| {
            self.until.min(Instant::now() + rate.left)
        })
    }

    fn took(&mut self, waited: Duration, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            let earned = Duration::from_secs_f64(bytes as f64 / rate.bytes_per_second as f64);
            rate.left = rate.left.saturating_sub(waited).saturating_add(earned);
            rate.left = rate.left.min(rate.max);
        }
    }
}

/// The chunks of a body; the last one is an error where the client was too slow, and then `is_late`
/// is set.
pub(super) fn paced(
    chunks: Arc<Mutex<BodyDataStream>>,
    is_late: Arc<AtomicBool>,
    pace: BodyDeadline,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    futures_util::stream::unfold(
        (chunks, is_late, pace),
        |(chunks, is_late, mut pace)| async move {
            let asked = Instant::now();
            let next = async { chunks.lock().await.next().await };
            let item = match tokio::time::timeout_at(pace.deadline(), next).await {
                Ok(None) => return None,
                Ok(Some(chunk)) => {
                    let bytes = chunk.as_ref().map_or(0, Bytes::len);
                    pace.took(asked.elapsed(), bytes);
                    chunk
                }
                Err(_) => {
                    is_late.store(true, Ordering::SeqCst);
                    Err(axum::Error::new("the body did not come in time"))
                }
            };
            Some((item, (chunks, is_late, pace)))
        },
    )
}

//! Parses the `Retry-After` header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_pipeline_host::clock::UtcMicros;

/// Upper bound for a wait, so that a wrong value does not stop all work.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// Parses seconds or a date (RFC 9110, section 10.2.3). Invalid text returns `None`. A time in the
/// past returns zero, and longer waits are capped at [`WAIT_MAX`].
pub(super) fn read(text: &str, now: UtcMicros) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return None;
        }
        let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(WAIT_MAX);
        return Some(wait.min(WAIT_MAX));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from(now.0).ok()?))?;
    let wait = |now: SystemTime| until.duration_since(now).unwrap_or_default();
    Some(wait(now).min(WAIT_MAX))
}

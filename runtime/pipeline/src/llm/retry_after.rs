//! What a provider says of when to come again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_pipeline_host::clock::UtcMicros;

/// The longest that anybody is believed: a mistake there must not end all work here.
pub(super) const BELIEVED_MAX: Duration = Duration::from_secs(15 * 60);

/// Reads a `Retry-After`: seconds or a date (RFC 9110, 10.2.3). What is neither says nothing, what
/// is past says "now", and what is absurd says [`BELIEVED_MAX`].
pub(super) fn read(text: &str, now: UtcMicros) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return None;
        }
        let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(BELIEVED_MAX);
        return Some(wait.min(BELIEVED_MAX));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from(now.0).ok()?))?;
    let wait = |now: SystemTime| until.duration_since(now).unwrap_or_default();
    Some(wait(now).min(BELIEVED_MAX))
}

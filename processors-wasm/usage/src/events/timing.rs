//! The durations of calls.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::Timestamp;
use session_pipeline_processor::json::Json;

/// The longest duration that a transcript can report: a year, in milliseconds.
const DURATION_MAX: f64 = 366.0 * 86_400_000.0;

/// The run of a sub-agent, as reported by the result of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AgentRun {
    /// It took this many milliseconds.
    Finished(i64),
    /// It goes on in the background. The result only confirms the start.
    Background,
}

impl AgentRun {
    /// Reads `toolUseResult`. `None` if it has no readable time.
    pub(super) fn of(tool_use_result: Json<'_>) -> Option<Self> {
        if let Some(milliseconds) = tool_use_result.field("totalDurationMs") {
            // Agents write some durations with fractions.
            let milliseconds = milliseconds.f64()?.round();
            let is_possible = (0.0..=DURATION_MAX).contains(&milliseconds);
            return is_possible.then_some(Self::Finished(milliseconds as i64));
        }
        let status = tool_use_result.field("status")?.text()?;
        (status == "async_launched").then_some(Self::Background)
    }
}

/// The duration of a call in milliseconds: the duration that a sub-agent reports, else the time
/// between the lines of the call and of its result. That time includes the time in which the agent
/// waited for the user's permission. `None` if a line has no time or if time went back.
pub(super) fn duration(
    called_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    run: Option<AgentRun>,
) -> Option<i64> {
    match run {
        Some(AgentRun::Finished(milliseconds)) => return Some(milliseconds),
        Some(AgentRun::Background) => return None,
        None => {}
    }
    let micros = finished_at?.micros().checked_sub(called_at?.micros())?;
    (micros >= 0).then_some(micros / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_is_the_time_between_a_call_and_its_result() {
        let at = |micros| Timestamp::from_micros(micros);
        assert_eq!(duration(at(1_000_000), at(3_500_999), None), Some(2_500));
        assert_eq!(duration(at(1_000_000), at(1_000_000), None), Some(0));
        assert_eq!(duration(at(1_000_001), at(1_000_000), None), None);
        assert_eq!(duration(None, at(1_000_000), None), None);
        assert_eq!(duration(at(1_000_000), None, None), None);
        let run = Some(AgentRun::Finished(7));
        assert_eq!(duration(at(1_000_000), at(2_000_000), run), Some(7));
        assert_eq!(duration(None, None, run), Some(7));
        let run = Some(AgentRun::Background);
        assert_eq!(duration(at(1_000_000), at(2_000_000), run), None);
    }

    #[test]
    fn an_impossible_duration_of_a_run_is_absent() {
        for (result, expected) in [
            (
                r#"{"status":"completed","totalDurationMs":41830}"#,
                Some(AgentRun::Finished(41_830)),
            ),
            (
                r#"{"totalDurationMs":512.0}"#,
                Some(AgentRun::Finished(512)),
            ),
            (r#"{"totalDurationMs":41.6}"#, Some(AgentRun::Finished(42))),
            (r#"{"totalDurationMs":-1}"#, None),
            (r#"{"totalDurationMs":1e15}"#, None),
            (r#"{"totalDurationMs":"9"}"#, None),
            (
                r#"{"isAsync":true,"status":"async_launched"}"#,
                Some(AgentRun::Background),
            ),
            (r#"{"status":"completed"}"#, None),
            (r#""async_launched""#, None),
        ] {
            assert_eq!(AgentRun::of(Json::parse(result).unwrap()), expected);
        }
    }
}

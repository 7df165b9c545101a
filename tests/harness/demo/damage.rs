//! Transcripts with damage, and lines of a type that is not known yet.

use serde_json::json;

use super::plan::Setting;
use super::recorder::Recorder;

/// Adds lines of types that newer versions of the agent write.
pub(super) fn unknown_types(main: &mut Recorder, setting: &Setting) {
    if !setting.has_unknown_types {
        return;
    }
    let count = main.random.between(1, 5);
    for turn in 1..=count {
        main.add(|transcript| {
            let at = transcript.now().to_string();
            transcript.line(&json!({
                "type": "context-pressure", "sessionId": setting.id, "timestamp": at,
                "level": turn, "free": 200_000 - 20_000 * turn,
            }))
        });
    }
    if main.random.percent(30) {
        main.add(|transcript| {
            transcript.line(&json!({
                "type": "turn-ledger", "sessionId": setting.id, "turns": count,
            }))
        });
    }
}

/// Damages some transcripts: a line that two processes wrote at once, a line without its end.
pub(super) fn tear(main: &mut Recorder, setting: &Setting) {
    match setting.number % 60 {
        13 => main.add(|transcript| {
            transcript.raw_line("{\"type\":\"user\",\"message\":{\"role\":\"us{\"type\":\"system\",\"subtype\":\"turn_duration\"}")
        }),
        // The machine was turned off while the agent was writing.
        33 => main.add(|transcript| {
            transcript.partial_line("{\"type\":\"assistant\",\"message\":{\"id\":\"msg_01")
        }),
        _ => {}
    }
}

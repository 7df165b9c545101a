//! Runs the processor over labeled prompts.

use std::collections::BTreeMap;

use session_pipeline_processor::llm::{ErrorClass, LlmError, Response};
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::OwnedValue;
use session_pipeline_processor::{SessionInfo, Settings};
use session_pipeline_verification::Verifications;
use session_pipeline_verification::llm::encode;
use session_pipeline_verification::verification::Detector;

use crate::arguments::Arguments;
use crate::labels::LabeledPrompt;
use crate::recorded;

/// What the detector found in a prompt.
#[derive(Clone, Default)]
pub struct Found {
    /// The highest score of its items, in percent. `None` if it found nothing.
    pub score: Option<i64>,
    /// The quotes.
    pub items: Vec<String>,
}

/// Detects knowledge in each prompt.
///
/// # Errors
/// A response is missing, or the processor fails.
pub fn detect(prompts: &[LabeledPrompt], arguments: &Arguments) -> Result<Vec<Found>, String> {
    let mut sessions: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (place, prompt) in prompts.iter().enumerate() {
        let name = prompt.session.as_deref().unwrap_or_default();
        let number = if name.is_empty() { place + 1 } else { 0 };
        sessions.entry((number, name)).or_default().push(place);
    }
    let mut found = vec![Found::default(); prompts.len()];
    let mut missing = Vec::new();
    for (number, places) in sessions.values().enumerate() {
        let mut lines = Vec::new();
        let mut place_of_line = BTreeMap::new();
        for place in places {
            let prompt = &prompts[*place];
            if let Some(assistant) = &prompt.assistant {
                lines.push(line_of("assistant", assistant));
            }
            lines.push(line_of("user", &prompt.text));
            place_of_line.insert(lines.len() as i64, *place);
        }
        let info = SessionInfo {
            settings: Settings {
                pairs: vec![("detector".to_owned(), arguments.detector.name().to_owned())],
            },
            ..SessionInfo::new(&format!("user/{number}.jsonl"))
        };
        match run(lines.join("\n"), &info, arguments) {
            Ok(rows) => rows.into_iter().for_each(|(line, score, quote)| {
                if let Some(place) = place_of_line.get(&line) {
                    let found = &mut found[*place];
                    found.score = Some(found.score.map_or(score, |best| best.max(score)));
                    found.items.push(quote);
                }
            }),
            Err(error) => missing.push(error),
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(missing.join("\n")),
    }
}

fn line_of(role: &str, text: &str) -> String {
    let message = encode::object([
        ("role", encode::string(role)),
        ("content", encode::string(text)),
    ]);
    encode::object([("type", encode::string(role)), ("message", message)])
}

/// The lines, scores and quotes of the evidence of a session.
fn run(
    transcript: String,
    info: &SessionInfo,
    arguments: &Arguments,
) -> Result<Vec<(i64, i64, String)>, String> {
    let host = MemoryHost::new(transcript.into_bytes());
    if arguments.detector == Detector::Llm {
        // The first run only shows the request.
        host.answer(Err(LlmError::new(ErrorClass::Unavailable, "not asked yet")));
        let _ = host.run::<Verifications>(info);
        if let Some(request) = host.requests().first() {
            let folder = arguments.responses.as_deref();
            let folder = folder.ok_or("the detector `llm` needs `--responses`")?;
            let text = recorded::response(folder, request)?;
            host.answer(Ok(Response::new(text)));
        }
        // Contradictions do not matter here.
        for _ in 0..100 {
            host.answer(Ok(Response::new(r#"{"contradictions":[]}"#)));
        }
    }
    host.run::<Verifications>(info)?;
    let rows = host.rows("evidence");
    Ok(rows.iter().filter_map(|row| evidence(row)).collect())
}

/// The line, the score and the quote of a row of evidence.
fn evidence(row: &[OwnedValue]) -> Option<(i64, i64, String)> {
    match (row.get(7)?, row.get(9)?, row.get(5)?) {
        (OwnedValue::S64(line), OwnedValue::S64(score), OwnedValue::Text(quote)) => {
            Some((*line, *score, quote.clone()))
        }
        _ => None,
    }
}

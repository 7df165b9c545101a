//! Expected fault: none, or `llm` where the model gives no answer.
//!
//! Asks a language model what the lines tell it to ask, and keeps each answer. `{"ask":…}` may say
//! what to do where there is none: give the session back, panic, ask again for ever, or get over it.

use session_pipeline_faulty::LineRow;
use session_pipeline_processor::json::Json;
use session_pipeline_processor::llm::Request;
use session_pipeline_processor::{Manifest, Processor, Session, Settings, Summary, export, rows};

rows! {
    /// An answer, or why there was none.
    struct Answer in "answers" {
        line: u64,
        text: Option<String>,
        class: Option<String>,
        reason: Option<String>,
    }
}

struct AsksModel;

impl Processor for AsksModel {
    fn manifest(settings: &Settings) -> Result<Manifest, String> {
        let manifest = session_pipeline_faulty::manifest("asks-model").table::<Answer>();
        Ok(match settings.get("uses-llm") {
            Some("true") => manifest.uses_llm(),
            _ => manifest,
        })
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let mut table = session.table();
        let mut lines = session.lines();
        let mut count = 0;
        while let Some(line) = lines.next_line() {
            let text = std::str::from_utf8(line.bytes).map_err(|error| error.to_string())?;
            table.insert(LineRow {
                line: line.number,
                text: text.to_owned(),
            });
            ask(
                session,
                line.number,
                Json::parse(text).ok_or("a line is no JSON")?,
            )?;
            count += 1;
        }
        Ok(Summary::items(count))
    }
}

fn text(json: Json<'_>, field: &str) -> Option<String> {
    Some(json.field(field)?.text()?.decode().into_owned())
}

fn ask(session: &Session<'_>, line: u64, json: Json<'_>) -> Result<(), String> {
    if let Some(reason) = text(json, "fail") {
        return Err(reason);
    }
    let Some(prompt) = text(json, "ask") else {
        return Ok(());
    };
    let request = Request {
        system: text(json, "system"),
        json_schema: text(json, "schema"),
        ..Request::new(prompt).max_tokens(77)
    };
    let answer = loop {
        match (
            session.llm().complete(&request),
            text(json, "or").as_deref(),
        ) {
            (Err(_), Some("again")) => {}
            (Err(error), Some("panic")) => panic!("no answer: {error}"),
            (Err(error), Some("give back")) => return Err(error.into()),
            (answer, _) => break answer,
        }
    };
    session.table::<Answer>().insert(match answer {
        Ok(response) => Answer {
            line,
            text: Some(response.text),
            class: None,
            reason: None,
        },
        Err(error) => Answer {
            line,
            text: None,
            class: Some(error.class.as_str().to_owned()),
            reason: Some(error.reason),
        },
    });
    Ok(())
}

export!(AsksModel);

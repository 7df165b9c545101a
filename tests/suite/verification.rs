//! The processor `verification`, as the component that ships: helpers here, a room for each side of
//! it below.
//!
//! What its parts do, its own tests hold over a host in memory; here it stands in a real pipeline,
//! over a real database.

mod knowledge;
mod llm;
mod phrases;
mod provider;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, FinishedRun, ScriptedModel, TestPipeline, Transcript};
use session_pipeline_host::model::LanguageModel;
use session_pipeline_pipeline::config::Config;

use crate::guests;

const VERIFICATION: &str = "verification";

const ITEMS: &str =
    "SELECT title, status, confidence, domain, source_user FROM verification.items ORDER BY title";
const EVIDENCE: &str = "SELECT session_file, line, user_quote, detection_type, detector FROM verification.evidence \
     ORDER BY session_file, line, user_quote";

/// A data dir that knows the processor already: for properties, which need many.
fn prepared_dir() -> DataDir {
    thread_local! {
        static PREPARED: DataDir = {
            let dir = DataDir::new();
            let pipeline = TestPipeline::open(&dir, &[guests::verification()]);
            pipeline.pipeline().processor(VERIFICATION).unwrap();
            dir
        };
    }
    PREPARED.with(DataDir::with_state_of)
}

/// A pipeline with the detector `phrases`.
fn by_phrases(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[guests::verification()])
}

/// A pipeline with the detector `llm`, which asks this model.
fn by_llm(dir: &DataDir, model: &Arc<ScriptedModel>) -> TestPipeline {
    TestPipeline::open_with(dir, config(dir, "llm"), &[guests::verification()])
        .with_language_model(Arc::clone(model) as Arc<dyn LanguageModel>)
}

fn config(dir: &DataDir, detector: &str) -> Config {
    let mut config = dir.config();
    let own = config.processors.entry(VERIFICATION.to_owned());
    let settings = &mut own.or_default().settings;
    settings.insert("detector".to_owned(), detector.to_owned());
    config
}

/// Runs, and nothing may fail.
fn run(dir: &DataDir, pipeline: &TestPipeline) -> FinishedRun {
    dir.clock().advance(Duration::from_secs(1));
    let ran = pipeline.run(VERIFICATION);
    assert_eq!(ran.stats.errors, 0, "{:?}", ran.stats.errors_detail);
    ran
}

/// A session in which the user says these things.
fn said(id: &str, texts: &[&str]) -> Transcript {
    let session = Transcript::new(id);
    texts
        .iter()
        .fold(session, |session, text| session.user(text))
}

/// What a model says that it found.
fn found(verifications: &[Value]) -> String {
    json!({ "verifications": verifications }).to_string()
}

/// One of these: a correction of finance, unless other members say otherwise.
fn verification(title: &str, content: &str, quote: &str, others: Value) -> Value {
    let mut verification = json!({
        "detection_type": "correction", "title": title, "content": content, "user_quote": quote,
        "domain": "finance", "entities": [],
    });
    for (name, value) in others.as_object().unwrap() {
        verification[name] = value.clone();
    }
    verification
}

//! The processor `verification`: the shipped component in a pipeline with a database.
//!
//! The crate of the processor tests its parts with a host in memory.

mod concurrency;
mod knowledge;
mod llm;
mod order;
mod phrases;
mod provider;
mod secrets;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_harness::{DataDir, FinishedRun, ScriptedModel, TestPipeline, Transcript};
use session_pipeline_host::model::LanguageModel;
use session_pipeline_pipeline::config::Config;

use crate::guests::{self, prepared_state};

const VERIFICATION: &str = "verification";

const ITEMS: &str =
    "SELECT title, status, confidence, domain, source_user FROM verification.items ORDER BY title";
const EVIDENCE: &str = "SELECT session_file, line, user_quote, detection_type, detector FROM verification.evidence \
     ORDER BY session_file, line, user_quote";

/// A data directory in which the processor is registered, for properties.
fn prepared_dir() -> DataDir {
    static STATE: LazyLock<PathBuf> =
        LazyLock::new(|| prepared_state("verification", &[guests::verification()]));
    DataDir::with_state_in(&STATE)
}

/// A pipeline with the detector `phrases`.
fn phrases_pipeline(dir: &DataDir) -> TestPipeline {
    TestPipeline::open(dir, &[guests::verification()])
}

/// A pipeline with the detector `llm` and this model.
fn llm_pipeline(dir: &DataDir, model: &Arc<ScriptedModel>) -> TestPipeline {
    TestPipeline::open_with(dir, config(dir, "llm"), &[guests::verification()])
        .with_language_model(Arc::clone(model) as Arc<dyn LanguageModel>)
}

fn config(dir: &DataDir, detector: &str) -> Config {
    let mut config = dir.config();
    // Scripted answers have an order.
    config.llm.concurrency = 1;
    let own = config.processors.entry(VERIFICATION.to_owned());
    let settings = &mut own.or_default().settings;
    settings.insert("detector".to_owned(), detector.to_owned());
    config
}

/// Runs the processor and checks that no session fails.
fn run(dir: &DataDir, pipeline: &TestPipeline) -> FinishedRun {
    dir.clock().advance(Duration::from_secs(1));
    let run = pipeline.run(VERIFICATION);
    assert_eq!(run.stats.errors, 0, "{:?}", run.stats.errors_detail);
    run
}

/// A session with these prompts of the user.
fn session_with_prompts(id: &str, texts: &[&str]) -> Transcript {
    let session = Transcript::new(id);
    texts
        .iter()
        .fold(session, |session, text| session.user(text))
}

/// The answer of a model with these verifications.
fn extraction_answer(verifications: &[Value]) -> String {
    json!({ "verifications": verifications }).to_string()
}

/// A verification in an answer: a correction in the domain `finance`. `others` replaces members.
fn verification(title: &str, content: &str, quote: &str, others: Value) -> Value {
    let mut verification = json!({
        "detection_type": "correction", "status": "fact", "scope": "team", "assistant_quote": null, "title": title, "content": content, "user_quote": quote,
        "domain": "finance", "entities": [],
    });
    for (name, value) in others.as_object().unwrap() {
        verification[name] = value.clone();
    }
    verification
}

//! `cargo xtask evaluate`: measures the detectors of `verification` over labeled prompts.
//!
//! It runs a program of the processor's crate natively, so it needs no DuckDB and no WebAssembly.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};

use crate::workspace::{Workspace, status};

/// Measure what a processor finds
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    processor: Processor,
}

#[derive(Subcommand)]
enum Processor {
    Verification(VerificationArgs),
}

/// Run a detector over labeled prompts, and print precision and recall with 95% intervals
///
/// The labels are JSON lines with `text` and `label` (`yes`, `borderline` or `no`). Optional are
/// `source` (any name), `session` (prompts with the same name are in one session) and `assistant`
/// (what the assistant said before).
#[derive(clap::Args)]
struct VerificationArgs {
    /// File with labeled prompts; can be repeated (default: labels.jsonl in
    /// tests/fixtures/verification, and for `phrases` also prompts.jsonl)
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    /// Detector to measure
    #[arg(long, value_enum, default_value_t = Detector::Phrases)]
    detector: Detector,
    /// Minimum score of an item, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
    /// Folder with recorded responses for `llm`, one file per request
    /// (default: tests/fixtures/verification/responses)
    ///
    /// Missing responses are an error. Their prompts are written to the folder, so that a model can
    /// answer them.
    #[arg(long, value_name = "FOLDER")]
    responses: Option<PathBuf>,
    /// Only prompts with this `source`
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only half of the prompts, by the hash of their text: change rules by looking at one half, and
    /// test with the other
    #[arg(long, value_enum)]
    half: Option<Half>,
    /// List what was found
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Detector {
    Phrases,
    Llm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Half {
    Learning,
    Test,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let Processor::Verification(args) = &args.processor;
    let fixtures = workspace.root.join("tests/fixtures/verification");
    let labels = labels(args, &fixtures)?;
    let responses = absolute(args.responses.as_deref(), &fixtures.join("responses"))?;
    for file in &labels {
        ensure!(
            file.is_file(),
            "no file with labels at `{}`",
            file.display()
        );
    }
    let mut command = workspace.guest_cargo("run");
    command.args([
        "--quiet",
        "--package",
        "session-pipeline-verification",
        "--bin",
        "evaluate",
        "--",
    ]);
    for file in labels {
        command.arg("--labels").arg(file);
    }
    command.arg("--responses").arg(responses);
    command.args(["--detector", &name_of(args.detector)]);
    command.args(["--threshold", &args.threshold.to_string()]);
    if let Some(source) = &args.source {
        command.args(["--source", source]);
    }
    if let Some(half) = args.half {
        command.args(["--half", &name_of(half)]);
    }
    if args.verbose {
        command.arg("--verbose");
    }
    Ok(ExitCode::from(u8::from(!status(command)?.success())))
}

/// The files with labels. The recorded responses for `llm` belong to the prompts of one file.
fn labels(args: &VerificationArgs, fixtures: &Path) -> Result<Vec<PathBuf>> {
    if args.labels.is_empty() {
        let names: &[&str] = match args.detector {
            Detector::Phrases => &["labels.jsonl", "prompts.jsonl"],
            Detector::Llm => &["labels.jsonl"],
        };
        return Ok(names.iter().map(|name| fixtures.join(name)).collect());
    }
    let files = args.labels.iter();
    files.map(|file| absolute(Some(file), fixtures)).collect()
}

/// The path from the current directory, or else the default.
fn absolute(path: Option<&Path>, default: &Path) -> Result<PathBuf> {
    let Some(path) = path else {
        return Ok(default.to_owned());
    };
    std::path::absolute(path).with_context(|| format!("invalid path `{}`", path.display()))
}

fn name_of(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

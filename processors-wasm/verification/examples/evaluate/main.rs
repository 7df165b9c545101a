//! Measures a detector over labeled prompts: `cargo xtask evaluate verification`.
//!
//! A prompt counts as found if it is evidence for an item with at least the threshold's score.
//! *Strict* counts only prompts with the label `yes`. *With borderline* also counts `borderline`.

mod arguments;
mod labels;
mod measure;
mod recorded;
mod sessions;

use std::process::ExitCode;

use arguments::Arguments;
use measure::Measure;
use session_pipeline_verification::verification::Detector;

fn main() -> ExitCode {
    match evaluate() {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn evaluate() -> Result<String, String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut prompts = labels::read(&arguments.labels)?;
    prompts.retain(|prompt| arguments.selects(prompt));
    if prompts.is_empty() {
        let file = arguments.labels.display();
        return Err(format!("`{file}` has no labeled prompts for these options"));
    }
    let found = sessions::detect(&prompts, &arguments)?;
    let mut report = String::new();
    if arguments.is_verbose {
        for (prompt, found) in prompts.iter().zip(&found) {
            let is_listed = found
                .score
                .is_some_and(|score| score >= arguments.threshold);
            if let Some(score) = found.score {
                let mark = if is_listed { "listed" } else { "below" };
                let (label, items) = (prompt.label.name(), found.items.join(" | "));
                report.push_str(&format!("{mark} {score:.2} {label}: {items}\n"));
            }
        }
    }
    let measure = Measure::of(prompts.iter().zip(&found).map(|(prompt, found)| {
        let is_found = found
            .score
            .is_some_and(|score| score >= arguments.threshold);
        (prompt.label, is_found)
    }));
    let detector = match arguments.detector {
        Detector::Phrases => "phrases",
        Detector::Llm => "llm",
    };
    report.push_str(&format!(
        "detector {detector}, threshold {:.2}\n{measure}",
        arguments.threshold
    ));
    Ok(report)
}

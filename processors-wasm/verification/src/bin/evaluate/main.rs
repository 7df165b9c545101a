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

fn main() -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    match arguments.and_then(|arguments| evaluate(&arguments)) {
        Ok((report, _)) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The report and the figures in it.
fn evaluate(arguments: &Arguments) -> Result<(String, Measure), String> {
    let mut prompts = Vec::new();
    for file in &arguments.labels {
        prompts.extend(labels::read(file)?);
    }
    prompts.retain(|prompt| arguments.selects(prompt));
    if prompts.is_empty() {
        let files = arguments.labels.iter();
        let files: Vec<String> = files.map(|file| format!("`{}`", file.display())).collect();
        let files = files.join(" and ");
        return Err(format!("no labeled prompts for these options in {files}"));
    }
    let found = sessions::detect(&prompts, arguments)?;
    let mut report = String::new();
    if arguments.is_verbose {
        for (prompt, found) in prompts.iter().zip(&found) {
            let is_listed = found
                .score
                .is_some_and(|score| score >= arguments.threshold);
            if let Some(score) = found.score {
                let mark = if is_listed { "listed" } else { "below" };
                let (label, items) = (prompt.label.name(), found.items.join(" | "));
                report.push_str(&format!("{mark} {score} {label}: {items}\n"));
            }
        }
    }
    let measure = Measure::of(prompts.iter().zip(&found).map(|(prompt, found)| {
        let is_found = found
            .score
            .is_some_and(|score| score >= arguments.threshold);
        (prompt.label, is_found)
    }));
    let (detector, threshold) = (arguments.detector.name(), arguments.threshold);
    report.push_str(&format!(
        "detector {detector}, threshold {threshold}\n{measure}"
    ));
    Ok((report, measure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(detector: &str, file: &str, precision: f64, recall: f64) {
        let fixtures = format!(
            "{}/../../tests/fixtures/verification",
            env!("CARGO_MANIFEST_DIR")
        );
        let labels = format!("{fixtures}/{file}");
        let responses = format!("{fixtures}/responses");
        let arguments = [
            "--labels",
            &labels,
            "--responses",
            &responses,
            "--detector",
            detector,
        ];
        let arguments = Arguments::parse(arguments.into_iter().map(str::to_owned)).unwrap();
        let (report, measure) = evaluate(&arguments).unwrap();
        assert!(measure.prompts() >= 40, "{report}");
        assert!(measure.precision().unwrap() >= precision, "{report}");
        assert!(measure.recall().unwrap() >= recall, "{report}");
    }

    /// The prompts were written for this test, so the figures are no estimate for real prompts. A
    /// lower figure shows that a change of a rule has lost something.
    #[test]
    fn the_detectors_find_what_they_found_in_the_fixture() {
        check("phrases", "labels.jsonl", 0.85, 0.75);
        check("phrases", "prompts.jsonl", 0.90, 0.75);
        check("llm", "labels.jsonl", 0.90, 0.95);
    }

    #[test]
    fn a_missing_file_and_a_wrong_label_are_errors_with_their_place() {
        let error = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|text| (*text).to_owned());
            Arguments::parse(arguments)
                .and_then(|arguments| evaluate(&arguments))
                .err()
                .unwrap()
        };
        assert!(error(&["--labels", "/none"]).contains("failed to read labels from `/none`"));
        assert_eq!(error(&["--labels"]), "`--labels` has no value");
        assert_eq!(
            error(&["--half", "best"]),
            "invalid value `best` of `--half`"
        );
        assert_eq!(error(&["--depth", "1"]), "unknown option `--depth`");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(error(&["--labels", manifest]).starts_with("line 1 of `"));
    }
}

//! The operator's settings.

use session_pipeline_processor::Settings;

use crate::verification::Detector;

const DETECTOR: &str = "detector";

/// The detector in the settings. The default is `phrases`.
///
/// # Errors
/// An unknown detector or an unknown setting.
pub fn detector(settings: &Settings) -> Result<Detector, String> {
    let is_unknown = |(name, _): &&(String, String)| name != DETECTOR;
    if let Some((name, _)) = settings.pairs.iter().find(is_unknown) {
        return Err(format!(
            "there is no setting `{name}`; there is `{DETECTOR}`"
        ));
    }
    let Some(value) = settings.get(DETECTOR) else {
        return Ok(Detector::Phrases);
    };
    let named = Detector::ALL
        .into_iter()
        .find(|detector| detector.name() == value);
    named.ok_or_else(|| {
        format!("the setting `{DETECTOR}` is `{value}`; allowed are `phrases` and `llm`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], expected: Result<Detector, &str>) {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = Settings {
            pairs: pairs.iter().map(pair).collect(),
        };
        assert_eq!(detector(&settings), expected.map_err(str::to_owned));
    }

    #[test]
    fn only_known_detectors_are_taken() {
        check(&[], Ok(Detector::Phrases));
        check(&[("detector", "phrases")], Ok(Detector::Phrases));
        check(&[("detector", "llm")], Ok(Detector::Llm));
        check(
            &[("detector", "LLM")],
            Err("the setting `detector` is `LLM`; allowed are `phrases` and `llm`"),
        );
        check(
            &[("detektor", "llm")],
            Err("there is no setting `detektor`; there is `detector`"),
        );
    }
}

//! Precision and recall with intervals.

use std::fmt;

use crate::labels::Label;

/// The normal quantile of a 95% interval.
const Z: f64 = 1.96;

/// Counts of prompts.
#[derive(Default)]
pub struct Measure {
    prompts: usize,
    /// What was found, by the label: yes, borderline, no.
    found: [usize; 3],
    /// All prompts, by the label.
    all: [usize; 3],
}

impl Measure {
    /// Counts prompts by their label and by whether they were found.
    pub fn of(prompts: impl Iterator<Item = (Label, bool)>) -> Self {
        let mut measure = Self::default();
        for (label, is_found) in prompts {
            let place = match label {
                Label::Yes => 0,
                Label::Borderline => 1,
                Label::No => 2,
            };
            measure.prompts += 1;
            measure.all[place] += 1;
            measure.found[place] += usize::from(is_found);
        }
        measure
    }

    /// The number of prompts.
    #[cfg(test)]
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// The share of prompts with the label `yes` in what was found. `None` if nothing was found.
    #[cfg(test)]
    pub fn precision(&self) -> Option<f64> {
        let found: usize = self.found.iter().sum();
        (found > 0).then(|| self.found[0] as f64 / found as f64)
    }

    /// The share of prompts with the label `yes` that were found. `None` if there are none.
    #[cfg(test)]
    pub fn recall(&self) -> Option<f64> {
        (self.all[0] > 0).then(|| self.found[0] as f64 / self.all[0] as f64)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: usize = self.found.iter().sum();
        let [yes, borderline, no] = self.all;
        writeln!(
            f,
            "{} prompts: {yes} yes, {borderline} borderline, {no} no; {found} found",
            self.prompts
        )?;
        let [found_yes, found_borderline, _] = self.found;
        let both = (found_yes + found_borderline, yes + borderline);
        for (name, hits, of) in [
            ("precision, strict", found_yes, found),
            ("precision, with borderline", both.0, found),
            ("recall, strict", found_yes, yes),
            ("recall, with borderline", both.0, both.1),
        ] {
            writeln!(f, "{name:<27} {}", share(hits, of))?;
        }
        Ok(())
    }
}

/// A share with its Wilson interval of 95%.
fn share(hits: usize, of: usize) -> String {
    if of == 0 {
        return "-".to_owned();
    }
    let (n, p) = (of as f64, hits as f64 / of as f64);
    let square = Z * Z;
    let center = (p + square / (2.0 * n)) / (1.0 + square / n);
    let spread = (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt() * Z / (1.0 + square / n);
    let percent = |share: f64| (share.clamp(0.0, 1.0) * 100.0).round();
    format!(
        "{:>3}% ({hits} of {of}), 95% interval {}% to {}%",
        percent(p),
        percent(center - spread),
        percent(center + spread)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_wilson() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(5, 10), " 50% (5 of 10), 95% interval 24% to 76%");
        assert_eq!(share(10, 10), "100% (10 of 10), 95% interval 72% to 100%");
        assert_eq!(share(0, 10), "  0% (0 of 10), 95% interval 0% to 28%");
    }
}

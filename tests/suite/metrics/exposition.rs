//! A strict parser for the text format of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use session_pipeline::http::METRICS_PREFIX;

/// A scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The names with a type, with their suffixes.
    pub types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Exposition {
    /// Parses a scrape. Checks that every name has the prefix, a help text and a type, and that no
    /// series occurs twice.
    pub fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        let mut helped = BTreeSet::new();
        let mut series = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.len() > 10 && help.ends_with('.'), "{line}");
                assert!(helped.insert(name.to_owned()), "{name} has two help texts");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(helped.contains(name), "{name} has no help text");
                assert!(name.starts_with(&format!("{METRICS_PREFIX}_")), "{name}");
                exposition.types.insert(name.to_owned(), kind.to_owned());
            } else {
                let sample = sample(line);
                exposition.type_of(&sample.name);
                let labels = sample
                    .labels
                    .iter()
                    .map(|(name, value)| format!("{name}={value:?}"));
                let labels: Vec<String> = labels.collect();
                let key = format!("{}{labels:?}", sample.name);
                assert!(series.insert(key), "{line} occurs twice");
                exposition.samples.push(sample);
            }
        }
        exposition
    }

    /// The type of the family of a sample.
    fn type_of(&self, name: &str) -> &str {
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| {
                self.types
                    .get(*family)
                    .is_some_and(|kind| kind == "histogram")
            });
        let kind = self.types.get(family.unwrap_or(name));
        kind.unwrap_or_else(|| panic!("`{name}` has no type"))
    }

    /// The samples with a name, without the prefix.
    pub fn samples(&self, name: &str) -> Vec<&Sample> {
        let name = format!("{METRICS_PREFIX}_{name}");
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .collect()
    }

    /// The value with exactly these labels, written as `a=1,b=2`.
    pub fn value(&self, name: &str, labels: &str) -> f64 {
        let wanted: BTreeMap<String, String> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let samples = self.samples(name);
        let mut found = samples.iter().filter(|sample| sample.labels == wanted);
        let found = found.next();
        found
            .unwrap_or_else(|| panic!("no {name} with {labels}: {samples:?}"))
            .value
    }
}

/// Parses `name{a="1",b="2"} 3`.
fn sample(line: &str) -> Sample {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
        "{line}"
    );
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').unwrap_or(rest);
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after;
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().unwrap_or_else(|_| panic!("{line}")),
    }
}

/// Reads a text up to its closing quotation mark. Returns it with the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

//! Suggests names for one that does not exist.

use std::collections::{BTreeSet, HashSet};

use session_pipeline_host::fault::printable;
use session_pipeline_host::redaction::without_secrets;

/// Maximum number of suggestions.
const SUGGESTIONS_MAX: usize = 3;
/// Maximum number of names whose spelling is compared. Enough for a team, and done within a second.
pub(crate) const COMPARED_MAX: usize = 50_000;
/// Longer values of filters are not suggested. They come from transcripts.
const NAME_BYTES_MAX: usize = 200;
/// Names with a lower similarity, from 0 to 1, are not suggested.
const SIMILARITY_MIN: f64 = 0.8;

/// Collects suggestions: names that contain the given one or that it ends with, such as a path given
/// as a key, else the names with the most similar spelling. Holds only the suggestions in memory.
#[derive(Debug)]
pub(crate) struct Nearest<'a> {
    given: &'a str,
    lower: String,
    containing: BTreeSet<String>,
    /// With their similarity, highest first.
    similar: Vec<(f64, String)>,
    compared: usize,
}

impl<'a> Nearest<'a> {
    pub(crate) fn to(given: &'a str) -> Self {
        Self {
            given,
            lower: given.to_lowercase(),
            containing: BTreeSet::new(),
            similar: Vec::new(),
            compared: 0,
        }
    }

    /// Considers an existing name.
    pub(crate) fn consider(&mut self, name: &str) {
        if name.is_empty() || name == self.given {
            return;
        }
        if !self.given.is_empty() && (name.contains(self.given) || self.given.ends_with(name)) {
            self.containing.insert(name.to_owned());
            if self.containing.len() > SUGGESTIONS_MAX {
                self.containing.pop_last();
            }
        }
        if self.compared == COMPARED_MAX || !self.containing.is_empty() {
            return;
        }
        self.compared += 1;
        let likeness = strsim::jaro_winkler(&self.lower, &name.to_lowercase());
        if likeness > SIMILARITY_MIN && self.similar.iter().all(|(_, known)| known != name) {
            self.similar.push((likeness, name.to_owned()));
            self.similar
                .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            self.similar.truncate(SUGGESTIONS_MAX);
        }
    }

    /// The suggestions without secrets, escaped for a terminal, best first. At most three.
    pub(crate) fn names(self) -> Vec<String> {
        let names: Vec<String> = match self.containing.is_empty() {
            true => self.similar.into_iter().map(|(_, name)| name).collect(),
            false => self.containing.into_iter().collect(),
        };
        names
            .iter()
            .map(|name| printable(&without_secrets(name)))
            .collect()
    }
}

/// What a filter selects, and whether anything has its value.
#[derive(Debug)]
pub(crate) struct FilterValue<'a> {
    /// What the filter selects, such as `user`.
    noun: &'static str,
    given: &'a str,
    is_known: bool,
    nearest: Nearest<'a>,
    considered: HashSet<String>,
}

impl<'a> FilterValue<'a> {
    pub(crate) fn new(noun: &'static str, given: &'a str) -> Self {
        Self {
            noun,
            given,
            is_known: false,
            nearest: Nearest::to(given),
            considered: HashSet::new(),
        }
    }

    /// Records that something matches the filter, whatever its value.
    pub(crate) fn find(&mut self) {
        self.is_known = true;
    }

    /// Whether something has the value.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Considers an existing value.
    pub(crate) fn consider(&mut self, name: &str) {
        if name == self.given {
            self.is_known = true;
        }
        let is_new = !self.considered.contains(name)
            && self.considered.len() < COMPARED_MAX
            && name.len() <= NAME_BYTES_MAX;
        if is_new && !self.is_known {
            self.considered.insert(name.to_owned());
            self.nearest.consider(name);
        }
    }

    /// The notice for people, with suggestions. `what` is what the filter selects from, such as
    /// `session`.
    pub(crate) fn notice(self, what: &str) -> String {
        let given = printable(self.given);
        let noun = self.noun;
        let names = self.nearest.names();
        let hint = match names.is_empty() {
            true => String::new(),
            false => format!("; did you mean `{}`?", names.join("`, or `")),
        };
        format!("no {what} matches {noun} `{given}`{hint}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(given: &str, names: &[&str]) -> Vec<String> {
        let mut nearest = Nearest::to(given);
        names.iter().for_each(|name| nearest.consider(name));
        nearest.names()
    }

    #[test]
    fn names_that_contain_the_given_one_precede_similar_spellings() {
        let names = ["webshop", "shop-api", "shap", "docs"];
        assert_eq!(suggested("shop", &names), ["shop-api", "webshop"]);
        assert_eq!(suggested("shpo", &names), ["shap"]);
        assert_eq!(suggested("SHOP-AIP", &names), ["shop-api"]);
        assert_eq!(suggested("/home/ada/docs", &names), ["docs"]);
        assert_eq!(suggested("xyz", &names), [""; 0]);
        assert_eq!(suggested("", &names), [""; 0]);
    }

    #[test]
    fn at_most_three_names_are_suggested_and_none_can_control_a_terminal() {
        let many: Vec<String> = (0..100).map(|number| format!("app-{number:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(suggested("app", &many), ["app-00", "app-01", "app-02"]);
        assert_eq!(suggested("app-1x", &many).len(), 3);
        let hostile = suggested("app", &["app\u{1b}[2J"]);
        assert!(
            !hostile.is_empty() && hostile.iter().all(|name| !name.contains('\u{1b}')),
            "{hostile:?}"
        );
    }

    #[test]
    fn the_notice_names_the_value_and_what_it_could_mean() {
        let mut value = FilterValue::new("user", "bo");
        value.consider("bob");
        value.consider("bob");
        assert_eq!(
            value.notice("session"),
            "no session matches user `bo`; did you mean `bob`?"
        );
        assert_eq!(
            FilterValue::new("agent", "x\n").notice("message"),
            "no message matches agent `x\\n`"
        );
    }
}

//! The causes of cost that the list of sessions can be filtered by. Each has the name that the API
//! has for it.

use std::collections::BTreeMap;

use crate::dashboard::filters::Filters;

/// The parameters in the address of the list, with their labels.
pub(in crate::dashboard) const CAUSE_LABELS: [(&str, &str); 15] = [
    ("branch", "Branch"),
    ("pull_request", "Pull request"),
    ("source", "Part of the session"),
    ("agent_type", "Sub-agent type"),
    ("skill", "Skill"),
    ("plugin", "Plugin"),
    ("mcp_server", "MCP server"),
    ("effort", "Effort"),
    ("entrypoint", "Entry point"),
    ("tool", "Tool"),
    ("failure", "Failed calls"),
    ("command", "Slash command"),
    ("called_skill", "Called skill"),
    ("called_agent_type", "Started sub-agent"),
    ("waste", "Waste"),
];

/// The causes in an address, in the order of [`CAUSE_LABELS`].
#[derive(Clone, Debug, Default)]
pub(in crate::dashboard) struct CauseFilters(Vec<(&'static str, String)>);

impl CauseFilters {
    /// Reads the parameters of an address. Empty and unknown ones are ignored.
    pub(in crate::dashboard) fn of(parameters: &BTreeMap<String, String>) -> Self {
        let causes = CAUSE_LABELS.iter().filter_map(|(name, _)| {
            let value = parameters.get(*name)?.trim();
            (!value.is_empty()).then(|| (*name, value.to_owned()))
        });
        Self(causes.collect())
    }

    /// The parameters for the API, and for links to the list.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// The address of the list of the sessions with these causes, in the period of a page.
pub(in crate::dashboard) fn sessions_with(
    filters: &Filters,
    causes: &[(&'static str, &str)],
) -> String {
    let mut parameters = causes.to_vec();
    parameters.push(("sort", "cost"));
    filters.link("/sessions", &parameters)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::CauseFilters;

    #[test]
    fn only_known_causes_with_a_value_are_filters() {
        let parameters = [
            ("waste", "reread"),
            ("branch", " main "),
            ("tool", ""),
            ("moon", "x"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = CauseFilters::of(&BTreeMap::from(parameters));
        let found: Vec<_> = found.parameters().collect();
        assert_eq!(found, [("branch", "main"), ("waste", "reread")]);
    }
}

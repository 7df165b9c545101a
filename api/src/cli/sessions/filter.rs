//! The arguments that choose and sort the sessions of a list.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use session_pipeline_host::day::Day;
use session_pipeline_pipeline::listing::overview::SessionSort;

use super::SessionListArgs;
use crate::body::grouping::AgentParam;
use crate::cli::CommandFailure;

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Order of the list; reads all sessions first, except for `key`
    #[arg(long, value_name = "SORT", value_parser = sort_parser(), default_value = SessionSort::Recent.name())]
    sort: SessionSort,
    /// Reverse the order; sessions without a value stay last
    #[arg(long)]
    reverse: bool,
    /// Only sessions of this project: its name, which is the last part of its path; its whole path; or the last parts of its path
    #[arg(long, value_name = "PROJECT", value_parser = crate::cli::non_empty)]
    project: Option<String>,
    /// Only sessions of this coding agent
    #[arg(long, value_enum, value_name = "AGENT")]
    agent: Option<AgentParam>,
    /// Only sessions that programs began, or only those of people
    #[arg(long, value_enum, value_name = "yes|no", hide_possible_values = true)]
    automated: Option<AutomatedArg>,
    /// First day of the last activity, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<Day>,
    /// Last day of the last activity, in UTC, inclusive
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<Day>,
    /// Only sessions whose title contains this text, in upper or lower case
    #[arg(long, value_name = "TEXT", value_parser = crate::cli::non_empty)]
    search: Option<String>,
}

/// Parses the name of an order.
fn sort_parser() -> impl TypedValueParser<Value = SessionSort> {
    let sorts = SessionSort::ALL.iter();
    let values = sorts.map(|sort| PossibleValue::new(sort.name()).help(sort.description()));
    PossibleValuesParser::new(values).map(|name| {
        let mut sorts = SessionSort::ALL.iter().copied();
        sorts.find(|sort| sort.name() == name).unwrap_or_default()
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AutomatedArg {
    Yes,
    No,
}

/// The parameters of the route.
pub(super) type ListParameters = Vec<(&'static str, String)>;

impl SessionListArgs {
    /// # Errors
    /// If the days are in the wrong order.
    pub(super) fn parameters(&self) -> Result<ListParameters, CommandFailure> {
        let filter = &self.filter;
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && until < since
        {
            return Err(CommandFailure::usage_error(format!(
                "`--until {until}` is before `--since {since}`; swap them"
            )));
        }
        let automated = filter.automated.map(|automated| match automated {
            AutomatedArg::Yes => "yes".to_owned(),
            AutomatedArg::No => "no".to_owned(),
        });
        let states: Vec<&str> = self.state.iter().map(|state| state.as_str()).collect();
        let day = |day: Option<Day>| day.map(|day| day.to_string());
        let given = [
            ("sort", Some(filter.sort.name().to_owned())),
            ("reverse", filter.reverse.then(|| "true".to_owned())),
            ("user", self.user.clone()),
            ("project", filter.project.clone()),
            ("agent", filter.agent.map(|agent| agent.name().to_owned())),
            ("processor", self.processor.clone()),
            (
                "state",
                Some(states.join(",")).filter(|states| !states.is_empty()),
            ),
            ("automated", automated),
            ("since", day(filter.since)),
            ("until", day(filter.until)),
            ("search", filter.search.clone()),
        ];
        let given = given.into_iter();
        Ok(given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }
}

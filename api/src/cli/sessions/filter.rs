//! The arguments that choose and sort the sessions of a list.

use clap::{Args, ValueEnum};
use session_pipeline_host::day::Day;

use super::SessionListArgs;
use crate::cli::CommandFailure;

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Order of the list; reads all sessions first, except for `key`
    #[arg(long, value_enum, default_value_t = SortArg::Recent)]
    sort: SortArg,
    /// Reverse the order; sessions without a value stay last
    #[arg(long)]
    reverse: bool,
    /// Only sessions of this project: the whole path, or its last part
    #[arg(long, value_name = "PROJECT", value_parser = crate::cli::non_empty)]
    project: Option<String>,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortArg {
    /// Last activity, latest first
    Recent,
    /// Cost, highest first
    Cost,
    /// Number of messages, highest first
    Messages,
    /// Title
    Title,
    /// Key
    Key,
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
        let sort = match filter.sort {
            SortArg::Recent => "recent",
            SortArg::Cost => "cost",
            SortArg::Messages => "messages",
            SortArg::Title => "title",
            SortArg::Key => "key",
        };
        let automated = filter.automated.map(|automated| match automated {
            AutomatedArg::Yes => "yes".to_owned(),
            AutomatedArg::No => "no".to_owned(),
        });
        let states: Vec<&str> = self.state.iter().map(|state| state.as_str()).collect();
        let day = |day: Option<Day>| day.map(|day| day.to_string());
        let given = [
            ("sort", Some(sort.to_owned())),
            ("reverse", filter.reverse.then(|| "true".to_owned())),
            ("user", self.user.clone()),
            ("project", filter.project.clone()),
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

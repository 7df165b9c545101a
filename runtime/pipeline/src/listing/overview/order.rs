//! Orders of the list of sessions.
//!
//! Other orders than that of the keys need one pass over all sessions. For a page of the list, the
//! pass reads only what decides the order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_store::SessionSelection;

use super::ranked::first_ranked;
use super::{FilterMatcher, OverviewPages, SessionOverview, SessionQuery};
use crate::listing::{ListingError, READ_AT_ONCE};
use crate::report::project_name;
use crate::report::sessions::{SessionSummary, SummaryParts, WithFigures, shown};

/// Maximum number of sessions that are read by their keys.
pub(super) const KEYS_MAX: usize = 1000;

/// Defines the orders of a list, each with its name and its description.
macro_rules! session_sorts {
    ($($(#[$attribute:meta])* $sort:ident, $name:tt, $description:tt;)*) => {
        /// The order of a list.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum SessionSort {
            $(
                #[doc = $description]
                #[serde(rename = $name)]
                $(#[$attribute])*
                $sort,
            )*
        }

        impl SessionSort {
            /// All orders.
            pub const ALL: &'static [Self] = &[$(Self::$sort),*];

            /// The name in queries and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$sort => $name,)*
                }
            }

            /// What comes first.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$sort => $description,)*
                }
            }
        }
    };
}

session_sorts! {
    Recent, "recent", "Last activity, latest first";
    Cost, "cost", "Cost, highest first";
    Messages, "messages", "Number of messages, highest first";
    Title, "title", "Title";
    User, "user", "User";
    Project, "project", "Name of the project";
    Branch, "branch", "Git branch";
    Active, "active", "Active time, longest first";
    Prompts, "prompts", "Number of prompts, highest first";
    Tools, "tools", "Number of calls of tools, highest first";
    Errors, "errors", "Number of failed calls, highest first";
    Tokens, "tokens", "Number of tokens, highest first";
    #[default] Key, "key", "Key";
}

/// The place of a session in a sorted list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SortPosition(pub(super) SortRank, pub(super) String);

/// The value that a list is sorted by. All sessions of a list have the same kind of rank, except
/// those without a value, which come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum SortRank {
    #[serde(rename = "n")]
    Number(i64),
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "r")]
    ReversedText(Reverse<String>),
    #[serde(rename = "-")]
    Absent,
}

impl SortPosition {
    /// Parses a position that [`SortPosition::encoded`] returned.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The position as text, for clients that return it later.
    pub fn encoded(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn of(session: &SessionOverview, query: &SessionQuery) -> Self {
        let summary = session.summary.as_deref();
        // The largest number comes first.
        let number = |value: i64| match query.is_reversed {
            true => SortRank::Number(value),
            false => SortRank::Number(value.saturating_neg()),
        };
        let text = |value: String| match query.is_reversed {
            true => SortRank::ReversedText(Reverse(value)),
            false => SortRank::Text(value),
        };
        let words = |of: fn(&SessionSummary) -> Option<&String>| {
            let words = summary.and_then(of);
            // A client sees the position.
            words.map(|words| text(shown(words).to_lowercase()))
        };
        let count = |of: fn(&SessionSummary) -> Option<i64>| summary.and_then(of).map(number);
        let rank = match query.sort {
            SessionSort::Key => Some(text(session.listed.key.clone())),
            SessionSort::Recent => session.last_activity().map(|at| number(at.0)),
            SessionSort::Cost => summary
                .and_then(|summary| summary.figures?.cost_usd)
                .map(|cost| number(i64::try_from(cost.pico_dollars).unwrap_or(i64::MAX))),
            SessionSort::Messages => count(SessionSummary::messages),
            SessionSort::Title => words(|summary| summary.title.as_ref()),
            SessionSort::User => {
                let user = session.user_email.as_deref().unwrap_or(session.directory());
                Some(text(user.to_lowercase()))
            }
            SessionSort::Project => summary
                .and_then(|summary| summary.project.as_deref())
                .map(|path| text(shown(project_name(path)).to_lowercase())),
            SessionSort::Branch => words(|summary| summary.branch.as_ref()),
            SessionSort::Active => count(|summary| summary.active_seconds),
            SessionSort::Prompts => count(|summary| summary.prompts),
            SessionSort::Tools => count(|summary| summary.tool_calls),
            SessionSort::Errors => count(|summary| summary.tool_errors),
            SessionSort::Tokens => count(|summary| Some(summary.figures?.tokens())),
        };
        Self(rank.unwrap_or(SortRank::Absent), session.listed.key.clone())
    }
}

/// The first sessions of a query after a position, with their positions. `None` as limit: all.
///
/// Reads all sessions, and holds the sessions that it returns.
///
/// # Errors
/// If the database can't be read.
pub fn sorted(
    pages: &mut OverviewPages<'_>,
    query: &SessionQuery,
    after: Option<&SortPosition>,
    limit: Option<usize>,
) -> Result<BTreeMap<SortPosition, SessionOverview>, ListingError> {
    if let Some(limit) = limit.filter(|limit| *limit <= KEYS_MAX)
        && !pages.filter.filter.is_by_state()
    {
        return match first_ranked(pages, query, after, limit)? {
            Some(first) => Ok(first),
            None => first_sorted(pages, query, after, limit),
        };
    }
    let mut first = FirstSessions::new(query, after, limit.unwrap_or(usize::MAX));
    while let Some(page) = pages.next(READ_AT_ONCE)? {
        first.extend(page);
    }
    Ok(first.sessions)
}

/// Like [`sorted`], for a few sessions. Reads of all sessions only what decides their order, and
/// the rest of those that it returns.
fn first_sorted(
    pages: &mut OverviewPages<'_>,
    query: &SessionQuery,
    after: Option<&SortPosition>,
    limit: usize,
) -> Result<BTreeMap<SortPosition, SessionOverview>, ListingError> {
    let columns = deciding_columns(query);
    let parts = deciding_parts(&pages.filter, query, &columns);
    let mut first = FirstSessions::new(query, after, limit);
    while let Some(page) = pages.next_outlines(parts)? {
        first.extend(page);
    }
    let mut sessions: Vec<&mut SessionOverview> = first.sessions.values_mut().collect();
    sessions.sort_unstable_by(|one, two| one.listed.key.cmp(&two.listed.key));
    let keys: Vec<String> = sessions
        .iter()
        .map(|session| session.listed.key.clone())
        .collect();
    let selection = SessionSelection::Keys(&keys);
    if let Some(reader) = &pages.reader {
        let mut summaries = reader.summaries(selection)?;
        for session in &mut sessions {
            session.summary = summaries.remove(&session.listed.key).map(Box::new);
            pages.filter.hide_title(session);
        }
    }
    let listed = sessions.into_iter().map(|session| &mut session.listed);
    pages.pages.add_states(listed, selection)?;
    Ok(first.sessions)
}

/// What decides whether a session matches, and where it is in the order.
pub(super) fn deciding_parts<'c>(
    filter: &FilterMatcher<'_>,
    query: &SessionQuery,
    columns: &'c [&'static str],
) -> SummaryParts<'c> {
    let is_by_figures = matches!(
        query.sort,
        SessionSort::Cost | SessionSort::Messages | SessionSort::Tokens
    );
    SummaryParts {
        figures: match is_by_figures || query.filter.is_by_id() {
            true => filter.active(),
            false => WithFigures::None,
        },
        columns: query.filter.search.is_none().then_some(columns),
    }
}

/// The columns that decide whether a session matches, except for a search, and where it is in the
/// order.
pub(super) fn deciding_columns(query: &SessionQuery) -> Vec<&'static str> {
    let mut columns = vec!["ended_at", "is_automated", "agent", "is_sidechain"];
    if query.filter.project.is_some() || query.sort == SessionSort::Project {
        // The project of a row by an earlier version is derived from its working directory.
        columns.extend(["project", "cwd"]);
    }
    columns.extend(match query.sort {
        SessionSort::Title => Some("title"),
        SessionSort::Branch => Some("git_branch"),
        SessionSort::Messages => Some("messages"),
        SessionSort::Active => Some("active_seconds"),
        SessionSort::Prompts => Some("prompts"),
        SessionSort::Tools => Some("tool_calls"),
        SessionSort::Errors => Some("tool_errors"),
        SessionSort::Key
        | SessionSort::Recent
        | SessionSort::Cost
        | SessionSort::User
        | SessionSort::Project
        | SessionSort::Tokens => None,
    });
    columns
}

/// The first sessions of a query after a position.
pub(super) struct FirstSessions<'a> {
    query: &'a SessionQuery,
    after: Option<&'a SortPosition>,
    limit: usize,
    pub(super) sessions: BTreeMap<SortPosition, SessionOverview>,
}

impl<'a> FirstSessions<'a> {
    pub(super) fn new(
        query: &'a SessionQuery,
        after: Option<&'a SortPosition>,
        limit: usize,
    ) -> Self {
        Self {
            query,
            after,
            limit,
            sessions: BTreeMap::new(),
        }
    }

    pub(super) fn extend(&mut self, page: Vec<SessionOverview>) {
        for session in page {
            let position = SortPosition::of(&session, self.query);
            if self.after.is_some_and(|after| position <= *after) {
                continue;
            }
            self.sessions.insert(position, session);
            if self.sessions.len() > self.limit {
                self.sessions.pop_last();
            }
        }
    }
}

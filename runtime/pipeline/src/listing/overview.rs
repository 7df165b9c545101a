//! The list of sessions as people need it: with titles, projects and costs, filtered and sorted.
//!
//! In the order of keys, memory holds one page of sessions, and the keys and file metadata of the
//! walk. Other orders need one pass over all sessions, during which memory also holds the sessions
//! that the caller wants: one page, or the whole list.

mod order;
mod ranked;
mod unmatched;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_store::{SessionSelection, Store, User};

use super::{
    ListRange, ListedSession, ListingError, ProcessingState, READ_AT_ONCE, SessionPages,
    SessionWithDetails,
};
use crate::config::Config;
use crate::identity::resolve;
use crate::registry::Registry;
use crate::report::project::ProjectSelector;
use crate::report::sessions::{
    SessionBackground, SessionReader, SessionSummary, SummaryParts, WithFigures, is_subagent_file,
    shown,
};
use crate::report::{DayRange, PriceTable, SessionCauses};

pub use order::{SessionSort, SortPosition, sorted};
pub use unmatched::notices;

/// Sessions per read without states. A session takes about a kilobyte.
const OUTLINED_AT_ONCE: usize = 50_000;

/// The sessions that a list includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only sessions of this user: the first folder of the key, or the user's e-mail address.
    pub user: Option<String>,
    /// Only sessions in these directories below the sessions root. `None`: all.
    pub directories: Option<Vec<String>>,
    /// Only sessions of this project: its name, its whole path, or the last parts of its path.
    pub project: Option<String>,
    /// Only sessions of this coding agent, by its name in `usage`.
    pub agent: Option<String>,
    /// Only the states with this processor.
    pub processor: Option<String>,
    /// Only these states. Empty: all.
    pub states: Vec<ProcessingState>,
    /// Only sessions whose turns all were begun by programs, or only others. Sessions of which this
    /// is not known are in neither.
    pub is_automated: Option<bool>,
    /// Only files of sub-agents, or only others.
    pub is_subagent: Option<bool>,
    /// Only sessions with their last activity on these days. With causes: only sessions that had
    /// them on these days.
    pub days: DayRange,
    /// The time zone of the days. `None`: UTC.
    pub zone: Option<TimeZone>,
    /// Only sessions whose title, project, key or id contains this text, in upper or lower case.
    pub search: Option<String>,
    /// Only sessions with these causes of cost.
    pub causes: SessionCauses,
    /// The directories whose sessions have a title. Titles contain words of prompts. `None`: all.
    pub titled_directories: Option<Vec<String>>,
}

/// Which sessions a list includes, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionQuery {
    /// The sessions.
    pub filter: SessionFilter,
    /// The order.
    pub sort: SessionSort,
    /// Whether the order is reversed. Sessions without a value come last in any case.
    pub is_reversed: bool,
}

impl SessionFilter {
    /// Whether the states of a session decide whether it matches.
    fn is_by_state(&self) -> bool {
        self.processor.is_some() || !self.states.is_empty()
    }

    /// Whether the ids of sessions decide whether they match. They depend on the figures.
    fn is_by_id(&self) -> bool {
        self.search.is_some() || !self.causes.is_empty()
    }
}

impl SessionQuery {
    /// Whether the sessions can be read in their order, without a pass over all of them.
    pub fn is_by_key(&self) -> bool {
        self.sort == SessionSort::Key && !self.is_reversed
    }
}

/// Where the sessions come from.
#[derive(Clone, Copy)]
pub struct SessionSource<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The processors.
    pub registry: &'a Registry,
    /// The database, if there is one.
    pub store: Option<&'a Store>,
    /// The prices. `None`: sessions have no cost.
    pub prices: Option<&'a PriceTable>,
    /// The clock.
    pub clock: &'a Arc<dyn Clock>,
}

impl fmt::Debug for SessionSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSource").finish_non_exhaustive()
    }
}

impl SessionSource<'_> {
    fn reader(&self, requires_rollups: bool) -> Result<Option<SessionReader>, ListingError> {
        let Some(store) = self.store else {
            return Ok(None);
        };
        let reader = SessionReader::open(store, self.prices, requires_rollups, self.clock);
        Ok(reader?)
    }
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOverview {
    /// The session and its states.
    pub listed: ListedSession,
    /// The e-mail address of its user, if the first folder of the key belongs to one.
    pub user_email: Option<Arc<str>>,
    /// What `usage` extracted from it. Boxed, because sessions that were not processed have none.
    pub summary: Option<Box<SessionSummary>>,
}

impl SessionOverview {
    /// The time of its last line, else of the last change of its file.
    pub fn last_activity(&self) -> Option<UtcMicros> {
        let ended_at = self.summary.as_ref().and_then(|summary| summary.ended_at);
        let changed = || Some(UtcMicros(self.listed.file?.mtime_ns.div_euclid(1000)));
        ended_at.or_else(changed)
    }

    /// Removes the title, whose words are those of a prompt.
    pub fn remove_title(&mut self) {
        if let Some(summary) = &mut self.summary {
            summary.title = None;
        }
    }

    fn remove_secrets(&mut self) {
        if let Some(summary) = &mut self.summary {
            summary.remove_secrets();
        }
    }

    /// Whether it is the file of a sub-agent, whose cost is in the session that started it.
    pub fn is_subagent(&self) -> bool {
        let summary = self.summary.as_ref();
        summary.map_or_else(
            || is_subagent_file(&self.listed.key),
            |summary| summary.is_subagent,
        )
    }

    fn directory(&self) -> &str {
        self.listed.key.split('/').next().unwrap_or_default()
    }
}

/// The sessions that a query includes, page by page in the order of their keys.
#[derive(Debug)]
pub struct OverviewPages<'a> {
    pages: SessionPages<'a>,
    reader: Option<SessionReader>,
    filter: FilterMatcher<'a>,
    users: Vec<User>,
    emails: HashMap<String, Option<Arc<str>>>,
}

impl<'a> OverviewPages<'a> {
    /// Walks over the sessions on disk, and updates what costs are read from.
    ///
    /// # Errors
    /// If the sessions root or the database can't be read.
    pub fn open(
        source: SessionSource<'a>,
        filter: &'a SessionFilter,
        part: ListRange<'_>,
    ) -> Result<Self, ListingError> {
        let SessionSource {
            config,
            registry,
            store,
            clock,
            ..
        } = source;
        let pages = SessionPages::open(config, registry, store, part, clock.now())?;
        let has_causes = !filter.causes.is_empty();
        let reader = source.reader(has_causes)?;
        let mut matcher = FilterMatcher::new(filter);
        if has_causes {
            let zone = filter.zone.clone().unwrap_or(TimeZone::UTC);
            let found = reader
                .as_ref()
                .map(|reader| reader.sessions_with(&filter.causes, filter.days, &zone));
            matcher.with_causes = Some(found.transpose()?.unwrap_or_default());
        }
        Ok(Self {
            pages,
            reader,
            filter: matcher,
            users: store.map(Store::users).transpose()?.unwrap_or_default(),
            emails: HashMap::new(),
        })
    }

    /// The walk, with its notes.
    pub fn walk(&self) -> &SessionPages<'a> {
        &self.pages
    }

    /// Reads the next sessions, and returns those that match. `None`: there are no more.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn next(&mut self, limit: usize) -> Result<Option<Vec<SessionOverview>>, ListingError> {
        let after = self.pages.after.clone();
        let page = self.pages.next(limit)?;
        let mut sessions = self.matching_after(page, after.as_deref(), SummaryParts::ALL)?;
        sessions
            .iter_mut()
            .flatten()
            .for_each(SessionOverview::remove_secrets);
        Ok(sessions)
    }

    /// Like [`OverviewPages::next`], but only with these parts, with secrets in their texts, and
    /// without states.
    fn next_outlines(
        &mut self,
        parts: SummaryParts<'_>,
    ) -> Result<Option<Vec<SessionOverview>>, ListingError> {
        let after = self.pages.after.clone();
        let page = self.pages.next_without_states(OUTLINED_AT_ONCE)?;
        self.matching_after(page, after.as_deref(), parts)
    }

    /// The matching sessions of a page that begins after a key, with secrets in their texts. `None`:
    /// the page is empty.
    fn matching_after(
        &mut self,
        page: Vec<ListedSession>,
        after: Option<&str>,
        parts: SummaryParts<'_>,
    ) -> Result<Option<Vec<SessionOverview>>, ListingError> {
        let Some(last) = page.last().map(|session| session.key.clone()) else {
            return Ok(None);
        };
        let range = SessionSelection::Range(after, &last);
        self.matching(page, range, parts).map(Some)
    }

    /// The matching sessions of a page, with secrets in their texts. `selection` includes them.
    fn matching(
        &mut self,
        page: Vec<ListedSession>,
        selection: SessionSelection<'_>,
        parts: SummaryParts<'_>,
    ) -> Result<Vec<SessionOverview>, ListingError> {
        let mut summaries = match &self.reader {
            Some(reader) => reader.summaries_with_secrets(selection, parts)?,
            None => HashMap::new(),
        };
        let sessions = page.into_iter().filter_map(|listed| {
            let mut session = SessionOverview {
                user_email: self.email_of(&listed.key),
                summary: summaries.remove(&listed.key).map(Box::new),
                listed,
            };
            self.filter.hide_title(&mut session);
            self.filter.matches(&mut session).then_some(session)
        });
        Ok(sessions.collect())
    }

    fn email_of(&mut self, key: &str) -> Option<Arc<str>> {
        let directory = key.split('/').next().unwrap_or_default();
        if let Some(email) = self.emails.get(directory) {
            return email.clone();
        }
        let email = resolve(&self.users, directory).map(|user| Arc::from(user.email.as_str()));
        self.emails.insert(directory.to_owned(), email.clone());
        email
    }
}

/// The first sessions of a query after a key, in the order of their keys.
///
/// # Errors
/// If the sessions root or the database can't be read.
pub fn first_by_key(
    source: SessionSource<'_>,
    filter: &SessionFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<SessionOverview>, ListingError> {
    let is_filtered = *filter != SessionFilter::default();
    // A filter can skip any number of sessions.
    let part = ListRange {
        after,
        limit: (!is_filtered).then_some(limit),
    };
    let read_at_once = if is_filtered { READ_AT_ONCE } else { limit };
    let mut pages = OverviewPages::open(source, filter, part)?;
    let mut sessions = Vec::new();
    while sessions.len() < limit {
        match pages.next(read_at_once)? {
            Some(page) => sessions.extend(page),
            None => break,
        }
    }
    sessions.truncate(limit);
    Ok(sessions)
}

/// What `usage` extracted from one session.
///
/// # Errors
/// If the database can't be read.
pub fn describe(
    source: SessionSource<'_>,
    shown: &SessionWithDetails,
) -> Result<(SessionOverview, SessionBackground), ListingError> {
    let key = shown.listed.key.as_str();
    let mut session = SessionOverview {
        listed: shown.listed.clone(),
        user_email: None,
        summary: None,
    };
    let mut background = SessionBackground::default();
    if let Some(store) = source.store {
        session.user_email =
            resolve(&store.users()?, session.directory()).map(|user| user.email.as_str().into());
    }
    if let Some(reader) = source.reader(false)? {
        let mut summaries = reader.summaries(SessionSelection::One(key))?;
        session.summary = summaries.remove(key).map(Box::new);
        background = reader.background(key)?;
    }
    Ok((session, background))
}

/// A filter with values that do not depend on the session.
#[derive(Debug)]
struct FilterMatcher<'a> {
    filter: &'a SessionFilter,
    since: Option<UtcMicros>,
    before: Option<UtcMicros>,
    search: Option<String>,
    project: Option<ProjectSelector>,
    /// The ids and directories of the sessions with the causes. `None`: there are no causes.
    with_causes: Option<HashSet<(String, String)>>,
}

impl<'a> FilterMatcher<'a> {
    fn new(filter: &'a SessionFilter) -> Self {
        let zone = filter.zone.clone().unwrap_or(TimeZone::UTC);
        let start = |day: Date| {
            let start = day.to_zoned_datetime(zone.clone()).ok()?;
            Some(UtcMicros(start.timestamp().as_microsecond()))
        };
        let DayRange { since, until } = filter.days;
        Self {
            since: since.and_then(|day| start(day.date())),
            before: until.and_then(|day| start(day.date().tomorrow().ok()?)),
            search: filter.search.as_deref().map(str::to_lowercase),
            project: filter.project.as_deref().map(ProjectSelector::parse),
            with_causes: None,
            filter,
        }
    }

    /// The sessions that the days include.
    fn active(&self) -> WithFigures {
        let (since, mut last) = self.bounds();
        // A session that had a cause on these days can have gone on after them.
        if self.with_causes.is_some() {
            last = UtcMicros(i64::MAX);
        }
        WithFigures::ActiveBetween(since, last)
    }

    /// The first and the last time of the days.
    fn bounds(&self) -> (UtcMicros, UtcMicros) {
        let last = self
            .before
            .map(|before| UtcMicros(before.0.saturating_sub(1)));
        (
            self.since.unwrap_or(UtcMicros(i64::MIN)),
            last.unwrap_or(UtcMicros(i64::MAX)),
        )
    }

    /// Removes the title of a session whose title the caller must not see.
    fn hide_title(&self, session: &mut SessionOverview) {
        let titled = self.filter.titled_directories.as_ref();
        if titled.is_some_and(|titled| !titled.iter().any(|own| own == session.directory())) {
            session.remove_title();
        }
    }

    /// Whether a session has the causes on the days, or its last activity is on the days.
    fn is_in_period(&self, session: &SessionOverview) -> bool {
        let Some(with_causes) = &self.with_causes else {
            let at = session.last_activity();
            return self
                .since
                .is_none_or(|since| at.is_some_and(|at| at >= since))
                && self
                    .before
                    .is_none_or(|before| at.is_some_and(|at| at < before));
        };
        let id = session.summary.as_ref().map(|summary| &summary.session_id);
        id.is_some_and(|id| with_causes.contains(&(id.clone(), session.directory().to_owned())))
    }

    /// Whether a session matches. Removes its states that do not.
    fn matches(&self, session: &mut SessionOverview) -> bool {
        let filter = self.filter;
        let is_in_scope =
            |directories: &Vec<String>| directories.iter().any(|own| own == session.directory());
        if !filter.directories.as_ref().is_none_or(is_in_scope) {
            return false;
        }
        if filter.is_by_state() {
            let processors = &mut session.listed.processors;
            processors.retain(|known| {
                let only = filter.processor.as_deref();
                only.is_none_or(|only| *known.processor == *only)
                    && (filter.states.is_empty() || filter.states.contains(&known.state))
            });
            if processors.is_empty() {
                return false;
            }
        }
        let session = &*session;
        let summary = session.summary.as_deref();
        let is_of_user = |user: &String| {
            session.directory() == user || session.user_email.as_deref() == Some(user.as_str())
        };
        let is_of_project = |wanted: &ProjectSelector| {
            let project = summary.and_then(|summary| summary.project.as_deref());
            project.is_some_and(|project| wanted.matches(project))
        };
        let agent = summary.and_then(|summary| summary.agent.as_ref());
        let is_found = |search: &String| {
            let contains = |text: &str| text.to_lowercase().contains(search.as_str());
            let texts = |summary: &SessionSummary| {
                let (title, project) = (summary.title.as_ref(), summary.project.as_ref());
                [title, project, Some(&summary.session_id)]
                    .into_iter()
                    .flatten()
                    // A search does not find parts of secrets.
                    .any(|text| contains(text) && contains(&shown(text)))
            };
            contains(&session.listed.key) || summary.is_some_and(texts)
        };
        let is_automated = summary.and_then(|summary| summary.is_automated);
        filter.user.as_ref().is_none_or(is_of_user)
            && self.project.as_ref().is_none_or(is_of_project)
            && (filter.agent.is_none() || filter.agent.as_ref() == agent)
            && (filter.is_automated.is_none() || filter.is_automated == is_automated)
            && filter
                .is_subagent
                .is_none_or(|wanted| wanted == session.is_subagent())
            && self.is_in_period(session)
            && self.search.as_ref().is_none_or(is_found)
    }
}

/// The last part of a path of any system.
pub fn last_part(path: &str) -> &str {
    let path = path.trim_end_matches(['/', '\\']);
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

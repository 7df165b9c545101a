//! Lists in the order of a number: the database finds the first sessions, and only these are read.
//!
//! The database knows neither new files nor texts without secrets. Sessions that it cannot rank are
//! few, so they are read one by one. If they are not few, the list is sorted as before.

use std::collections::{BTreeMap, HashSet};

use session_pipeline_store::SessionSelection;

use super::order::{FirstSessions, KEYS_MAX, SortPosition, SortRank, deciding_parts};
use super::{OverviewPages, SessionOverview, SessionQuery, SessionSort};
use crate::identity::resolve;
use crate::listing::{ListedSession, ListingError};
use crate::report::sessions::SummaryParts;
use crate::report::{RankedNumber, SessionRanking};

/// The number of an order. `None`: it is an order of texts.
fn number_of(sort: SessionSort) -> Option<RankedNumber> {
    match sort {
        SessionSort::Recent => Some(RankedNumber::EndedAt),
        SessionSort::Cost => Some(RankedNumber::Cost),
        SessionSort::Messages => Some(RankedNumber::Messages),
        SessionSort::Active => Some(RankedNumber::ActiveSeconds),
        SessionSort::Prompts => Some(RankedNumber::Prompts),
        SessionSort::Tools => Some(RankedNumber::ToolCalls),
        SessionSort::Errors => Some(RankedNumber::ToolErrors),
        SessionSort::Tokens => Some(RankedNumber::Tokens),
        SessionSort::Title
        | SessionSort::User
        | SessionSort::Project
        | SessionSort::Branch
        | SessionSort::Key => None,
    }
}

/// The first sessions of a query after a position. `None`: the database cannot rank them.
///
/// # Errors
/// If the database can't be read.
pub(super) fn first_ranked(
    pages: &mut OverviewPages<'_>,
    query: &SessionQuery,
    after: Option<&SortPosition>,
    limit: usize,
) -> Result<Option<BTreeMap<SortPosition, SessionOverview>>, ListingError> {
    let filter = &query.filter;
    let (Some(number), Some(reader), false) =
        (number_of(query.sort), &pages.reader, filter.is_by_id())
    else {
        return Ok(None);
    };
    // A position in an order of texts is not one of this list.
    let Ok(place) = after
        .map(|after| after.number(query.is_reversed).ok_or(()))
        .transpose()
    else {
        return Ok(None);
    };
    let Some(unranked) = unranked(pages)? else {
        return Ok(None);
    };
    let by_user = filter.user.as_ref().map(|user| -> Result<_, ListingError> {
        let is_of_user = |directory: &String| {
            directory == user
                || resolve(&pages.users, directory).is_some_and(|found| found.email == *user)
        };
        let directories = reader.directories()?.into_iter();
        Ok(directories.filter(is_of_user).collect::<Vec<_>>())
    });
    let mut directories = by_user.transpose()?;
    if let Some(scope) = &filter.directories {
        match &mut directories {
            Some(directories) => directories.retain(|own| scope.contains(own)),
            None => directories = Some(scope.clone()),
        }
    }
    let bounds = &pages.filter;
    let active = (bounds.since, bounds.before);
    let columns = super::order::deciding_columns(query);
    let ranking = SessionRanking {
        number,
        is_ascending: query.is_reversed,
        after: place,
        directories: directories.as_deref(),
        project: bounds.project.as_ref(),
        agent: filter.agent.as_deref(),
        is_automated: filter.is_automated,
        is_subagent: filter.is_subagent,
        active: (active != (None, None)).then(|| bounds.bounds()),
        limit,
        parts: deciding_parts(bounds, query, &columns),
    };
    let ranked = reader.first_keys(&ranking)?;
    let mut first = FirstSessions::new(query, after, limit);
    for keys in [unranked, ranked] {
        first.extend(read(pages, keys)?);
    }
    let mut sessions: Vec<&mut SessionOverview> = first.sessions.values_mut().collect();
    sessions.sort_unstable_by(|one, two| one.listed.key.cmp(&two.listed.key));
    let keys: Vec<String> = sessions
        .iter()
        .map(|session| session.listed.key.clone())
        .collect();
    let listed = sessions.into_iter().map(|session| {
        session.remove_secrets();
        &mut session.listed
    });
    pages
        .pages
        .add_states(listed, SessionSelection::Keys(&keys))?;
    Ok(Some(first.sessions))
}

/// The matching sessions with these keys, in full, with secrets in their texts.
fn read(
    pages: &mut OverviewPages<'_>,
    mut keys: Vec<String>,
) -> Result<Vec<SessionOverview>, ListingError> {
    keys.sort_unstable();
    let page = keys.iter().map(|key| ListedSession {
        key: key.clone(),
        file: pages.pages.found.get(key).copied(),
        processors: Vec::new(),
    });
    let page = page.collect();
    pages.matching(page, SessionSelection::Keys(&keys), SummaryParts::ALL)
}

/// The keys of the sessions that the database does not rank. `None`: they are many, or it ranks
/// sessions that a list does not have.
fn unranked(pages: &OverviewPages<'_>) -> Result<Option<Vec<String>>, ListingError> {
    let Some(reader) = pages.reader.as_ref().filter(|reader| reader.has_ends()) else {
        return Ok(None);
    };
    let found = &pages.pages.found;
    let mut keys: HashSet<String> = reader.unranked_keys(KEYS_MAX + 1)?.into_iter().collect();
    if !found.is_empty() {
        let ranked: HashSet<String> = reader.ended_keys()?.into_iter().collect();
        let new = found.keys().filter(|key| !ranked.contains(*key));
        keys.extend(new.take(KEYS_MAX + 1).cloned());
    }
    let forgotten = reader.forgotten_keys(KEYS_MAX + 1)?;
    let is_exact =
        forgotten.len() <= KEYS_MAX && forgotten.iter().all(|key| found.contains_key(key));
    Ok((is_exact && keys.len() <= KEYS_MAX).then(|| keys.into_iter().collect()))
}

impl SortPosition {
    /// The number and the key of a position. `None`: it is not one in an order of numbers.
    fn number(&self, is_reversed: bool) -> Option<(Option<i64>, &str)> {
        let Self(rank, key) = self;
        let number = match rank {
            SortRank::Number(rank) if is_reversed => Some(*rank),
            SortRank::Number(rank) => Some(rank.saturating_neg()),
            SortRank::Absent => None,
            SortRank::Text(_) | SortRank::ReversedText(_) => return None,
        };
        Some((number, key))
    }
}

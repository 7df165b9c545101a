//! Why a list is empty: a filter has a value that no session has, or the filters exclude each other.
//! Without a notice, a mistyped name looks like no sessions.

use super::{OverviewPages, SessionFilter, SessionOverview, SessionSource};
use crate::listing::{ListRange, ListingError};
use crate::nearest::FilterValue;
use crate::report::project::ProjectSelector;
use crate::report::project_name;
use crate::report::sessions::{SummaryParts, WithFigures};

/// The notices on an empty list. Call it only for those, because it reads all sessions.
///
/// # Errors
/// If the sessions root or the database can't be read.
pub fn notices(
    source: SessionSource<'_>,
    filter: &SessionFilter,
) -> Result<Vec<String>, ListingError> {
    let mut values = FilterValues {
        user: filter
            .user
            .as_deref()
            .map(|user| FilterValue::new("user", user)),
        project: filter.project.as_deref().map(|project| {
            let value = FilterValue::new("project", project);
            (value, ProjectSelector::parse(project))
        }),
        agent: filter
            .agent
            .as_deref()
            .map(|agent| FilterValue::new("agent", agent)),
    };
    let causes = match filter.causes.is_empty() {
        true => Vec::new(),
        false => cause_notices(source, filter)?,
    };
    if values.user.is_none() && values.project.is_none() && values.agent.is_none() {
        return Ok(match filter.causes.is_empty() {
            true => causes,
            false => or_no_match(causes),
        });
    }
    let scope = SessionFilter {
        directories: filter.directories.clone(),
        ..SessionFilter::default()
    };
    let parts = SummaryParts {
        figures: WithFigures::None,
        columns: Some(&["project", "cwd", "agent"]),
    };
    let mut pages = OverviewPages::open(source, &scope, ListRange::default())?;
    while let Some(sessions) = pages.next_outlines(parts)? {
        for session in &sessions {
            values.consider(session);
        }
    }
    let mut notices = values.notices();
    notices.extend(causes);
    Ok(or_no_match(notices))
}

fn cause_notices(
    source: SessionSource<'_>,
    filter: &SessionFilter,
) -> Result<Vec<String>, ListingError> {
    let Some(reader) = source.reader(true)? else {
        return Ok(Vec::new());
    };
    Ok(reader.cause_notices(&filter.causes, filter.directories.as_deref())?)
}

/// The notices, or one that says that each name is known.
fn or_no_match(notices: Vec<String>) -> Vec<String> {
    match notices.is_empty() {
        true => vec!["no session matches all filters, although each name is known".to_owned()],
        false => notices,
    }
}

/// The filters that name something.
struct FilterValues<'a> {
    user: Option<FilterValue<'a>>,
    project: Option<(FilterValue<'a>, ProjectSelector)>,
    agent: Option<FilterValue<'a>>,
}

impl FilterValues<'_> {
    fn consider(&mut self, session: &SessionOverview) {
        let summary = session.summary.as_deref();
        if let Some(user) = &mut self.user {
            for name in [Some(session.directory()), session.user_email.as_deref()] {
                name.into_iter().for_each(|name| user.consider(name));
            }
        }
        let path = summary.and_then(|summary| summary.project.as_deref());
        if let (Some((project, selector)), Some(path)) = (&mut self.project, path) {
            if selector.matches(path) {
                project.find();
            }
            project.consider(match selector {
                ProjectSelector::Name(_) => project_name(path),
                ProjectSelector::Path(_) | ProjectSelector::LastParts(_) => path,
            });
        }
        let name = summary.and_then(|summary| summary.agent.as_deref());
        if let (Some(agent), Some(name)) = (&mut self.agent, name) {
            agent.consider(name);
        }
    }

    fn notices(self) -> Vec<String> {
        let project = self.project.map(|(value, _)| value);
        let values = [self.user, project, self.agent];
        let unknown = values
            .into_iter()
            .flatten()
            .filter(|value| !value.is_known());
        unknown.map(|value| value.notice("session")).collect()
    }
}

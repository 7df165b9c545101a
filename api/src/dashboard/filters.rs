//! The filters of a page. All of them are in its address, so that a link shows the same figures.

use clap::ValueEnum as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use session_pipeline_host::clock::UtcMicros;

use crate::body::grouping::AgentParam;
use crate::percent::encode;

/// The query of a page. Unknown parameters are ignored, so that old links work.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FilterQuery {
    range: Option<String>,
    since: Option<String>,
    until: Option<String>,
    tz: Option<String>,
    user: Option<String>,
    project: Option<String>,
    model: Option<String>,
    agent: Option<String>,
}

/// A period that is relative to today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// The last 7 days, including today.
    Week,
    /// The last 30 days.
    Month,
    /// The last 90 days.
    Quarter,
    /// Everything.
    All,
    /// The days in the address.
    Days,
}

impl Range {
    pub(super) const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Week, "7d", "Last 7 days"),
        (Self::Month, "30d", "Last 30 days"),
        (Self::Quarter, "90d", "Last 90 days"),
        (Self::All, "all", "All time"),
        (Self::Days, "days", "From – to"),
    ];

    fn days(self) -> Option<i64> {
        match self {
            Self::Week => Some(7),
            Self::Month => Some(30),
            Self::Quarter => Some(90),
            Self::All | Self::Days => None,
        }
    }
}

/// The filters.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    pub(super) range: Range,
    pub(super) since: Option<Date>,
    pub(super) until: Option<Date>,
    /// The name of the time zone.
    pub(super) zone: String,
    /// Whether the address names the zone.
    pub(super) is_zoned: bool,
    pub(super) user: Option<String>,
    pub(super) project: Option<String>,
    pub(super) model: Option<String>,
    /// A coding agent, by its name in the API.
    pub(super) agent: Option<String>,
    /// What is wrong with the address. The parameter is ignored.
    pub(super) errors: Vec<String>,
}

impl Filters {
    /// Reads the filters of an address.
    pub(super) fn of(query: &FilterQuery, now: UtcMicros) -> Self {
        let mut errors = Vec::new();
        let wanted = text(query.tz.as_deref());
        let zone = wanted.as_deref().map_or(Ok(TimeZone::UTC), TimeZone::get);
        let is_zoned = wanted.is_some() && zone.is_ok();
        let zone = zone.unwrap_or_else(|_| {
            errors.push("The time zone in the address is unknown, so days are in UTC.".to_owned());
            TimeZone::UTC
        });
        let mut day = |name: &str, value: Option<&str>| {
            let value = text(value)?;
            value
                .parse::<Date>()
                .inspect_err(|_| {
                    errors.push(format!(
                        "“{name}” in the address is not a day such as 2026-01-31, so it is ignored."
                    ));
                })
                .ok()
        };
        let (mut since, mut until) = (
            day("since", query.since.as_deref()),
            day("until", query.until.as_deref()),
        );
        if let (Some(first), Some(last)) = (since, until)
            && last < first
        {
            (since, until) = (until, since);
        }
        let agent = text(query.agent.as_deref());
        let known = agent
            .as_deref()
            .and_then(|agent| AgentParam::from_str(agent, false).ok());
        if known.is_none() && agent.is_some() {
            errors.push(
                "“agent” in the address is not a known coding agent, so it is ignored.".to_owned(),
            );
        }
        let range = match query.range.as_deref() {
            Some(name) => Range::ALL
                .iter()
                .find(|(_, short, _)| *short == name)
                .map(|found| found.0),
            None if since.is_some() || until.is_some() => Some(Range::Days),
            None => None,
        };
        let range = range.unwrap_or(Range::Month);
        if let Some(days) = range.days() {
            let today = Timestamp::from_microsecond(now.0)
                .map(|now| zone.to_datetime(now).date())
                .unwrap_or(Date::MIN);
            since = today.checked_sub((days - 1).days()).ok();
            until = Some(today);
        } else if range == Range::All {
            (since, until) = (None, None);
        }
        Self {
            range,
            since,
            until,
            zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            is_zoned,
            user: text(query.user.as_deref()),
            project: text(query.project.as_deref()),
            model: text(query.model.as_deref()),
            agent: known.map(|agent| agent.name().to_owned()),
            errors,
        }
    }

    /// The period of the same length before this one. `None` for an open period.
    pub(super) fn previous(&self) -> Option<Self> {
        let (since, until) = (self.since?, self.until?);
        let days = (until - since).get_days() + 1;
        let start = since.checked_sub(i64::from(days).days()).ok();
        Some(Self {
            range: Range::Days,
            // The API has no days before the year 1.
            since: Some(start.filter(|day| day.year() > 0)?),
            until: since.checked_sub(1.day()).ok(),
            ..self.clone()
        })
    }

    /// The parameters of a report of the API, without empty ones.
    pub(super) fn report(&self) -> Vec<(&'static str, String)> {
        let mut parameters = self.days();
        parameters.push(("tz", self.zone.clone()));
        parameters.extend(self.named());
        parameters
    }

    /// The first and last day.
    pub(super) fn days(&self) -> Vec<(&'static str, String)> {
        let day = |name, day: Option<Date>| day.map(|day| (name, day.to_string()));
        [day("since", self.since), day("until", self.until)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The parameters of a report on files, which have no model.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let mut parameters = self.report();
        parameters.retain(|(name, _)| *name != "model");
        parameters
    }

    /// The filters that name something, with its value.
    pub(super) fn named(&self) -> Vec<(&'static str, String)> {
        [
            ("user", &self.user),
            ("project", &self.project),
            ("model", &self.model),
            ("agent", &self.agent),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect()
    }

    /// The parameters of a page with these filters.
    pub(super) fn page(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        match self.range {
            Range::Days => parameters.extend(self.days()),
            Range::Month => {}
            range => {
                let short = Range::ALL.iter().find(|found| found.0 == range);
                parameters.extend(short.map(|found| ("range", found.1.to_owned())));
            }
        }
        if self.is_zoned {
            parameters.push(("tz", self.zone.clone()));
        }
        parameters.extend(self.named());
        parameters
    }

    /// The address of a page with these filters, and with other values for some parameters. An empty
    /// value removes one.
    pub(super) fn link(&self, path: &str, changes: &[(&'static str, &str)]) -> String {
        let mut parameters = self.page();
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, (*value).to_owned()));
            }
        }
        address(path, &parameters)
    }
}

/// A path with a query.
pub(super) fn address<N: AsRef<str>, V: AsRef<str>>(path: &str, parameters: &[(N, V)]) -> String {
    let mut address = path.to_owned();
    for (index, (name, value)) in parameters.iter().enumerate() {
        address.push(if index == 0 { '?' } else { '&' });
        address.push_str(name.as_ref());
        address.push('=');
        address.push_str(&encode(value.as_ref()));
    }
    address
}

fn text(value: Option<&str>) -> Option<String> {
    let value = value?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use session_pipeline_host::clock::UtcMicros;

    use super::{FilterQuery, Filters, Range};

    fn filters(query: FilterQuery) -> Filters {
        // 2026-03-01 23:30 UTC.
        Filters::of(&query, UtcMicros(1_772_407_800_000_000))
    }

    #[test]
    fn a_range_ends_today_in_the_zone_of_the_reader() {
        let query = FilterQuery {
            tz: Some("Europe/Berlin".to_owned()),
            range: Some("7d".to_owned()),
            ..FilterQuery::default()
        };
        let found = filters(query);
        assert_eq!(found.since.unwrap().to_string(), "2026-02-24");
        assert_eq!(found.until.unwrap().to_string(), "2026-03-02");
        let previous = found.previous().unwrap();
        assert_eq!(previous.since.unwrap().to_string(), "2026-02-17");
        assert_eq!(previous.until.unwrap().to_string(), "2026-02-23");
        assert_eq!(
            found.link("/", &[("user", "a&b")]),
            "/?range=7d&tz=Europe%2FBerlin&user=a%26b"
        );
    }

    #[test]
    fn an_agent_is_one_that_the_api_knows() {
        let of = |agent: &str| {
            filters(FilterQuery {
                agent: Some(agent.to_owned()),
                ..FilterQuery::default()
            })
        };
        let codex = of("codex");
        assert_eq!(codex.link("/", &[]), "/?agent=codex");
        assert!(codex.errors.is_empty());
        let other = of("<b>");
        assert_eq!((other.agent.as_deref(), other.errors.len()), (None, 1));
        assert!(of("").errors.is_empty());
    }

    #[test]
    fn an_invalid_address_shows_the_default_and_says_so() {
        let query = FilterQuery {
            tz: Some("Mars/Olympus".to_owned()),
            since: Some("yesterday".to_owned()),
            ..FilterQuery::default()
        };
        let found = filters(query);
        assert_eq!(found.range, Range::Month);
        assert_eq!(found.errors.len(), 2);
        assert_eq!(found.zone, "UTC");
    }
}

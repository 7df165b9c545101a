//! Budgets for the cost of the agents: what was spent in the current period, compared with the
//! limits in the config file.
//!
//! A budget only reports. It never stops an agent, a run or a request.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_host::fault::{error_chain, printable};
use session_pipeline_store::money::Usd;
use session_pipeline_store::{Store, StoreError};

use crate::config::{BudgetPeriod, BudgetScope, Config, CostBudget};
use crate::report::{Freshness, PriceTable, PriceTableError, Spending, SpendingSnapshot};

/// Maximum length of a user or project in messages, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// The budgets with the cost of their current periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReport {
    /// The budgets, in the order of the config file.
    pub budgets: Vec<BudgetUse>,
    /// When the cost was read.
    pub at: UtcMicros,
}

/// A budget with the cost of its current period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// The budget.
    pub budget: CostBudget,
    /// The first instant of the period.
    pub period_start: UtcMicros,
    /// What was spent, most first. Users and projects without cost are left out. A total is always
    /// present.
    pub spending: Vec<Spending>,
}

/// Why the budgets could not be compared with the cost.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// The database can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operator's prices are invalid.
    #[error(transparent)]
    Prices(#[from] PriceTableError),
}

impl BudgetError {
    /// The error with its causes, in one line.
    pub fn text(&self) -> String {
        printable(&error_chain(self))
    }
}

impl BudgetReport {
    /// Compares all budgets with the cost. `None`: no budget is configured.
    ///
    /// # Errors
    /// The database or the prices can't be read.
    pub fn read(
        config: &Config,
        store: Option<&Store>,
        freshness: Freshness,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, BudgetError> {
        if config.budgets.is_empty() {
            return Ok(None);
        }
        let snapshot = match store {
            Some(store) => {
                let prices = PriceTable::load(config)?;
                SpendingSnapshot::open(store, &prices, freshness, clock)?
            }
            None => None,
        };
        Self::of(config, snapshot.as_ref(), clock.now()).map(Some)
    }

    /// Compares all budgets with the cost in a snapshot. `None`: nothing was processed yet.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn of(
        config: &Config,
        snapshot: Option<&SpendingSnapshot>,
        now: UtcMicros,
    ) -> Result<Self, BudgetError> {
        let budget_use = |budget: &CostBudget| -> Result<BudgetUse, BudgetError> {
            let period_start = period_start(budget.period, now);
            let mut spending = match snapshot {
                Some(snapshot) => snapshot.spending(budget.scope, period_start)?,
                None => Vec::new(),
            };
            if budget.scope == BudgetScope::Total && spending.is_empty() {
                spending.push(Spending {
                    subject: None,
                    cost: Usd::default(),
                    is_lower_bound: false,
                });
            }
            Ok(BudgetUse {
                budget: budget.clone(),
                period_start,
                spending,
            })
        };
        let budgets = config.budgets.iter().map(budget_use);
        Ok(Self {
            budgets: budgets.collect::<Result<_, _>>()?,
            at: now,
        })
    }
}

impl BudgetUse {
    /// The users or projects that reached a share of the limit, most expensive first.
    pub fn at_or_above(&self, permille: u32) -> impl Iterator<Item = &Spending> {
        let reached = move |spending: &&Spending| self.has_reached(spending, permille);
        self.spending.iter().filter(reached)
    }

    /// Whether the cost reached a share of the limit, in thousandths. Exact.
    pub fn has_reached(&self, spending: &Spending, permille: u32) -> bool {
        let limit = self.budget.limit.pico_dollars;
        spending.cost.pico_dollars.saturating_mul(1000)
            >= limit.saturating_mul(i128::from(permille))
    }

    /// The cost as a share of the limit. The limit is at least one cent.
    pub fn share(&self, spending: &Spending) -> f64 {
        spending.cost.dollars() / self.budget.limit.dollars()
    }

    /// The highest share of the limit that any user or project reached.
    pub fn highest_share(&self) -> f64 {
        let first = self.spending.first();
        first.map_or(0.0, |spending| self.share(spending))
    }
}

impl fmt::Display for CostBudget {
    /// The budget in words: `$50.00 per week and user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", dollars(self.limit), self.period.as_str())?;
        match self.scope {
            BudgetScope::User => f.write_str(" and user"),
            BudgetScope::Project => f.write_str(" and project"),
            BudgetScope::Total => Ok(()),
        }
    }
}

/// An amount with two decimals: `$41.20`.
pub fn dollars(amount: Usd) -> String {
    let (dollars, cents) = amount.cents();
    format!("${dollars}.{cents:02}")
}

/// The name of a user or project for people, without control characters.
pub fn subject_name(scope: BudgetScope, subject: Option<&str>) -> String {
    match (scope, subject) {
        (BudgetScope::Total, _) => "all users".to_owned(),
        (_, Some(subject)) => {
            let cut: String = subject.chars().take(SUBJECT_CHARS_MAX).collect();
            printable(&cut)
        }
        (BudgetScope::Project, None) => "(no project)".to_owned(),
        (BudgetScope::User, None) => "(no user)".to_owned(),
    }
}

/// The first instant of the period that contains an instant, in UTC.
pub fn period_start(period: BudgetPeriod, now: UtcMicros) -> UtcMicros {
    let now = Timestamp::from_microsecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
    let today = TimeZone::UTC.to_datetime(now).date();
    let first: Date = match period {
        BudgetPeriod::Day => today,
        BudgetPeriod::Week => {
            let days = i64::from(today.weekday().to_monday_zero_offset());
            today.saturating_sub(days.days())
        }
        BudgetPeriod::Month => today.first_of_month(),
    };
    let start = first.to_zoned_datetime(TimeZone::UTC);
    UtcMicros(start.map_or(0, |start| start.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_midnight_in_utc() {
        for (period, now, start) in [
            (
                BudgetPeriod::Day,
                "2026-03-01T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Day,
                "2026-03-01T23:59:59.999999Z",
                "2026-03-01T00:00:00Z",
            ),
            // A Sunday and a Monday.
            (
                BudgetPeriod::Week,
                "2026-03-01T12:00:00Z",
                "2026-02-23T00:00:00Z",
            ),
            (
                BudgetPeriod::Week,
                "2026-03-02T00:00:00Z",
                "2026-03-02T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2026-02-28T23:00:00Z",
                "2026-02-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2026-12-31T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
        ] {
            let start: UtcMicros = start.parse().unwrap();
            assert_eq!(
                period_start(period, now.parse().unwrap()),
                start,
                "{period:?} {now}"
            );
        }
    }

    #[test]
    fn a_mark_is_reached_exactly_at_its_share() {
        let budget_use = BudgetUse {
            budget: CostBudget {
                scope: BudgetScope::Total,
                limit: Usd {
                    pico_dollars: 10_000_000_000_000,
                },
                period: BudgetPeriod::Day,
                warn_at_permille: 800,
            },
            period_start: UtcMicros(0),
            spending: Vec::new(),
        };
        let spent = |pico_dollars| Spending {
            subject: None,
            cost: Usd { pico_dollars },
            is_lower_bound: false,
        };
        assert!(!budget_use.has_reached(&spent(7_999_999_999_999), 800));
        assert!(budget_use.has_reached(&spent(8_000_000_000_000), 800));
        assert!(budget_use.has_reached(&spent(i128::MAX), 1000));
        assert_eq!(budget_use.budget.to_string(), "$10.00 per day");
    }
}

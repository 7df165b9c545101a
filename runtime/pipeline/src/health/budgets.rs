//! Warns about budgets that are nearly used up. Never an error: a budget stops nothing.

use serde::Serialize;
use session_pipeline_store::money::Usd;

use crate::budgets::{BudgetError, BudgetReport, BudgetUse, dollars, subject_name};
use crate::health::{CheckAudience, CheckFigures, CheckResult, CheckStatus, HealthReport};

/// Maximum number of users and projects in a detail, and of a budget in the figures. The others are
/// only counted.
const SUBJECTS_MAX: usize = 10;

/// The budgets with the cost of their current periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetsFigures {
    /// The budgets.
    pub budgets: Vec<BudgetFigures>,
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetFigures {
    /// What the budget applies to: `user`, `project` or `total`.
    pub scope: &'static str,
    /// The length of the period: `day`, `week` or `month`.
    pub per: &'static str,
    /// The limit for a period.
    pub limit_usd: Usd,
    /// The share of the limit from which the check warns, in thousandths.
    pub warn_at_permille: u32,
    /// The first instant of the period.
    pub period_start: String,
    /// The number of users or projects at or above the mark.
    pub reached: usize,
    /// The users or projects with the highest cost.
    pub highest: Vec<BudgetSubject>,
}

/// The cost of a user, a project or everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetSubject {
    /// The user or project.
    pub subject: String,
    /// The cost in the period.
    pub spent_usd: Usd,
    /// Whether messages without a price are missing in the cost.
    pub is_lower_bound: bool,
}

impl HealthReport {
    /// Adds a check of the budgets, if there are any.
    #[must_use]
    pub fn with_budgets(mut self, budgets: &Result<Option<BudgetReport>, BudgetError>) -> Self {
        let entry = match budgets {
            Ok(None) => return self,
            Ok(Some(report)) => judge(report),
            Err(error) => CheckResult::new(CheckStatus::Unknown, CheckFigures::None {}).detail(
                format!("cannot compare the budgets with the cost: {}", error.text()),
            ),
        };
        let entry = CheckResult {
            audience: CheckAudience::Analyst,
            ..entry
        };
        self.entries.insert("budgets".to_owned(), entry);
        self
    }
}

fn judge(report: &BudgetReport) -> CheckResult {
    let mut reached = Vec::new();
    for budget_use in &report.budgets {
        let marked = budget_use.at_or_above(budget_use.budget.warn_at_permille);
        reached.extend(marked.map(|spending| {
            let least = if spending.is_lower_bound {
                "at least "
            } else {
                ""
            };
            format!(
                "{}: {least}{} ({}%) of {}",
                subject_name(budget_use.budget.scope, spending.subject.as_deref()),
                dollars(spending.cost),
                (budget_use.share(spending) * 100.0).floor(),
                budget_use.budget,
            )
        }));
    }
    let figures = CheckFigures::Budgets(BudgetsFigures {
        budgets: report.budgets.iter().map(figures).collect(),
    });
    if reached.is_empty() {
        return CheckResult::new(CheckStatus::Ok, figures);
    }
    let more = reached.len().saturating_sub(SUBJECTS_MAX);
    reached.truncate(SUBJECTS_MAX);
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    CheckResult::new(CheckStatus::Warning, figures)
        .detail(format!(
            "budgets nearly or fully used: {}{more}",
            reached.join("; ")
        ))
        .next("session-pipeline report usage --by day, and docs/monitoring.md for budgets")
}

fn figures(budget_use: &BudgetUse) -> BudgetFigures {
    let budget = &budget_use.budget;
    let highest = budget_use.spending.iter().take(SUBJECTS_MAX);
    BudgetFigures {
        scope: budget.scope.as_str(),
        per: budget.period.as_str(),
        limit_usd: budget.limit,
        warn_at_permille: budget.warn_at_permille,
        period_start: budget_use.period_start.to_string(),
        reached: budget_use.at_or_above(budget.warn_at_permille).count(),
        highest: highest
            .map(|spending| BudgetSubject {
                subject: subject_name(budget.scope, spending.subject.as_deref()),
                spent_usd: spending.cost,
                is_lower_bound: spending.is_lower_bound,
            })
            .collect(),
    }
}

//! Notifications: one message to a webhook for every mark of a budget that is reached.
//!
//! A message is sent at most once per mark, user or project, and period, across restarts and
//! crashes. [`session_pipeline_store::BudgetCrossing`] has the state. A message is repeated only if
//! the receiver certainly did not accept it: no connection, or status 429 or 503.

mod message;
mod webhook;

use std::time::Duration;

use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::sandbox::sha256_hex;
use session_pipeline_store::{
    BudgetCrossing, NotificationResult, NotificationState, Store, StoreError,
};

use crate::budgets::{BudgetReport, BudgetUse};
use crate::config::{Config, WebhookUrl};
use crate::report::Spending;

use message::body;
use webhook::{Delivery, Webhook};

/// The mark at which a budget is used up, in thousandths.
const USED_UP: u32 = 1000;
/// Attempts to send a message. With the pauses below, they take about eight hours.
const ATTEMPTS_MAX: u32 = 12;
/// The pause after the first attempt. It doubles after every further one.
const PAUSE_MIN: Duration = Duration::from_secs(30);
/// Maximum pause between two attempts, including one that the receiver asks for.
const PAUSE_MAX: Duration = Duration::from_secs(2 * 3600);
/// Maximum number of messages per call, so that a wrong budget does not flood a channel for long.
const MESSAGES_MAX: usize = 20;

/// Sends notifications. There is at most one per process.
#[derive(Debug)]
pub struct Notifier {
    webhook: Webhook,
}

impl Notifier {
    /// Prepares the notifications, and marks those that a previous process was sending as unknown.
    /// `None`: no webhook is configured.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn open(
        config: &Config,
        store: &Store,
        now: UtcMicros,
    ) -> Result<Option<Self>, StoreError> {
        let Some(url) = &config.notify.webhook else {
            return Ok(None);
        };
        let abandoned = store.abandon_notifications(now)?;
        if abandoned > 0 {
            tracing::warn!(
                abandoned,
                "notifications were being sent when the last process ended; they are not sent again, because the receiver could have them"
            );
        }
        let webhook = Webhook::new(url.clone(), config.llm.proxy.clone());
        Ok(Some(Self { webhook }))
    }

    /// Records the marks that were reached, and sends the messages that are due. Blocks until the
    /// receiver has answered. `is_stopping` ends it between two messages.
    ///
    /// # Errors
    /// The database failed.
    pub fn notify(
        &self,
        config: &Config,
        store: &Store,
        report: &BudgetReport,
        clock: &dyn Fn() -> UtcMicros,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(), StoreError> {
        record(store, report)?;
        for id in store.due_notifications(clock())?.iter().take(MESSAGES_MAX) {
            if is_stopping() {
                break;
            }
            let Some(pending) = store.begin_notification(id)? else {
                continue;
            };
            let body = body(&pending.crossing, config.notify.format);
            let delivery = self.webhook.send(&pending.crossing.id, body);
            let now = clock();
            let result = result_of(delivery, pending.attempts, now);
            if result.state != NotificationState::Delivered {
                tracing::warn!(
                    webhook = %self.url(),
                    state = result.state.as_str(),
                    reason = result.detail.as_deref().unwrap_or_default(),
                    "a notification was not delivered"
                );
            }
            store.end_notification(id, result, now)?;
        }
        Ok(())
    }

    fn url(&self) -> &WebhookUrl {
        self.webhook.url()
    }
}

/// Records the marks that were reached and are not recorded yet.
fn record(store: &Store, report: &BudgetReport) -> Result<(), StoreError> {
    let known = store.crossing_ids()?;
    let mut crossings = Vec::new();
    // After lost commits, the same mark could have been recorded and sent before.
    let is_uncertain = store.lost_commits()? > 0;
    for budget_use in &report.budgets {
        for spending in &budget_use.spending {
            let marks = reached(budget_use, spending);
            let marks = marks.map(|mark| crossing(budget_use, spending, mark, report.at));
            let mut is_highest = true;
            for crossing in marks {
                let state = match is_highest && !is_uncertain {
                    true => NotificationState::Pending,
                    false => NotificationState::Suppressed,
                };
                is_highest = false;
                if !known.contains(&crossing.id) {
                    crossings.push((crossing, state));
                }
            }
        }
    }
    if crossings.is_empty() {
        return Ok(());
    }
    store.record_crossings(crossings, report.at).map(drop)
}

/// The marks that were reached, highest first.
fn reached<'a>(
    budget_use: &'a BudgetUse,
    spending: &'a Spending,
) -> impl Iterator<Item = u32> + 'a {
    let warning = budget_use.budget.warn_at_permille;
    let marks = [Some(USED_UP), (warning < USED_UP).then_some(warning)];
    let has_reached = |mark: &u32| budget_use.has_reached(spending, *mark);
    marks.into_iter().flatten().filter(has_reached)
}

fn crossing(
    budget_use: &BudgetUse,
    spending: &Spending,
    mark_permille: u32,
    now: UtcMicros,
) -> BudgetCrossing {
    let budget = &budget_use.budget;
    let identity = serde_json::json!([
        budget.scope.as_str(),
        spending.subject,
        budget.period.as_str(),
        budget_use.period_start.0,
        budget.limit.pico_dollars.to_string(),
        mark_permille,
    ]);
    BudgetCrossing {
        id: sha256_hex(identity.to_string().as_bytes()),
        scope: budget.scope.as_str().to_owned(),
        subject: spending.subject.clone(),
        period: budget.period.as_str().to_owned(),
        period_start: budget_use.period_start,
        limit: budget.limit,
        mark_permille,
        spent: spending.cost,
        crossed_at: now,
    }
}

fn result_of(delivery: Delivery, attempts: u32, now: UtcMicros) -> NotificationResult {
    match delivery {
        Delivery::Accepted => NotificationResult {
            state: NotificationState::Delivered,
            next_attempt_at: now,
            detail: None,
        },
        Delivery::Unknown(reason) => NotificationResult {
            state: NotificationState::Unknown,
            next_attempt_at: now,
            detail: Some(reason),
        },
        Delivery::Rejected(reason) => NotificationResult {
            state: NotificationState::Failed,
            next_attempt_at: now,
            detail: Some(reason),
        },
        Delivery::NotSent {
            reason,
            retry_after,
        } => {
            let doublings = attempts.saturating_sub(1).min(16);
            let pause = PAUSE_MIN.saturating_mul(1 << doublings);
            let pause = pause.max(retry_after.unwrap_or_default()).min(PAUSE_MAX);
            NotificationResult {
                state: match attempts < ATTEMPTS_MAX {
                    true => NotificationState::Pending,
                    false => NotificationState::Failed,
                },
                next_attempt_at: now.plus(pause),
                detail: Some(reason),
            }
        }
    }
}

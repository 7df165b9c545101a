//! The text of a notification.

use serde_json::json;
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store::BudgetCrossing;

use crate::budgets::{dollars, subject_name};
use crate::config::{BudgetScope, WebhookFormat};

/// The body of a message.
pub(super) fn body(crossing: &BudgetCrossing, format: WebhookFormat) -> String {
    let text = text(crossing);
    let body = match format {
        WebhookFormat::Slack => json!({ "text": slack_text(&text) }),
        WebhookFormat::Json => json!({
            "id": crossing.id,
            "event": "budget_reached",
            "text": text,
            "scope": crossing.scope,
            "subject": crossing.subject,
            "period": crossing.period,
            "period_start": crossing.period_start.to_string(),
            "limit_usd": crossing.limit.dollars(),
            "spent_usd": crossing.spent.dollars(),
            "mark": f64::from(crossing.mark_permille) / 1000.0,
            "at": crossing.crossed_at.to_string(),
        }),
    };
    body.to_string()
}

/// The message in one sentence.
fn text(crossing: &BudgetCrossing) -> String {
    let scope = BudgetScope::ALL.into_iter();
    let scope = scope
        .into_iter()
        .find(|scope| scope.as_str() == crossing.scope);
    let subject = subject_name(
        scope.unwrap_or(BudgetScope::Total),
        crossing.subject.as_deref(),
    );
    let limit = crossing.limit.pico_dollars.max(1);
    let percent = crossing.spent.pico_dollars.saturating_mul(100) / limit;
    format!(
        "Cost of {subject}: {} of {} ({percent}%) in the {} since {}",
        dollars(crossing.spent),
        dollars(crossing.limit),
        crossing.period,
        day(crossing.period_start),
    )
}

fn day(at: UtcMicros) -> String {
    let text = at.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Escapes the three characters that have a meaning for Slack, so that the name of a project cannot
/// add a link or mention everyone in a channel.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use session_pipeline_store::money::Usd;

    use super::*;

    fn crossing(subject: &str) -> BudgetCrossing {
        let usd = |dollars: i128| Usd {
            pico_dollars: dollars * 1_000_000_000_000,
        };
        BudgetCrossing {
            id: "f00".to_owned(),
            scope: "project".to_owned(),
            subject: Some(subject.to_owned()),
            period: "week".to_owned(),
            period_start: "2026-03-02T00:00:00Z".parse().unwrap(),
            limit: usd(50),
            mark_permille: 800,
            spent: usd(41),
            crossed_at: "2026-03-04T05:06:07Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_message_has_every_figure() {
        let body: serde_json::Value =
            serde_json::from_str(&body(&crossing("shop"), WebhookFormat::Json)).unwrap();
        assert_eq!(
            body,
            json!({
                "id": "f00", "event": "budget_reached", "scope": "project", "subject": "shop",
                "text": "Cost of shop: $41.00 of $50.00 (82%) in the week since 2026-03-02",
                "period": "week", "period_start": "2026-03-02T00:00:00Z",
                "limit_usd": 50.0, "spent_usd": 41.0, "mark": 0.8, "at": "2026-03-04T05:06:07Z",
            })
        );
    }

    #[test]
    fn a_project_cannot_mention_a_channel_or_break_the_line() {
        let body = body(
            &crossing("<!channel> & \n<https://evil>"),
            WebhookFormat::Slack,
        );
        assert_eq!(
            body,
            r#"{"text":"Cost of &lt;!channel&gt; &amp; \\n&lt;https://evil&gt;: $41.00 of $50.00 (82%) in the week since 2026-03-02"}"#
        );
    }
}

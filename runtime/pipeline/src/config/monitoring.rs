//! Monitoring: the sections `[metrics]` and `[notify]`, and the list `[[budget]]`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use session_pipeline_store::money::Usd;

use super::address::{is_local, origin};

/// The section `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The address of a listener that serves only the metrics, without authentication. `None`:
    /// there is none.
    pub listen: Option<SocketAddr>,
    /// The age at which figures that need queries are read again.
    pub max_age: Duration,
    /// Whether tokens and cost by model are also split by user.
    pub per_user: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            listen: None,
            max_age: Duration::from_secs(60),
            per_user: false,
        }
    }
}

/// The section `[notify]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyConfig {
    /// The address that gets a message. `None`: no messages are sent.
    pub webhook: Option<WebhookUrl>,
    /// The format of the messages.
    pub format: WebhookFormat,
    /// Whether messages to another network can go without TLS.
    pub allow_http: bool,
}

/// The format of a message to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// An object with a field for each figure.
    #[default]
    Json,
    /// An object with the field `text`, as Slack and Mattermost accept it.
    Slack,
}

/// The address of a webhook. Its path and query are usually a secret, so logs and errors show only
/// the scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// The accepted form of a webhook, as a noun phrase for error messages.
pub(super) const WEBHOOK_ALLOWED: &str =
    "an address like \"https://hooks.example.com/services/…\", without user, password and `#`";

impl WebhookUrl {
    /// Parses an address. Returns `None` if it is invalid or contains credentials or a fragment.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        is_plain.then_some(Self(url))
    }

    /// The full address, with its secret.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        origin(&self.0, f)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NotifyConfig {
    /// Why the values contradict each other, if they do.
    pub(super) fn contradiction(&self) -> Option<String> {
        let url = &self.webhook.as_ref()?.0;
        let is_readable_in_transit = url.scheme() != "https" && !is_local(url);
        (is_readable_in_transit && !self.allow_http).then(|| {
            "`notify.webhook` uses plain http:// to another network, so its secret could be read in transit; use an https:// address, or set `notify.allow_http = true`"
                .to_owned()
        })
    }
}

/// A limit for the cost of the agents in a period. It warns. It never stops anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostBudget {
    /// What the limit applies to.
    pub scope: BudgetScope,
    /// The limit for one period.
    pub limit: Usd,
    /// The length of a period.
    pub period: BudgetPeriod,
    /// The share of the limit from which health warns, in thousandths.
    pub warn_at_permille: u32,
}

/// What a budget applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    /// Each user.
    User,
    /// Each project.
    Project,
    /// All users together.
    Total,
}

/// The length of a budget's period. Periods begin at midnight in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetPeriod {
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A calendar month.
    Month,
}

impl BudgetScope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::User, Self::Project, Self::Total];

    /// The name in the config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Total => "total",
        }
    }
}

impl BudgetPeriod {
    /// All periods.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The name in the config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// A budget while its keys are read. Every key except `warn_at` is required.
#[derive(Debug)]
pub(super) struct BudgetDraft {
    pub(super) scope: Option<BudgetScope>,
    pub(super) limit: Option<Usd>,
    pub(super) period: Option<BudgetPeriod>,
    pub(super) warn_at_permille: u32,
}

impl Default for BudgetDraft {
    fn default() -> Self {
        Self {
            scope: None,
            limit: None,
            period: None,
            warn_at_permille: 800,
        }
    }
}

impl BudgetDraft {
    /// The budget, or the name of a missing key.
    pub(super) fn complete(self) -> Result<CostBudget, &'static str> {
        Ok(CostBudget {
            scope: self.scope.ok_or("scope")?,
            limit: self.limit.ok_or("usd")?,
            period: self.period.ok_or("per")?,
            warn_at_permille: self.warn_at_permille,
        })
    }
}

/// An amount in dollars, rounded to a millionth.
pub(super) fn usd_of(dollars: f64) -> Usd {
    let micro_dollars = (dollars * 1e6).round() as i128;
    Usd {
        pico_dollars: micro_dollars * 1_000_000,
    }
}

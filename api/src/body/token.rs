//! Tokens, and requests to create them.

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store as store;
use utoipa::ToSchema;

/// The role of a token. Each role can do everything that the roles before it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Read reports on the user's own sessions and totals of the team, and upload sessions
    Member,
    /// Read reports and upload sessions
    Analyst,
    /// Full access
    Admin,
}

impl From<store::Role> for TokenRole {
    fn from(role: store::Role) -> Self {
        match role {
            store::Role::Member => Self::Member,
            store::Role::Analyst => Self::Analyst,
            store::Role::Admin => Self::Admin,
        }
    }
}

impl From<TokenRole> for store::Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Member => Self::Member,
            TokenRole::Analyst => Self::Analyst,
            TokenRole::Admin => Self::Admin,
        }
    }
}

/// The properties of a new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// The role of the token.
    pub role: TokenRole,
    /// The email address of the user. The user is created if it does not exist. A member needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 254)]
    pub user: Option<String>,
    /// A label that describes what the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub label: Option<String>,
    /// When the token expires, such as `2026-12-31` or `2026-12-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A new token. Only this response contains its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedTokenBody {
    /// The id of the token.
    pub id: String,
    /// The text of the token. Send it as `Authorization: Bearer …`.
    pub token: String,
    /// The role of the token.
    pub role: TokenRole,
}

/// One page of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokensBody {
    /// Oldest first.
    pub tokens: Vec<TokenBody>,
    /// The cursor of the next page. Send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A token without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenBody {
    /// The id of the token.
    pub id: String,
    /// The role of the token.
    pub role: TokenRole,
    /// The id of the user, or null.
    #[schema(required = true)]
    pub user_id: Option<String>,
    /// The email address of the user, or null.
    #[schema(required = true)]
    pub user: Option<String>,
    /// A label that describes what the token is for.
    #[schema(required = true)]
    pub label: Option<String>,
    /// When the token was created.
    pub created_at: String,
    /// When the token expires, or null.
    #[schema(required = true)]
    pub expires_at: Option<String>,
    /// When the token was revoked, or null.
    #[schema(required = true)]
    pub revoked_at: Option<String>,
    /// When the token was last used, with a precision of one minute.
    #[schema(required = true)]
    pub last_used_at: Option<String>,
}

impl From<store::Token> for TokenBody {
    fn from(token: store::Token) -> Self {
        Self {
            id: token.id,
            role: token.role.into(),
            user_id: token.user_id,
            user: token.email,
            label: token.label,
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|at| at.to_string()),
            revoked_at: token.revoked_at.map(|at| at.to_string()),
            last_used_at: token.last_used_at.map(|at| at.to_string()),
        }
    }
}

/// Converts the body of a request into the type of the store.
///
/// # Errors
/// The expiry is not a valid time. The message is for the client.
pub fn new_token(body: NewTokenBody) -> Result<store::NewToken, String> {
    Ok(store::NewToken {
        role: body.role.into(),
        email: body.user,
        label: body.label,
        expires_at: body.expires_at.as_deref().map(parse_expiry).transpose()?,
    })
}

/// Parses a day in UTC, or a time with its zone.
fn parse_expiry(text: &str) -> Result<UtcMicros, String> {
    text.parse().map_err(|_| {
        let text = session_pipeline_host::fault::printable(text);
        format!(
            "invalid expiry `{text}`; write a date or a time, such as 2026-12-31 or 2026-12-31T00:00:00Z"
        )
    })
}

//! Tokens: asked for, made, and listed.

use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_store as store;
use utoipa::ToSchema;

/// What a token allows; an admin may do all that an analyst may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RoleWord {
    /// Reads reports, and uploads sessions
    Analyst,
    /// Runs, changes and reads everything
    Admin,
}

impl From<store::Role> for RoleWord {
    fn from(role: store::Role) -> Self {
        match role {
            store::Role::Analyst => Self::Analyst,
            store::Role::Admin => Self::Admin,
        }
    }
}

impl From<RoleWord> for store::Role {
    fn from(role: RoleWord) -> Self {
        match role {
            RoleWord::Analyst => Self::Analyst,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// What a new token is asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// What it allows.
    pub role: RoleWord,
    /// The e-mail of its user; a user that is not there yet is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 254)]
    pub user: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub label: Option<String>,
    /// From when on it is not good any more, as `2026-12-31` or `2026-12-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A new token. Its text is shown here and never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedTokenBody {
    /// Its id.
    pub id: String,
    /// What to send as `Authorization: Bearer …`.
    pub token: String,
    /// What it allows.
    pub role: RoleWord,
}

/// All tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokensBody {
    /// In the order in which they were made.
    pub tokens: Vec<TokenBody>,
    /// Where the next page begins: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A token, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    pub id: String,
    /// What it allows.
    pub role: RoleWord,
    /// The id of its user.
    #[schema(required = true)]
    pub user_id: Option<String>,
    /// The e-mail of its user.
    #[schema(required = true)]
    pub user: Option<String>,
    /// What it is for.
    #[schema(required = true)]
    pub label: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is not good any more.
    #[schema(required = true)]
    pub expires_at: Option<String>,
    /// When it was taken back.
    #[schema(required = true)]
    pub revoked_at: Option<String>,
    /// When it was last used, to the minute.
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

/// What is asked for, as the runtime takes it.
///
/// # Errors
/// When the time is none, in words for whoever asked.
pub fn asked(new: NewTokenBody) -> Result<store::NewToken, String> {
    Ok(store::NewToken {
        role: new.role.into(),
        email: new.user,
        label: new.label,
        expires_at: new.expires_at.as_deref().map(instant).transpose()?,
    })
}

/// An instant as people write it: a day in UTC, or a time with its zone.
fn instant(text: &str) -> Result<UtcMicros, String> {
    text.parse().map_err(|_| {
        let text = session_pipeline_host::fault::printable(text);
        format!("`{text}` is no time; write one like 2026-12-31 or 2026-12-31T00:00:00Z")
    })
}

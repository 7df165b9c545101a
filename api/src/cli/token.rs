//! `token`: creates, lists and revokes API tokens.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;
use session_pipeline_store as store;

use super::client::{OpenMode, RouteCall};
use super::table::table;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::token::{CreatedTokenBody, NewTokenBody, TokenBody, TokenRole, TokensBody};
use crate::percent::encode;

const PATH: &str = "/api/admin/tokens";

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print it once
    Create(CreateArgs),
    /// List all tokens, without their secret text
    List,
    /// Revoke a token
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Role of the token
    #[arg(long, value_enum)]
    role: TokenRole,
    /// E-mail address of the user, who is created if necessary
    #[arg(long, value_name = "EMAIL", value_parser = super::non_empty)]
    user: Option<String>,
    /// Label that describes the purpose of the token
    #[arg(long, value_name = "TEXT", value_parser = super::non_empty)]
    label: Option<String>,
    /// Expiration time, such as 2026-12-31 or 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::non_empty)]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Id of the token, from `token list`
    #[arg(value_name = "ID", value_parser = super::non_empty)]
    id: String,
}

pub(super) fn token(global: &GlobalArgs, command: &TokenCommand) -> Result<Exit, CommandFailure> {
    match command {
        TokenCommand::Create(arguments) => create(global, arguments),
        TokenCommand::List => list(global),
        TokenCommand::Revoke(arguments) => revoke(global, &arguments.id),
    }
}

fn create(global: &GlobalArgs, arguments: &CreateArgs) -> Result<Exit, CommandFailure> {
    let new = NewTokenBody {
        role: arguments.role,
        user: arguments.user.clone(),
        label: arguments.label.clone(),
        expires_at: arguments.expires.clone(),
    };
    let client = global.connect(OpenMode::Database)?;
    let created: CreatedTokenBody = client.call(&RouteCall::post(PATH).json(&new)?)?;
    if global.json {
        print_json(&created)?;
    } else {
        print(&created.token)?;
        hint(&format!(
            "created token {}; store it now, because it is not shown again",
            created.id
        ));
    }
    Ok(Exit::Done)
}

fn list(global: &GlobalArgs) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Database)?;
    let tokens: TokensBody = super::pages::all(&client, PATH, &[])?;
    if global.json {
        print_json(&tokens)?;
    } else {
        print(&render(&tokens))?;
    }
    Ok(Exit::Done)
}

fn render(tokens: &TokensBody) -> String {
    let mut table = table(&[
        "token",
        "role",
        "user",
        "label",
        "created",
        "expires",
        "revoked",
        "last used",
    ])
    .with_shortened(&["user", "label"]);
    // The text comes from a server or a database, so it can contain escape codes.
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    for token in &tokens.tokens {
        let role: store::Role = token.role.into();
        table.add_row([
            printable(&token.id),
            role.as_str().to_owned(),
            or_none(&token.user),
            or_none(&token.label),
            printable(&token.created_at),
            or_none(&token.expires_at),
            or_none(&token.revoked_at),
            or_none(&token.last_used_at),
        ]);
    }
    table.render()
}

fn revoke(global: &GlobalArgs, id: &str) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Database)?;
    let revoked: TokenBody = client.call(&RouteCall::delete(format!("{PATH}/{}", encode(id))))?;
    if global.json {
        print_json(&revoked)?;
    } else {
        print(&format!("revoked token {}", printable(&revoked.id)))?;
    }
    Ok(Exit::Done)
}

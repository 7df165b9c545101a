//! `token`: make, list and take back what lets people and programs in.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;
use session_pipeline_store as store;

use super::client::{OpenMode, RouteCall, segment};
use super::table::table;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::token::{CreatedTokenBody, NewTokenBody, TokenRole, TokenBody, TokensBody};

const PATH: &str = "/api/admin/tokens";

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, and show it this once
    Create(CreateArgs),
    /// List all tokens, without their texts
    List,
    /// Take a token back
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it allows
    #[arg(long, value_enum)]
    role: TokenRole,
    /// The e-mail of its user, who is made if nobody has it yet
    #[arg(long, value_name = "EMAIL", value_parser = super::filled)]
    user: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = super::filled)]
    label: Option<String>,
    /// From when on it is not good any more, as 2026-12-31 or 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::filled)]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The token's id, as `token list` shows it
    #[arg(value_name = "ID", value_parser = super::filled)]
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
            "this is token {}; it is shown this once",
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
        print(&people(&tokens))?;
    }
    Ok(Exit::Done)
}

fn people(tokens: &TokensBody) -> String {
    let mut table = table(&[
        "token",
        "role",
        "user",
        "label",
        "made",
        "expires",
        "revoked",
        "last used",
    ]);
    // A server, or a hand in the database, may say anything.
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
    table.trim_fmt()
}

fn revoke(global: &GlobalArgs, id: &str) -> Result<Exit, CommandFailure> {
    let client = global.connect(OpenMode::Database)?;
    let revoked: TokenBody = client.call(&RouteCall::delete(format!("{PATH}/{}", segment(id))))?;
    if global.json {
        print_json(&revoked)?;
    } else {
        print(&format!("token {} is good no more", printable(&revoked.id)))?;
    }
    Ok(Exit::Done)
}

//! Fills the data directory of a demo: sessions, tables, tokens, and decisions on knowledge.

use session_pipeline_harness::demo;
use session_pipeline_host::fault::{error_chain, printable};
use session_pipeline_store::retry::FAILURES_MAX;

use super::folder::{DemoFolder, DemoTokens};
use super::interruption::Interruption;
use crate::body::knowledge::KnowledgeBody;
use crate::body::token::{CreatedTokenBody, NewTokenBody, TokenRole};
use crate::cli::CommandFailure;
use crate::cli::client::{Client, RouteCall};
use crate::cli::progress::Spinner;
use crate::cli::run::run_without_limits;
use crate::percent::encode;

/// The person whose token is that of an admin.
const ADMIN: &str = "grace";
/// The person whose token is that of an analyst.
const ANALYST: &str = "ben";
/// The person whose token is that of a member.
const MEMBER: &str = "kim";

/// The numbers of knowledge items that are approved and rejected.
const APPROVED: usize = 8;
const REJECTED: usize = 3;

/// Generates the sessions.
pub(super) fn generate(
    folder: &DemoFolder,
    interruption: &Interruption,
) -> Result<(), CommandFailure> {
    let options = folder.options();
    let spinner = Spinner::new();
    let written = demo::write(folder.path(), &options, &mut |sessions| {
        spinner.set_message(&format!(
            "generating sessions: {sessions} of {}",
            options.sessions
        ));
        !interruption.is_interrupted()
    });
    spinner.clear();
    written.map_err(|error| {
        CommandFailure::could_not_run(format!(
            "cannot write sessions to `{}`: {}",
            printable(&folder.path().display().to_string()),
            error_chain(&error)
        ))
    })?;
    interruption.check()
}

/// Processes the sessions, creates tokens, and decides on some knowledge.
pub(super) fn process(
    client: &Client,
    folder: &mut DemoFolder,
    interruption: &Interruption,
) -> Result<(), CommandFailure> {
    if folder.tokens().admin.is_empty() {
        folder.set_tokens(create_tokens(client)?)?;
    }
    // Sessions that fail every time end in quarantine. The last run does not try them any more.
    for _ in 0..=FAILURES_MAX {
        let run = run_without_limits(client, "usage")?;
        interruption.check()?;
        if run.details.errors == 0 {
            break;
        }
    }
    run_without_limits(client, "verification")?;
    interruption.check()?;
    decide_on_knowledge(client)?;
    folder.complete()
}

/// Updates the sums that reports read, so that the first page does not wait for them.
pub(super) fn prepare_reports(client: &Client) -> Result<(), CommandFailure> {
    let spinner = Spinner::new();
    spinner.set_message("preparing reports");
    let call = RouteCall::get("/api/usage/summary").query([("by", "day")]);
    let report = client.text(&call);
    spinner.clear();
    report.map(drop)
}

/// Creates a token for each person, so that reports show their e-mail addresses.
fn create_tokens(client: &Client) -> Result<DemoTokens, CommandFailure> {
    let mut tokens = DemoTokens::default();
    for user in demo::users() {
        let new = NewTokenBody {
            role: match user {
                ADMIN => TokenRole::Admin,
                ANALYST => TokenRole::Analyst,
                _ => TokenRole::Member,
            },
            user: Some(demo::email(user)),
            label: Some("laptop".to_owned()),
            expires_at: None,
        };
        let created: CreatedTokenBody =
            client.call(&RouteCall::post("/api/admin/tokens").json(&new)?)?;
        match user {
            ADMIN => tokens.admin = created.token,
            ANALYST => tokens.analyst = created.token,
            MEMBER => tokens.member = created.token,
            _ => {}
        }
    }
    Ok(tokens)
}

/// Approves the items with the most evidence, and rejects some of those with the least.
fn decide_on_knowledge(client: &Client) -> Result<(), CommandFailure> {
    let call = RouteCall::get("/api/knowledge").query([
        ("status", "pending"),
        ("limit", "1000"),
        ("score_min", "0"),
    ]);
    let mut items = client.call::<KnowledgeBody>(&call)?.items;
    items.sort_by(|one, other| {
        let order = other.evidence_count.cmp(&one.evidence_count);
        order.then_with(|| one.id.cmp(&other.id))
    });
    let approved = items.iter().take(APPROVED).map(|item| (item, "approve"));
    let rejected = items.iter().rev().take(REJECTED.min(items.len() / 4));
    let rejected = rejected.map(|item| (item, "reject"));
    for (item, decision) in approved.chain(rejected) {
        let path = format!("/api/knowledge/{}/{decision}", encode(&item.id));
        client.text(&RouteCall::post(path))?;
    }
    Ok(())
}

//! `knowledge`: what users verified, listed, shown with its evidence, approved and rejected.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::knowledge::ItemRelation;

use super::client::{OpenMode, RouteCall, segment};
use super::table::{count_of, facts, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::knowledge::{EvidenceBody, KnowledgeBody, KnowledgeDetailsBody};

const PATH: &str = "/api/knowledge";

#[derive(Debug, Subcommand)]
pub(super) enum KnowledgeCommand {
    /// List what has evidence, and what was approved
    List(KnowledgeListArgs),
    /// Show one item with every piece of its evidence
    Show(ItemArgs),
    /// Take an item over as known
    Approve(ItemArgs),
    /// Say that an item does not hold
    Reject(ItemArgs),
}

#[derive(Debug, Args)]
pub(super) struct KnowledgeListArgs {
    /// Only of this status: pending, approved, rejected, revoked, expired
    #[arg(long, value_name = "STATUS", value_parser = super::filled)]
    status: Option<String>,
    /// Only of this domain: finance, engineering, product, data, operations, infrastructure
    #[arg(long, value_name = "DOMAIN", value_parser = super::filled)]
    domain: Option<String>,
    /// Only with this text in title or content, in any case
    #[arg(long, value_name = "TEXT", value_parser = super::filled)]
    text: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct ItemArgs {
    /// The item's id, as `knowledge list` shows it
    #[arg(value_name = "ID", value_parser = super::filled)]
    id: String,
}

pub(super) fn knowledge(
    global: &GlobalArgs,
    command: &KnowledgeCommand,
) -> Result<Exit, CommandFailure> {
    match command {
        KnowledgeCommand::List(arguments) => list(global, arguments),
        KnowledgeCommand::Show(arguments) => show(global, &arguments.id),
        KnowledgeCommand::Approve(arguments) => decide(global, &arguments.id, "approve"),
        KnowledgeCommand::Reject(arguments) => decide(global, &arguments.id, "reject"),
    }
}

fn list(global: &GlobalArgs, arguments: &KnowledgeListArgs) -> Result<Exit, CommandFailure> {
    let KnowledgeListArgs {
        status,
        domain,
        text,
        limit,
    } = arguments;
    let rows = limit.to_string();
    let call = RouteCall::get(PATH)
        .query([("limit", rows.as_str())])
        .given("status", status.as_deref())
        .given("domain", domain.as_deref())
        .given("text", text.as_deref());
    // As many as were asked for are on the first page.
    let listed = KnowledgeBody {
        next: None,
        ..global.connect(OpenMode::Existing)?.call(&call)?
    };
    if global.json {
        print_json(&listed)?;
    } else {
        print(&people(&listed))?;
    }
    if listed.items.len() == *limit as usize {
        hint("there may be more; --limit shows them, and the filters narrow the list");
    }
    Ok(Exit::Done)
}

fn people(listed: &KnowledgeBody) -> String {
    let count = count_of(listed.items.len() as u64, "item", "items");
    if listed.items.is_empty() {
        return count;
    }
    let mut table = table(&[
        "item", "status", "domain", "trust", "evidence", "users", "title",
    ]);
    if let Some(titles) = table.column_mut(6) {
        titles.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for item in &listed.items {
        table.add_row([
            printable(&item.id),
            printable(&item.status),
            item.domain.as_deref().map_or_else(none, printable),
            format!("{:.2}", item.confidence),
            item.evidence_count.to_string(),
            item.users.to_string(),
            printable(&item.title),
        ]);
    }
    format!("{}\n{count}", table.trim_fmt())
}

fn none() -> String {
    "-".to_owned()
}

fn show(global: &GlobalArgs, id: &str) -> Result<Exit, CommandFailure> {
    let call = RouteCall::get(format!("{PATH}/{}", segment(id)));
    let shown: KnowledgeDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&shown)?;
    } else {
        print(&shown_people(&shown))?;
    }
    Ok(Exit::Done)
}

fn shown_people(shown: &KnowledgeDetailsBody) -> String {
    let item = &shown.item;
    let entities: Vec<String> = item.entities.iter().map(|name| printable(name)).collect();
    let mut text = facts(
        "",
        &[
            ("item", Some(printable(&item.id))),
            ("title", Some(printable(&item.title))),
            ("content", Some(printable(&item.content))),
            ("status", Some(printable(&item.status))),
            ("domain", item.domain.as_deref().map(printable)),
            ("trust", Some(format!("{:.2}", item.confidence))),
            (
                "names",
                Some(entities.join(", ")).filter(|names| !names.is_empty()),
            ),
            (
                "first found",
                Some(format!(
                    "{}, for {}",
                    item.created_at,
                    printable(&item.source_user)
                )),
            ),
            (
                "changed",
                Some(item.updated_at.clone()).filter(|at| *at != item.created_at),
            ),
        ],
    );
    for evidence in &shown.evidence {
        text.push_str("\n\n");
        text.push_str(&evidence_of(evidence));
    }
    for related in &shown.related {
        text.push_str("\n\n");
        text.push_str(&related_of(related));
    }
    text
}

fn evidence_of(evidence: &EvidenceBody) -> String {
    let place = format!("{}, line {}", printable(&evidence.session), evidence.line);
    facts(
        "  ",
        &[
            ("evidence", Some(printable(&evidence.detection_type))),
            ("quote", Some(printable(&evidence.quote))),
            ("user", Some(printable(&evidence.user))),
            ("session", Some(place)),
            ("detector", Some(printable(&evidence.detector))),
        ],
    )
}

fn related_of(related: &ItemRelation) -> String {
    let other = format!("{} {}", printable(&related.item), printable(&related.title));
    facts(
        "  ",
        &[
            ("related", Some(printable(&related.kind))),
            ("to", Some(other)),
            ("measure", related.measure.as_deref().map(printable)),
            ("because", related.explanation.as_deref().map(printable)),
        ],
    )
}

fn decide(global: &GlobalArgs, id: &str, verb: &str) -> Result<Exit, CommandFailure> {
    let call = RouteCall::post(format!("{PATH}/{}/{verb}", segment(id)));
    let shown: KnowledgeDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&shown)?;
    } else {
        let (status, title) = (printable(&shown.item.status), printable(&shown.item.title));
        print(&format!(
            "{} is {status}: {title}",
            printable(&shown.item.id)
        ))?;
    }
    Ok(Exit::Done)
}

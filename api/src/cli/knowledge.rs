//! `knowledge`: lists, shows, approves and rejects knowledge items.

use clap::{Args, Subcommand};
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::knowledge::ItemRelation;

use super::client::{OpenMode, RouteCall};
use super::table::{count_of, field_list, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::knowledge::{EvidenceBody, KnowledgeBody, KnowledgeDetailsBody};
use crate::percent::encode;

const PATH: &str = "/api/knowledge";

#[derive(Debug, Subcommand)]
pub(super) enum KnowledgeCommand {
    /// List items with evidence, and approved items
    List(KnowledgeListArgs),
    /// Show one item with its evidence
    Show(ItemArgs),
    /// Approve an item
    Approve(ItemArgs),
    /// Reject an item
    Reject(ItemArgs),
}

#[derive(Debug, Args)]
pub(super) struct KnowledgeListArgs {
    /// Only list items with this status: pending, approved, rejected, revoked, expired
    #[arg(long, value_name = "STATUS", value_parser = super::non_empty)]
    status: Option<String>,
    /// Only list items in this domain: finance, engineering, product, data, operations, infrastructure
    #[arg(long, value_name = "DOMAIN", value_parser = super::non_empty)]
    domain: Option<String>,
    /// Only list items with this text in the title or content, ignoring case
    #[arg(long, value_name = "TEXT", value_parser = super::non_empty)]
    text: Option<String>,
    /// Maximum number of items
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct ItemArgs {
    /// Id of the item, from `knowledge list`
    #[arg(value_name = "ID", value_parser = super::non_empty)]
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
        .optional("status", status.as_deref())
        .optional("domain", domain.as_deref())
        .optional("text", text.as_deref());
    // The first page contains up to `limit` items, so no further page is read.
    let body = KnowledgeBody {
        next: None,
        ..global.connect(OpenMode::Existing)?.call(&call)?
    };
    if global.json {
        print_json(&body)?;
    } else {
        print(&render(&body))?;
    }
    if body.items.len() == *limit as usize {
        hint("there may be more items; raise --limit, or narrow the list with filters");
    }
    Ok(Exit::Done)
}

fn render(body: &KnowledgeBody) -> String {
    let count = count_of(body.items.len() as u64, "item", "items");
    if body.items.is_empty() {
        return count;
    }
    let mut table = table(&[
        "item",
        "status",
        "domain",
        "confidence",
        "evidence",
        "users",
        "title",
    ]);
    if let Some(titles) = table.column_mut(6) {
        titles.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for item in &body.items {
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
    let call = RouteCall::get(format!("{PATH}/{}", encode(id)));
    let details: KnowledgeDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&details)?;
    } else {
        print(&render_details(&details))?;
    }
    Ok(Exit::Done)
}

fn render_details(details: &KnowledgeDetailsBody) -> String {
    let item = &details.item;
    let entities: Vec<String> = item.entities.iter().map(|name| printable(name)).collect();
    let mut text = field_list(
        "",
        &[
            ("item", Some(printable(&item.id))),
            ("title", Some(printable(&item.title))),
            ("content", Some(printable(&item.content))),
            ("status", Some(printable(&item.status))),
            ("domain", item.domain.as_deref().map(printable)),
            ("confidence", Some(format!("{:.2}", item.confidence))),
            (
                "entities",
                Some(entities.join(", ")).filter(|entities| !entities.is_empty()),
            ),
            (
                "first found",
                Some(format!(
                    "{}, in a session of {}",
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
    for evidence in &details.evidence {
        text.push_str("\n\n");
        text.push_str(&evidence_of(evidence));
    }
    for related in &details.related {
        text.push_str("\n\n");
        text.push_str(&related_of(related));
    }
    text
}

fn evidence_of(evidence: &EvidenceBody) -> String {
    let place = format!("{}, line {}", printable(&evidence.session), evidence.line);
    field_list(
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
    field_list(
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
    let call = RouteCall::post(format!("{PATH}/{}/{verb}", encode(id)));
    let details: KnowledgeDetailsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&details)?;
    } else {
        let item = &details.item;
        let (status, title) = (printable(&item.status), printable(&item.title));
        print(&format!("{} is {status}: {title}", printable(&item.id)))?;
    }
    Ok(Exit::Done)
}

//! `knowledge`: lists, shows, approves, rejects and exports knowledge items.

use clap::{Args, Subcommand, ValueEnum};
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::knowledge::{ItemRelation, SuggestedResolution};

use super::client::{OpenMode, RouteCall};
use super::table::{count_of, field_list, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::knowledge::{
    DecidedItemsBody, EvidenceBody, KnowledgeBody, KnowledgeDecisionBody, KnowledgeDetailsBody,
    KnowledgeVerdict,
};
use crate::percent::encode;

const PATH: &str = "/api/knowledge";

#[derive(Debug, Subcommand)]
pub(super) enum KnowledgeCommand {
    /// List items with evidence, and approved items
    ///
    /// Pending items come first. Then the order is by score, users, sessions and age, the oldest
    /// first. Likely duplicates of an item follow it directly.
    List(KnowledgeListArgs),
    /// Show one item with its evidence, its duplicates and its contradictions
    Show(ItemArgs),
    /// Approve items, all or none
    Approve(DecisionArgs),
    /// Reject items, all or none
    ///
    /// A rejected item does not come back, also not after reprocessing or in other words.
    Reject(DecisionArgs),
    /// Print the approved items as a file, grouped by project and domain
    ///
    /// The file is for people, and as context for agents. The same items produce the same text.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct KnowledgeListArgs {
    /// Only list items with this status: pending, approved, rejected, revoked, expired
    #[arg(long, value_name = "STATUS", value_parser = super::non_empty)]
    status: Option<String>,
    /// Only list items in this domain: finance, engineering, product, data, operations, infrastructure
    #[arg(long, value_name = "DOMAIN", value_parser = super::non_empty)]
    domain: Option<String>,
    /// Only list items that were found first in this project
    #[arg(long, value_name = "PROJECT", value_parser = super::non_empty)]
    project: Option<String>,
    /// Only list pending items with at least this score, in percent
    /// (default: `knowledge.score_min` in the config file)
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    score_min: Option<u8>,
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

#[derive(Debug, Args)]
pub(super) struct DecisionArgs {
    /// Ids of the items, from `knowledge list`
    #[arg(value_name = "ID", required = true, num_args = 1..=100, value_parser = super::non_empty)]
    ids: Vec<String>,
    /// Why, in at most 1,000 characters
    #[arg(long, value_name = "TEXT", value_parser = super::non_empty)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Format of the file
    #[arg(long, value_enum, default_value_t = ExportFormat::Markdown)]
    format: ExportFormat,
    /// Only export items that were found first in this project
    #[arg(long, value_name = "PROJECT", value_parser = super::non_empty)]
    project: Option<String>,
    /// Only export items in this domain
    #[arg(long, value_name = "DOMAIN", value_parser = super::non_empty)]
    domain: Option<String>,
    /// Address of the dashboard, for links to the evidence (default: relative links)
    #[arg(long, value_name = "URL", value_parser = super::non_empty)]
    base_url: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportFormat {
    Markdown,
}

pub(super) fn knowledge(
    global: &GlobalArgs,
    command: &KnowledgeCommand,
) -> Result<Exit, CommandFailure> {
    match command {
        KnowledgeCommand::List(arguments) => list(global, arguments),
        KnowledgeCommand::Show(arguments) => show(global, &arguments.id),
        KnowledgeCommand::Approve(arguments) => {
            decide(global, arguments, KnowledgeVerdict::Approve)
        }
        KnowledgeCommand::Reject(arguments) => decide(global, arguments, KnowledgeVerdict::Reject),
        KnowledgeCommand::Export(arguments) => export(global, arguments),
    }
}

fn list(global: &GlobalArgs, arguments: &KnowledgeListArgs) -> Result<Exit, CommandFailure> {
    let KnowledgeListArgs {
        status,
        domain,
        project,
        score_min,
        text,
        limit,
    } = arguments;
    let rows = limit.to_string();
    let score_min = score_min.map(|percent| percent.to_string());
    let call = RouteCall::get(PATH)
        .query([("limit", rows.as_str())])
        .optional("status", status.as_deref())
        .optional("domain", domain.as_deref())
        .optional("project", project.as_deref())
        .optional("score_min", score_min.as_deref())
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
    if body.below > 0 {
        let below = count_of(
            body.below,
            "more pending item has",
            "more pending items have",
        );
        let score_min = body.score_min;
        hint(&format!(
            "{below} a score below {score_min}; list them with --score-min 0"
        ));
    }
    Ok(Exit::Done)
}

fn render(body: &KnowledgeBody) -> String {
    let count = count_of(body.items.len() as u64, "item", "items");
    if body.items.is_empty() {
        return count;
    }
    let mut table = table(&[
        "item", "status", "domain", "score", "evidence", "users", "sessions", "title",
    ])
    .with_texts(&["title"]);
    for item in &body.items {
        table.add_row([
            printable(&item.id),
            printable(&item.status),
            item.domain.as_deref().map_or_else(none, printable),
            item.score.to_string(),
            item.evidence_count.to_string(),
            item.users.to_string(),
            item.sessions.to_string(),
            // A likely duplicate follows the item that it resembles.
            match item.similar_to {
                Some(_) => format!("~ {}", printable(&item.title)),
                None => printable(&item.title),
            },
        ]);
    }
    format!("{}\n{count}", table.render())
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
            ("project", item.project.as_deref().map(printable)),
            ("claim", item.claim.as_deref().map(printable)),
            ("scope", item.scope.as_deref().map(printable)),
            ("score", Some(item.score.to_string())),
            ("confidence", Some(format!("{:.2}", item.confidence))),
            ("reason", item.reason.as_deref().map(printable)),
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
            ("first said", item.first_said_at.clone()),
            (
                "last said",
                item.last_said_at
                    .clone()
                    .filter(|at| Some(at) != item.first_said_at.as_ref()),
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
            ("about", evidence.assistant_quote.as_deref().map(printable)),
            ("said", evidence.said_at.clone()),
            ("project", evidence.project.as_deref().map(printable)),
            ("branch", evidence.branch.as_deref().map(printable)),
            ("score", evidence.score.map(|score| score.to_string())),
            ("user", Some(printable(&evidence.user))),
            ("session", Some(place)),
            ("detector", Some(printable(&evidence.detector))),
        ],
    )
}

fn related_of(related: &ItemRelation) -> String {
    let suggestion = related.suggestion.as_ref();
    let other = format!("{} {}", printable(&related.item), printable(&related.title));
    field_list(
        "  ",
        &[
            ("related", Some(printable(&related.kind))),
            ("to", Some(other)),
            ("content", Some(printable(&related.content))),
            ("status", Some(printable(&related.status))),
            ("measure", related.measure.as_deref().map(printable)),
            ("because", related.explanation.as_deref().map(printable)),
            ("suggested", suggestion.map(suggested)),
            (
                "reason",
                suggestion
                    .and_then(|suggestion| suggestion.justification.as_deref())
                    .map(printable),
            ),
            (
                "merged",
                suggestion
                    .and_then(|suggestion| suggestion.merged_content.as_deref())
                    .map(printable),
            ),
        ],
    )
}

/// What the model suggests to do.
fn suggested(suggestion: &SuggestedResolution) -> String {
    match suggestion.action.as_str() {
        "keep_this" => "keep this item".to_owned(),
        "keep_other" => "keep the other item".to_owned(),
        "merge" => "merge both items".to_owned(),
        "keep_both" => "keep both items".to_owned(),
        other => printable(other),
    }
}

fn decide(
    global: &GlobalArgs,
    arguments: &DecisionArgs,
    decision: KnowledgeVerdict,
) -> Result<Exit, CommandFailure> {
    let body = KnowledgeDecisionBody {
        decision,
        ids: arguments.ids.clone(),
        reason: arguments.reason.clone(),
    };
    let call = RouteCall::post(format!("{PATH}/decisions")).json(&body)?;
    let decided: DecidedItemsBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&decided)?;
        return Ok(Exit::Done);
    }
    let lines: Vec<String> = decided
        .items
        .iter()
        .map(|item| {
            let (status, title) = (printable(&item.status), printable(&item.title));
            format!("{} is {status}: {title}", printable(&item.id))
        })
        .collect();
    print(&lines.join("\n"))?;
    Ok(Exit::Done)
}

fn export(global: &GlobalArgs, arguments: &ExportArgs) -> Result<Exit, CommandFailure> {
    let ExportFormat::Markdown = arguments.format;
    let call = RouteCall::get(format!("{PATH}/export"))
        .query([("format", "markdown")])
        .optional("project", arguments.project.as_deref())
        .optional("domain", arguments.domain.as_deref())
        .optional("base_url", arguments.base_url.as_deref());
    let text = global.connect(OpenMode::Existing)?.text(&call)?;
    print(&text)?;
    Ok(Exit::Done)
}

//! `migrate`: bring the database up to date, or say what that would do.

use clap::Args;
use serde_json::json;
use session_pipeline_store::Store;

use super::{CommandFailure, Exit, GlobalArgs, print, print_json};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Go up to this number only
    #[arg(long, value_name = "N")]
    to: Option<u32>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn migrate(
    global: &GlobalArgs,
    arguments: &MigrateArgs,
) -> Result<Exit, CommandFailure> {
    let config = global.config()?;
    if arguments.dry_run {
        return dry_run(global, &config, arguments.to);
    }
    let store = Store::open_at(&config.store_options(), super::now(), arguments.to)?;
    let opened = store.open_report();
    if global.json {
        print_json(&json!({
            "version_before": opened.version_before, "applied": opened.applied, "renamed": opened.renamed,
            "copy": opened.backup.as_ref().map(|copy| copy.display().to_string()),
        }))?;
        return Ok(Exit::Done);
    }
    let before = opened.version_before.map_or_else(
        || "a new database".to_owned(),
        |version| format!("version {version}"),
    );
    let mut text = match opened.applied.last() {
        None => format!("nothing to do: the database is at {before}"),
        Some(last) => format!("from {before} to version {last}"),
    };
    for (from, to) in &opened.renamed {
        text.push_str(&format!(
            "\nkept the table `{from}` of another shape as `{to}`"
        ));
    }
    if let Some(copy) = &opened.backup {
        text.push_str(&format!(
            "\nthe database as it was is kept as `{}`",
            copy.display()
        ));
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn dry_run(
    global: &GlobalArgs,
    config: &session_pipeline_pipeline::config::Config,
    to: Option<u32>,
) -> Result<Exit, CommandFailure> {
    let plan = Store::plan_migration(&config.store_options(), to)?;
    if global.json {
        print_json(&json!({
            "version_before": plan.version_before, "pending": plan.pending, "renamed": plan.renamed,
        }))?;
        return Ok(Exit::Done);
    }
    let mut text = match plan.version_before {
        Some(version) => format!("the database is at version {version}"),
        None => "there is no database yet".to_owned(),
    };
    if plan.pending.is_empty() {
        text.push_str("; nothing to do");
    }
    for step in &plan.pending {
        text.push_str(&format!("\nwould apply {step}"));
    }
    for (from, to) in &plan.renamed {
        text.push_str(&format!(
            "\nwould keep the table `{from}` of another shape as `{to}`"
        ));
    }
    print(&text)?;
    Ok(Exit::Done)
}

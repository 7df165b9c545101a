//! `migrate`: upgrades the database, or lists the pending migrations.

use clap::Args;
use serde_json::json;
use session_pipeline_store::Store;

use super::{CommandFailure, Exit, GlobalArgs, print, print_json};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Stop after the migration with this number
    #[arg(long, value_name = "N")]
    to: Option<u32>,
    /// List pending migrations without applying them
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
    let mut text = match (opened.version_before, opened.applied.last()) {
        (None, None) => "nothing to do: the database is new".to_owned(),
        (Some(version), None) => format!("nothing to do: the database is at version {version}"),
        (None, Some(last)) => format!("created the database at version {last}"),
        (Some(version), Some(last)) => {
            format!("upgraded the database from version {version} to {last}")
        }
    };
    for (from, to) in &opened.renamed {
        text.push_str(&format!(
            "\nrenamed table `{from}` to `{to}`, because its layout differs"
        ));
    }
    if let Some(backup) = &opened.backup {
        text.push_str(&format!(
            "\nthe previous database was backed up to `{}`",
            backup.display()
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
            "\nwould rename table `{from}` to `{to}`, because its layout differs"
        ));
    }
    print(&text)?;
    Ok(Exit::Done)
}

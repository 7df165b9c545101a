//! `reprocess`: mark sessions, so that the next run processes them again.

use clap::Args;
use serde_json::json;
use session_pipeline_runtime::reprocess;
use session_pipeline_runtime::store::Store;

use super::table::count_of;
use super::{Exit, Failure, Global, hint, print, print_json};

#[derive(Debug, Args)]
pub(super) struct ReprocessArgs {
    /// The processor, for instance `usage`
    processor: String,
    /// Only this session, by its key as `sessions list` shows it
    #[arg(long, value_name = "KEY", value_parser = super::filled)]
    session: Option<String>,
}

pub(super) fn reprocess(global: &Global, arguments: &ReprocessArgs) -> Result<Exit, Failure> {
    let config = &global.config()?;
    let registry = super::registry();
    // Before the data dir is asked for anything.
    registry.component(&arguments.processor)?;
    let now = super::now();
    let store = Store::open_existing(config, now)?;
    let marked = reprocess::reprocess(
        config,
        &registry,
        store.as_ref(),
        &arguments.processor,
        arguments.session.as_deref(),
        now,
    )?;
    if global.json {
        print_json(&json!({
            "processor": arguments.processor, "marked": marked.sessions, "quarantined": marked.quarantined,
        }))?;
    } else {
        print(&format!(
            "marked {} of `{}`",
            count_of(marked.sessions, "session", "sessions"),
            arguments.processor
        ))?;
    }
    hint(&match (marked.sessions, &arguments.session) {
        (0, Some(_)) => "it was never processed, and is due anyway".to_owned(),
        (0, None) => "nothing was processed yet, and all sessions are due anyway".to_owned(),
        _ => format!(
            "`session-pipeline run {}` processes them again; until then their rows stay",
            arguments.processor
        ),
    });
    if marked.quarantined > 0 {
        hint(&format!(
            "{} in quarantine, where no mark helps: they are tried again when their content or the processor changes",
            marked.quarantined
        ));
    }
    Ok(Exit::Done)
}

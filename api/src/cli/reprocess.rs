//! `reprocess`: mark sessions, so that the next run processes them again.

use clap::Args;

use super::client::{OpenMode, RouteCall};
use super::table::count_of;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::admin::ReprocessBody;

#[derive(Debug, Args)]
pub(super) struct ReprocessArgs {
    /// The processor, for instance `usage`
    processor: String,
    /// Only this session, by its key as `sessions list` shows it
    #[arg(long, value_name = "KEY", value_parser = super::filled)]
    session: Option<String>,
}

pub(super) fn reprocess(
    global: &GlobalArgs,
    arguments: &ReprocessArgs,
) -> Result<Exit, CommandFailure> {
    let (processor, session) = (arguments.processor.as_str(), arguments.session.as_deref());
    if global.api.is_none() {
        // Before the data dir is asked for anything.
        super::registry().check_before_examination(processor, &global.config()?)?;
    }
    let call = RouteCall::post("/api/admin/reprocess")
        .query([("processor", processor)])
        .given("session", session);
    let marked: ReprocessBody = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&marked)?;
    } else {
        print(&format!(
            "marked {} of `{processor}`",
            count_of(marked.marked, "session", "sessions"),
        ))?;
    }
    hint(&match (marked.marked, &arguments.session) {
        (0, Some(_)) => "it was never processed, and is due anyway".to_owned(),
        (0, None) => "nothing was processed yet, and all sessions are due anyway".to_owned(),
        _ => format!(
            "`session-pipeline run {}` processes them again; until then their rows stay",
            arguments.processor
        ),
    });
    if marked.quarantined > 0 {
        hint(&format!(
            "{} in quarantine, where no mark helps: `session-pipeline quarantine release` does",
            marked.quarantined
        ));
    }
    Ok(Exit::Done)
}

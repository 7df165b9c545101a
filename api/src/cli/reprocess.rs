//! `reprocess`: marks sessions for the next run to process again.

use clap::Args;

use super::client::{OpenMode, RouteCall};
use super::table::count_of;
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};
use crate::body::admin::ReprocessBody;

#[derive(Debug, Args)]
pub(super) struct ReprocessArgs {
    /// Name of the processor, such as `usage`
    processor: String,
    /// Only mark this session: its key, the end of its key, the name of its file, or its session id
    #[arg(long, value_name = "SESSION", value_parser = super::non_empty)]
    session: Option<String>,
}

pub(super) fn reprocess(
    global: &GlobalArgs,
    arguments: &ReprocessArgs,
) -> Result<Exit, CommandFailure> {
    let (processor, session) = (arguments.processor.as_str(), arguments.session.as_deref());
    if global.api.is_none() {
        // Report an unknown name before opening the data directory.
        super::registry().check_before_examination(processor, &global.config()?)?;
    }
    let call = RouteCall::post("/api/admin/reprocess")
        .query([("processor", processor)])
        .optional("session", session);
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
        (0, Some(_)) => {
            "this session was never processed, so the next run processes it anyway".to_owned()
        }
        (0, None) => {
            "nothing was processed yet, so the next run processes all sessions anyway".to_owned()
        }
        _ => format!(
            "`session-pipeline run {}` processes them again; their current rows stay until then",
            arguments.processor
        ),
    });
    if marked.quarantined > 0 {
        hint(&format!(
            "{} not retried until you run `session-pipeline quarantine release`",
            count_of(
                marked.quarantined,
                "quarantined session is",
                "quarantined sessions are"
            )
        ));
    }
    Ok(Exit::Done)
}

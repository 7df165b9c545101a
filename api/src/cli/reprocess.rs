//! `reprocess`: mark sessions, so that the next run processes them again.

use clap::Args;
use session_pipeline_pipeline::reprocess;
use session_pipeline_store::{Actor, Audited, Store};

use super::client::Reach;
use super::table::count_of;
use super::{Exit, Failure, Global, hint, print, print_json};
use crate::body::admin::Marked;

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
    let (processor, session) = (arguments.processor.as_str(), arguments.session.as_deref());
    if global.api.is_none() {
        // Before the data dir is asked for anything.
        registry.check_unseen(processor, config)?;
    }
    let now = super::now();
    let marked = match global.reach(|| Store::open_existing(&config.store_options(), now))? {
        Reach::Here(store) => {
            let store = store.as_ref();
            let audited = Audited {
                action: "reprocess",
                actor: Actor::cli(),
                now,
            };
            let marked =
                reprocess::reprocess(config, &registry, store, processor, session, audited)?;
            Marked {
                processor: processor.to_owned(),
                marked: marked.sessions,
                quarantined: marked.quarantined,
            }
        }
        Reach::Server(client) => {
            let mut query = vec![("processor", processor)];
            query.extend(session.map(|key| ("session", key)));
            client.post("/api/admin/reprocess", &query)?
        }
    };
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

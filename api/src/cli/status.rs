//! `status`: what is known of each processor.

use session_pipeline_runtime::status;

use super::table::{number, table};
use super::{Exit, Failure, Global, print, print_json};

pub(super) fn status(global: &Global) -> Result<Exit, Failure> {
    let store = session_pipeline_runtime::store::Store::open(&global.config()?, super::now())?;
    let processors = status::processors(&store, super::registry().names())?;
    if global.json {
        print_json(&serde_json::json!({ "processors": processors }))?;
        return Ok(Exit::Done);
    }
    let mut table = table(&[
        "processor",
        "sessions",
        "items",
        "due",
        "failing",
        "quarantined",
        "missing",
        "last run",
        "result",
    ]);
    for status in &processors {
        table.add_row([
            status.processor.clone(),
            number(status.sessions),
            number(status.items_extracted),
            number(status.due),
            number(status.failing),
            number(status.quarantined),
            number(status.missing),
            status
                .last_run_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
            status.last_run.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    print(&table.trim_fmt())?;
    Ok(Exit::Done)
}

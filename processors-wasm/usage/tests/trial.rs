//! Sums over a folder of real sessions, to compare with the figures of another counter.
//!
//! `SESSION_FOLDER=/path cargo test --test trial -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use session_pipeline_processor::SessionInfo;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::{OwnedValue, Row};
use session_pipeline_usage::Usage;
use session_pipeline_usage::events::EventRow;
use session_pipeline_usage::messages::MessageRow;
use session_pipeline_usage::sessions::SessionRow;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "jsonl" || end == "json")
        {
            found.push(path);
        }
    }
}

/// A row by the names of its columns.
struct Named(BTreeMap<String, OwnedValue>);

impl Named {
    fn all<R: Row>(host: &MemoryHost<'_>) -> Vec<Self> {
        let columns = R::table().columns;
        let name = |row: Vec<OwnedValue>| {
            Self(
                columns
                    .iter()
                    .map(|column| column.name.clone())
                    .zip(row)
                    .collect(),
            )
        };
        host.rows(R::TABLE).into_iter().map(name).collect()
    }

    fn number(&self, column: &str) -> i64 {
        match self.0[column] {
            OwnedValue::S64(number) => number,
            OwnedValue::Bool(flag) => i64::from(flag),
            _ => 0,
        }
    }

    fn text(&self, column: &str) -> String {
        match &self.0[column] {
            OwnedValue::Text(text) | OwnedValue::Json(text) => text.clone(),
            _ => "-".to_owned(),
        }
    }
}

const TOKENS: [&str; 7] = [
    "request_count",
    "input_tokens",
    "cache_read_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "output_tokens",
    "thinking_tokens",
];

#[test]
#[ignore = "needs a folder of real sessions in SESSION_FOLDER"]
#[expect(
    clippy::disallowed_methods,
    reason = "the folder is outside the repository"
)]
fn sums_of_a_folder() {
    let folder = PathBuf::from(std::env::var("SESSION_FOLDER").expect("SESSION_FOLDER"));
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    paths.sort();
    let mut messages = BTreeMap::new();
    let mut events = BTreeMap::new();
    let (mut prompts, mut rows) = (0, 0);
    let mut sessions = std::collections::BTreeSet::new();
    let mut notes: BTreeMap<String, u64> = BTreeMap::new();
    for path in &paths {
        let key = path.strip_prefix(&folder).expect("a path below the folder");
        let key = format!("ada/{}", key.display());
        let host = MemoryHost::new(std::fs::read(path).expect("a readable file"));
        host.run::<Usage>(&SessionInfo::new(&key)).expect("a run");
        let mut sums = [0; TOKENS.len()];
        let mut open = 0;
        for row in Named::all::<MessageRow<'_>>(&host) {
            let tokens = TOKENS.map(|column| row.number(column));
            sums = std::array::from_fn(|at| sums[at] + tokens[at]);
            rows += 1;
            open += i64::from(row.number("is_final") == 0);
            let value = (row.text("model"), tokens);
            messages
                .entry(row.text("response_key"))
                .and_modify(|known: &mut (String, [i64; 7])| {
                    if value.1[5] > known.1[5] {
                        *known = value.clone();
                    }
                })
                .or_insert(value.clone());
        }
        let calls = Named::all::<EventRow<'_>>(&host);
        let errors = calls
            .iter()
            .filter(|row| row.number("is_error") == 1)
            .count();
        for row in &calls {
            let id = match row.text("event_key") {
                key if key == "-" => row.text("tool_id"),
                key => key,
            };
            let found = (
                row.text("event_type"),
                row.text("error_class"),
                row.text("skill_name") != "-",
            );
            let known = events.entry(id).or_insert(found.clone());
            if known.1 == "-" {
                known.1 = found.1;
            }
        }
        let session = &Named::all::<SessionRow<'_>>(&host)[0];
        prompts += session.number("prompts");
        sessions.insert(session.text("session_id"));
        *notes.entry(session.text("unrecorded_usage")).or_default() += 1;
        println!(
            "{key}\n    {} {} tokens {sums:?} open {open} calls {} errors {errors} prompts {} lines {} bad {} unknown {} plan {} {} title {:?}",
            session.text("agent"),
            session.text("agent_version"),
            calls.len(),
            session.number("prompts"),
            session.number("lines"),
            session.number("bad_lines"),
            session.number("unknown_types"),
            session.text("plan"),
            session.text("unrecorded_usage"),
            session.text("title"),
        );
    }
    let mut by_model: BTreeMap<&str, [i64; 7]> = BTreeMap::new();
    for (model, tokens) in messages.values() {
        for name in [model, "total"] {
            let sums = by_model.entry(name).or_default();
            *sums = std::array::from_fn(|at| sums[at] + tokens[at]);
        }
    }
    println!(
        "{} files, {} sessions, {prompts} prompts, {rows} rows",
        paths.len(),
        sessions.len()
    );
    println!("{TOKENS:?}");
    for (model, tokens) in by_model {
        println!("{model}: {tokens:?}");
    }
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (kind, class, is_skill) in events.into_values() {
        *kinds.entry(kind).or_default() += 1;
        *kinds.entry(format!("error {class}")).or_default() += 1;
        *kinds.entry("skill".to_owned()).or_default() += u64::from(is_skill);
    }
    println!("{kinds:?} {notes:?}");
}

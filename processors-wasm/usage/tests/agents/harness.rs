//! Runs `usage` on sessions of any agent, and checks the laws that hold for all of them.

pub mod copilot;

use std::collections::{BTreeMap, BTreeSet};

use session_pipeline_processor::SessionInfo;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::table::{OwnedValue, Row};
use session_pipeline_usage::Usage;
use session_pipeline_usage::agent_totals::AgentTotalRow;
use session_pipeline_usage::events::EventRow;
use session_pipeline_usage::messages::MessageRow;
use session_pipeline_usage::sessions::SessionRow;

/// The columns of tokens, in the order of sums.
pub const TOKENS: [&str; 7] = [
    "request_count",
    "input_tokens",
    "cache_read_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "output_tokens",
    "thinking_tokens",
];

/// A row by the names of its columns.
pub struct NamedRow(BTreeMap<String, OwnedValue>);

impl NamedRow {
    fn all<R: Row>(host: &MemoryHost<'_>) -> Vec<Self> {
        let columns = R::table().columns;
        let names = || columns.iter().map(|column| column.name.clone());
        let rows = host.rows(R::TABLE).into_iter();
        rows.map(|row| Self(names().zip(row).collect())).collect()
    }

    /// A number or flag. 0 if it is null.
    pub fn number(&self, column: &str) -> i64 {
        match self.0[column] {
            OwnedValue::S64(number) => number,
            OwnedValue::Bool(flag) => i64::from(flag),
            _ => 0,
        }
    }

    /// A text. `-` if it is null.
    pub fn text(&self, column: &str) -> String {
        match &self.0[column] {
            OwnedValue::Text(text) | OwnedValue::Json(text) => text.clone(),
            OwnedValue::S64(number) | OwnedValue::Timestamp(number) => number.to_string(),
            OwnedValue::Bool(flag) => flag.to_string(),
            OwnedValue::F64(number) => number.to_string(),
            _ => "-".to_owned(),
        }
    }

    /// Several columns, separated by spaces.
    pub fn show(&self, columns: &str) -> String {
        let cells: Vec<_> = columns.split(' ').map(|name| self.text(name)).collect();
        cells.join(" ")
    }

    /// The tokens.
    pub fn tokens(&self) -> [i64; 7] {
        TOKENS.map(|column| self.number(column))
    }
}

/// The rows of a file.
pub struct FileRows {
    /// `usage.messages`.
    pub messages: Vec<NamedRow>,
    /// `usage.events`.
    pub events: Vec<NamedRow>,
    /// The row of `usage.sessions`.
    pub session: NamedRow,
    /// `usage.agent_totals`.
    pub agent_totals: Vec<NamedRow>,
}

impl FileRows {
    /// Runs `usage` on a file with this key.
    pub fn of(key: &str, content: &[u8]) -> Self {
        let host = MemoryHost::new(content);
        host.run::<Usage>(&SessionInfo::new(key)).expect("a run");
        Self {
            messages: NamedRow::all::<MessageRow<'_>>(&host),
            events: NamedRow::all::<EventRow<'_>>(&host),
            session: NamedRow::all::<SessionRow<'_>>(&host)
                .pop()
                .expect("a row of the session"),
            agent_totals: NamedRow::all::<AgentTotalRow<'_>>(&host),
        }
    }

    /// The identities of messages and events across files.
    pub fn identities(&self) -> BTreeSet<String> {
        let messages = self.messages.iter().map(|row| row.text("response_key"));
        messages
            .chain(self.events.iter().map(event_identity))
            .collect()
    }
}

/// The identity of an event across files.
pub fn event_identity(row: &NamedRow) -> String {
    match row.text("event_key") {
        key if key == "-" => row.text("tool_id"),
        key => key,
    }
}

/// The sums over several files, where copies of a message or an event count once, as in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The model and the tokens of each message.
    pub messages: BTreeMap<String, (String, [i64; 7])>,
    /// The type and the class of the failure of each event.
    pub events: BTreeMap<String, (String, String)>,
    /// The ids of sessions.
    pub sessions: BTreeSet<String>,
    /// The sum over the files, because prompts have no identity.
    pub prompts: i64,
}

impl Sums {
    /// Adds a file.
    pub fn add(&mut self, rows: &FileRows) {
        for row in &rows.messages {
            let found = (row.text("model"), row.tokens());
            let known = self
                .messages
                .entry(row.text("response_key"))
                .or_insert_with(|| found.clone());
            if found.1[5] > known.1[5] {
                *known = found;
            }
        }
        for row in &rows.events {
            let class = row.text("error_class");
            let known = self
                .events
                .entry(event_identity(row))
                .or_insert_with(|| (row.text("event_type"), class.clone()));
            if known.1 == "-" {
                known.1 = class;
            }
        }
        self.sessions.insert(rows.session.text("session_id"));
        self.prompts += rows.session.number("prompts");
    }

    /// The sums over files with these contents.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut sums = Self::default();
        for (key, content) in files {
            sums.add(&FileRows::of(key, content.as_bytes()));
        }
        sums
    }

    /// The tokens of all messages.
    pub fn tokens(&self) -> [i64; 7] {
        let tokens = self.messages.values().map(|(_, tokens)| tokens);
        tokens.fold([0; 7], |sums, tokens| {
            std::array::from_fn(|at| sums[at] + tokens[at])
        })
    }
}

/// Checks the laws that hold for files of every agent:
///
/// - The order in which files are processed does not matter.
/// - A file that exists twice, under different keys, counts once.
/// - A prefix of a file has no identity that the file lacks, so that a file that grows only adds.
pub fn check_laws(files: &[(&str, &str)]) {
    let sums = Sums::of(files);
    for first in 0..files.len() {
        let mut rotated = files.to_vec();
        rotated.rotate_left(first);
        assert_eq!(Sums::of(&rotated), sums, "rotated by {first}");
        rotated.reverse();
        assert_eq!(
            Sums::of(&rotated),
            sums,
            "reversed after rotation by {first}"
        );
    }
    let copies: Vec<(String, &str)> = files
        .iter()
        .map(|(key, content)| (key.replacen('/', "/copy/", 1), *content))
        .collect();
    let copies = copies.iter().map(|(key, content)| (&**key, *content));
    let twice: Vec<(&str, &str)> = files.iter().copied().chain(copies).collect();
    let twice = Sums {
        prompts: sums.prompts,
        ..Sums::of(&twice)
    };
    assert_eq!(twice, sums, "every file twice");
    for (key, content) in files {
        let whole = FileRows::of(key, content.as_bytes()).identities();
        // Every line, and some cuts inside of lines.
        let ends = content.match_indices('\n').map(|(at, _)| at + 1);
        let cuts = (0..content.len()).step_by(97);
        for end in ends.chain(cuts) {
            let prefix = FileRows::of(key, &content.as_bytes()[..end]).identities();
            let extra: Vec<_> = prefix.difference(&whole).collect();
            assert!(extra.is_empty(), "{key} up to {end}: {extra:?}");
        }
    }
}

/// Checks that a shorter copy of a file adds nothing to the file: an older backup, or the file
/// before it grew.
pub fn check_growth(key: &str, content: &str) {
    let whole = Sums::of(&[(key, content)]).tokens();
    for (end, _) in content.match_indices('\n') {
        let older = &content[..end];
        let both = [("ada/older/copy.jsonl", older), (key, content)];
        assert_eq!(
            Sums::of(&both).tokens(),
            whole,
            "with the first {end} bytes"
        );
    }
}

/// Checks that no damage stops the processor, and that it counts no more bad lines than there are.
/// The damage is the same in every run: bytes that are removed, replaced or repeated.
pub fn check_damage(key: &str, content: &str) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).expect("a small number")
    };
    let replacements = b"\"\\{}[],:\n\xff\0-9e";
    for _ in 0..400 {
        let mut bytes = content.as_bytes().to_vec();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            let end = (at + next(40)).min(bytes.len());
            match next(3) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes[at] = replacements[next(replacements.len())],
                _ => {
                    let repeated = bytes[at..end].to_vec();
                    let to = next(bytes.len());
                    bytes.splice(to..to, repeated);
                }
            }
        }
        let rows = FileRows::of(key, &bytes);
        let [bad, lines] = ["bad_lines", "lines"].map(|column| rows.session.number(column));
        assert!(bad <= lines, "{bad} of {lines} lines are bad");
    }
}

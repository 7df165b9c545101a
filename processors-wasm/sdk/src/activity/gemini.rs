//! Reads the sessions of Gemini CLI, and of old versions of Qwen Code.
//!
//! Newer versions write lines: a header, records, and changes of the header. Older versions wrote
//! one object with the records in `messages`, which the driver splits, so that each field and each
//! record arrives here as an object of its own. A record is written again when its calls end, so
//! the same request can arrive several times.

mod calls;
mod prompts;

use std::collections::BTreeSet;

use self::prompts::WaitingPrompts;
use crate::Timestamp;
use crate::activity::counts::{CountReader, stable_hash, text_hash};
use crate::activity::driver::{Items, Reader};
use crate::activity::values::{set, text};
use crate::activity::{Item, Origin, Request, SessionFacts, Tokens};
use crate::json::{Json, Text};

/// The part of a request's identity that other agents fill with a session. The id of a record is
/// unique, and copies can be in other sessions.
const REQUEST_ID: &str = "gemini";

/// What the counts of a record should sum up to, as the name of an unknown kind.
const ODD_TOTAL: &str = "gemini/tokens.total";

/// The beginning of the file names of sessions. Those of sub-agents have another one.
const SESSION_PREFIX: &str = "session-";

/// The folder of the sessions of a project. Its folders have the files of sub-agents.
const SESSIONS_FOLDER: &str = "chats";

/// The beginning of the names of folders that do not name a session.
const EXTRACTION_FOLDER: &str = "skill-extraction-";

/// The state of a file.
pub(super) struct GeminiReader {
    time: Option<Timestamp>,
    session_id: Option<String>,
    /// The session that started this sub-agent, by the folder of the file.
    parent_session: Option<String>,
    is_sub_agent: bool,
    cwd: Option<String>,
    prompts: WaitingPrompts,
    /// Hashes of the ids of what was emitted, because records are written several times.
    emitted: BTreeSet<u64>,
}

impl Reader for GeminiReader {
    fn read(&mut self, object: Json<'_>, items: &mut Items<'_>) {
        let [kind, set, rewind] = object.fields(["type", "$set", "$rewindTo"]);
        if kind.is_some() {
            self.read_record(object, items);
        } else if let Some(changes) = set {
            self.read_header(changes, items);
        } else if rewind.is_none() {
            // The requests that were taken back were paid, so they count.
            self.read_header(object, items);
        }
    }

    fn end(&mut self, items: &mut Items<'_>) {
        self.flush_prompts(items);
    }

    fn origin(&self) -> Origin<'_> {
        let own = self.session_id.as_deref().map(Text::plain);
        let parent = self.parent_session.as_deref().map(Text::plain);
        Origin {
            time: self.time,
            session_id: parent.filter(|_| self.is_sub_agent).or(own),
            is_sidechain: self.is_sub_agent,
            agent_id: own.filter(|_| self.is_sub_agent),
            cwd: self.cwd.as_deref().map(Text::plain),
            ..Origin::default()
        }
    }
}

impl GeminiReader {
    /// Reads the file with this key. In a document, the field that tells sub-agents apart follows
    /// the records. In lines, it precedes them.
    pub(super) fn new(key: &str, is_document: bool) -> Self {
        let mut names = key.rsplit('/');
        let (file, folder, above) = (names.next(), names.next(), names.next());
        let is_session = file.is_some_and(|name| name.starts_with(SESSION_PREFIX));
        let is_sub_agent = above == Some(SESSIONS_FOLDER) && !is_session;
        let parent = folder.filter(|name| is_sub_agent && !name.starts_with(EXTRACTION_FOLDER));
        Self {
            time: None,
            session_id: None,
            parent_session: parent.map(str::to_owned),
            is_sub_agent,
            cwd: None,
            prompts: WaitingPrompts::new(is_document && !is_sub_agent && !is_session),
            emitted: BTreeSet::new(),
        }
    }

    /// Reads fields of the header, which can contain all records.
    fn read_header(&mut self, header: Json<'_>, items: &mut Items<'_>) {
        let [
            session,
            start,
            kind,
            directories,
            summary,
            messages,
            updated,
        ] = header.fields([
            "sessionId",
            "startTime",
            "kind",
            "directories",
            "summary",
            "messages",
            "lastUpdated",
        ]);
        let time = text(start).or(text(updated));
        self.time = time.and_then(|time| Timestamp::parse(&time.decode()));
        set(&mut self.session_id, text(session));
        let directory = directories.iter().flat_map(Json::elements).next();
        set(&mut self.cwd, text(directory));
        if let Some(kind) = text(kind) {
            self.is_sub_agent = kind == "subagent";
            self.flush_prompts(items);
        }
        if let Some(title) = text(summary) {
            let facts = SessionFacts {
                title: Some(title),
                ..SessionFacts::default()
            };
            items.emit(self.origin(), &Item::Session(facts));
        }
        for record in messages.iter().flat_map(Json::elements) {
            self.read_record(record, items);
        }
        if let Some((name, _)) = header.entries().find(|(name, _)| name.starts_with('$')) {
            items.emit(self.origin(), &Item::Unknown(Text::plain(&name)));
        }
    }

    fn read_record(&mut self, record: Json<'_>, items: &mut Items<'_>) {
        let [kind, id, timestamp] = record.fields(["type", "id", "timestamp"]);
        let time = text(timestamp).and_then(|time| Timestamp::parse(&time.decode()));
        self.time = time;
        let id = text(id).map(|id| id.decode().into_owned());
        let kind = text(kind).map(|kind| kind.decode()).unwrap_or_default();
        match &*kind {
            "user" => self.read_prompt(record, id.as_deref(), items),
            "gemini" => self.read_answer(record, id.as_deref(), items),
            "info" | "error" | "warning" => {}
            unknown => items.emit(self.origin(), &Item::Unknown(Text::plain(unknown))),
        }
    }

    fn read_answer(&mut self, record: Json<'_>, id: Option<&str>, items: &mut Items<'_>) {
        let [content, model, tokens, calls] =
            record.fields(["content", "model", "tokens", "toolCalls"]);
        let answer = content.map(|content| prompts::text_of(content));
        let answer = answer.filter(|answer| !answer.trim().is_empty());
        if let Some(answer) = answer.filter(|_| self.is_new("answer", id)) {
            items.emit(self.origin(), &Item::Answer(Text::plain(&answer)));
        }
        if let Some(tokens) = tokens.filter(|tokens| tokens.is_object()) {
            self.read_tokens(tokens, id, text(model), items);
        }
        for (at, call) in calls.iter().flat_map(Json::elements).enumerate() {
            self.read_call(call, at, id, text(model), items);
        }
    }

    fn read_tokens(
        &mut self,
        tokens: Json<'_>,
        id: Option<&str>,
        model: Option<Text<'_>>,
        items: &mut Items<'_>,
    ) {
        let mut counts = CountReader::default();
        let fields = tokens.fields(["input", "output", "cached", "thoughts", "tool", "total"]);
        let total = fields[5].filter(|total| !total.is_null());
        let figures = fields.map(|field| counts.read(field));
        let [input, output, cached, thoughts, tool, sum] = figures;
        if counts.is_incomplete {
            items.note_damage();
        } else if total.is_some() && sum != input + output + thoughts + tool {
            items.emit(self.origin(), &Item::Unknown(Text::plain(ODD_TOTAL)));
        }
        if figures == [0; 6] && !counts.is_incomplete {
            return;
        }
        let hashed;
        let message_id = match id {
            Some(id) => id,
            None => {
                let time = self.time.map_or(0, Timestamp::micros);
                let numbers = [&figures[..], &[time]].concat();
                hashed = format!("gemini:{:016x}", stable_hash(&numbers));
                &hashed
            }
        };
        let request = Request {
            message_id,
            request_id: REQUEST_ID,
            model,
            provider: None,
            speed: None,
            effort: None,
            stop_reason: None,
            tokens: Tokens {
                input: Some((input - cached).max(0) + tool),
                output: Some(output + thoughts),
                cache_read: Some(cached),
                thinking: Some(thoughts),
                ..Tokens::default()
            },
            count: 1,
            is_final: !counts.is_incomplete,
        };
        items.emit(self.origin(), &Item::Request(request));
    }

    /// Whether this kind of item of this record was not emitted before. Without an id, a record
    /// cannot be recognized.
    fn is_new(&mut self, kind: &str, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.emitted.insert(text_hash(&format!("{kind}/{id}"))))
    }
}

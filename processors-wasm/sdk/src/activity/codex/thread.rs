//! The thread of a file, its turns, and the history of another thread at its beginning.

use crate::Timestamp;
use crate::activity::Origin;
use crate::activity::codex::{set, text};
use crate::json::{Json, Text};

/// Microseconds.
const SECOND: i64 = 1_000_000;

/// The first version that records the request that summarizes the conversation.
const COMPACTIONS_RECORDED: [u32; 2] = [0, 154];

/// The thread of a file.
#[derive(Default)]
pub(super) struct Thread {
    /// The id in the first header.
    id: Option<String>,
    /// The id in the latest header: in a copy of history, that of the other thread.
    nearest_id: Option<String>,
    /// The session that started this sub-agent.
    root: Option<String>,
    /// The type of the sub-agent.
    agent_type: Option<String>,
    is_sub_agent: bool,
    began_at: Option<Timestamp>,
    source: Option<String>,
    originator: Option<String>,
    provider: Option<String>,
    version: Option<String>,
    cwd: Option<String>,
    git_branch: Option<String>,
    /// The id of the current turn. `None` if the file has no turn ids so far.
    turn: Option<String>,
    is_replaying: bool,
    time: Option<Timestamp>,
}

/// The result of reading a header.
pub(super) struct HeaderFacts {
    /// Whether it is the first of the file.
    pub(super) is_first: bool,
    /// The thread that this one was forked from.
    pub(super) forked_from: Option<String>,
}

impl Thread {
    /// Reads a header. Each resume repeats it. If one with another id follows, then a copy of that
    /// thread's history begins.
    pub(super) fn read_header(&mut self, header: Json<'_>, time: Option<Timestamp>) -> HeaderFacts {
        let [id, began_at, version, git] = header.fields(["id", "timestamp", "cli_version", "git"]);
        let id = text(id).map(|id| id.decode().into_owned());
        let is_first = self.id.is_none();
        let is_own = is_first || id.is_none() || id == self.id;
        self.is_replaying |= !is_own;
        if is_own {
            set(&mut self.version, text(version));
            set(
                &mut self.git_branch,
                git.and_then(|git| text(git.field("branch"))),
            );
        }
        self.nearest_id = id.clone().or_else(|| self.nearest_id.take());
        if !is_first {
            return HeaderFacts {
                is_first,
                forked_from: None,
            };
        }
        let [
            cwd,
            originator,
            provider,
            source,
            forked_from,
            parent,
            session,
        ] = header.fields([
            "cwd",
            "originator",
            "model_provider",
            "source",
            "forked_from_id",
            "parent_thread_id",
            "session_id",
        ]);
        set(&mut self.cwd, text(cwd));
        set(&mut self.originator, text(originator));
        set(&mut self.provider, text(provider));
        self.read_source(source, text(parent), text(session));
        let began_at = text(began_at).and_then(|time| Timestamp::parse(&time.decode()));
        let created_at = id.as_deref().and_then(time_of_uuid);
        self.began_at = created_at.or(began_at).or(time);
        // Without an id, the file is one thread as well.
        self.id = Some(id.unwrap_or_default());
        HeaderFacts {
            is_first,
            forked_from: text(forked_from).map(|id| id.decode().into_owned()),
        }
    }

    fn read_source(
        &mut self,
        source: Option<Json<'_>>,
        parent: Option<Text<'_>>,
        session: Option<Text<'_>>,
    ) {
        let Some(source) = source else { return };
        set(&mut self.source, text(Some(source)));
        let Some(sub_agent) = source.field("subagent") else {
            return;
        };
        self.is_sub_agent = true;
        self.source = Some("subagent".to_owned());
        let [spawn, other] = sub_agent.fields(["thread_spawn", "other"]);
        let [spawned_by, role] = spawn.map_or([None; 2], |spawn| {
            spawn.fields(["parent_thread_id", "agent_role"])
        });
        set(
            &mut self.agent_type,
            text(Some(sub_agent)).or(text(other)).or(text(role)),
        );
        set(&mut self.root, session.or(parent).or(text(spawned_by)));
    }

    /// Begins a line. In history without turn ids, which is written at once, the first pause ends
    /// the history.
    pub(super) fn pass_time(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        if self.is_replaying
            && self.turn.is_none()
            && let Some(before) = self.time
            && time.micros() - before.micros() > SECOND
        {
            self.is_replaying = false;
        }
        self.time = Some(time);
    }

    /// Begins a turn. History ends with the first turn that is not older than the thread.
    pub(super) fn begin_turn(&mut self, turn: Option<Text<'_>>, started_at: Option<Json<'_>>) {
        let Some(turn) = turn else { return };
        set(&mut self.turn, Some(turn));
        if !self.is_replaying {
            return;
        }
        let started_at = started_at.and_then(|seconds| seconds.s64());
        let started_at =
            started_at.and_then(|seconds| Timestamp::from_micros(seconds.checked_mul(SECOND)?));
        let began_at = time_of_uuid(&turn.decode()).or(started_at);
        if let (Some(turn), Some(thread)) = (began_at, self.began_at) {
            self.is_replaying = turn.micros() < thread.micros() - SECOND;
        }
    }

    pub(super) fn change_directory(&mut self, cwd: Option<Text<'_>>) {
        if !self.is_replaying {
            set(&mut self.cwd, cwd);
        }
    }

    /// The origin of a line, without its time.
    pub(super) fn origin(&self) -> Origin<'_> {
        let id = plain(&self.id);
        Origin {
            session_id: plain(&self.root).or(id),
            is_sidechain: self.is_sub_agent,
            agent_id: id.filter(|_| self.is_sub_agent),
            agent_type: plain(&self.agent_type),
            cwd: plain(&self.cwd),
            git_branch: plain(&self.git_branch),
            agent_version: plain(&self.version),
            is_replayed: self.is_replaying,
            ..Origin::default()
        }
    }

    /// The turn or, in files without turn ids, the thread of the nearest header. Copies of a
    /// request preserve it.
    pub(super) fn turn_or_thread(&self) -> &str {
        let nearest = self.turn.as_ref().or(self.nearest_id.as_ref());
        nearest.map_or("", String::as_str)
    }

    /// The thread of the nearest header.
    pub(super) fn nearest_id(&self) -> &str {
        self.nearest_id.as_deref().unwrap_or_default()
    }

    /// Whether the current turn was imported from a session of another agent.
    pub(super) fn is_imported(&self) -> bool {
        let turn = self.turn.as_deref().unwrap_or_default();
        turn.starts_with("external-import-turn-")
    }

    /// Whether the current line belongs to the history of another thread.
    pub(super) fn is_replaying(&self) -> bool {
        self.is_replaying
    }

    pub(super) fn is_sub_agent(&self) -> bool {
        self.is_sub_agent
    }

    /// Whether a program runs the session.
    pub(super) fn is_automated(&self) -> bool {
        matches!(self.source.as_deref(), Some("exec" | "mcp"))
            || self.originator.as_deref() == Some("codex_exec")
    }

    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    pub(super) fn provider(&self) -> Option<Text<'_>> {
        self.provider.as_deref().map(Text::plain)
    }

    /// Whether the version of the agent records the requests of compactions.
    pub(super) fn records_compactions(&self) -> bool {
        let version = self.version.as_deref().unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        let mut next = || parts.next().flatten();
        let (Some(major), Some(minor)) = (next(), next()) else {
            return false;
        };
        [major, minor] >= COMPACTIONS_RECORDED
    }
}

fn plain(text: &Option<String>) -> Option<Text<'_>> {
    let text = text.as_deref().filter(|text| !text.is_empty());
    text.map(Text::plain)
}

/// The time in a UUID of version 7.
fn time_of_uuid(id: &str) -> Option<Timestamp> {
    let head = id.get(..15)?;
    let (high, rest) = head.split_once('-')?;
    let (low, version) = rest.split_once('-')?;
    if high.len() != 8 || low.len() != 4 || version != "7" {
        return None;
    }
    let high = i64::from_str_radix(high, 16).ok()?;
    let low = i64::from_str_radix(low, 16).ok()?;
    Timestamp::from_micros(((high << 16) | low).checked_mul(1_000)?)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_uuid_of_version_7_has_a_time() {
        let time = time_of_uuid("019d924b-6b70-797b-90cc-aba02fb1d205");
        assert_eq!(time, Timestamp::parse("2026-04-15T17:58:29.488Z"));
        for other in [
            "",
            "98d96029-f7bd-43b7-8fb8-e3ed5c8c0475",
            "019d924b-6b70-7",
            "019d924b-6b70",
            "é19d924b-6b70-797b",
        ] {
            let is_short = other == "019d924b-6b70-7";
            assert_eq!(time_of_uuid(other).is_some(), is_short, "{other}");
        }
    }
}

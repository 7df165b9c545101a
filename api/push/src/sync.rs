//! One pass: compares local files with what was sent, and sends what is new.

use std::collections::HashMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use globset::GlobSet;
use serde::Serialize;
use session_pipeline_redaction::RULES_VERSION;

use crate::compressed;
use crate::hash::{HashState, Hex};
use crate::kill_point::kill_point;
use crate::roots::Root;
use crate::server::{ManifestEntry, PartRequest, Server, ServerError, StoredFile};
use crate::source::{Form, RecordedPosition, Source, SourceError};
use crate::state::{FileRecord, Records, State};
use crate::walk::{self, LocalFile, LocalStat, Walk};

/// A file that changed less than this before it was read is read again in the next pass, because
/// the clock of the file system can be too coarse to show a further change.
const QUIET_NS: i64 = 100_000_000;
/// How often the server can reject a position in a file before the next pass tries again.
const MISMATCHES_MAX: u32 = 3;
/// The end of the name of a session to which an agent appends lines.
const SESSION_SUFFIX: &str = ".jsonl";
/// Maximum number of files that are listed as unwanted.
const UNWANTED_MAX: usize = 20;

/// What to send.
#[derive(Debug)]
pub struct Selection {
    /// The folders.
    pub roots: Vec<Root>,
    /// Patterns of files that stay on this machine.
    pub exclude: GlobSet,
    /// Whether secrets are removed.
    pub redacts: bool,
}

impl Selection {
    /// The version of the redaction rules. `None`: nothing is redacted.
    fn rules(&self) -> Option<i64> {
        self.redacts.then_some(RULES_VERSION)
    }

    fn record<'r>(&self, records: &'r Records, file: &LocalFile) -> Option<&'r FileRecord> {
        let record = records.get(&file.path)?;
        (record.rules == self.rules()).then_some(record)
    }

    /// What a pass would send.
    pub fn pending(&self, records: &Records) -> PassReport {
        let Walk { files, skipped, .. } = walk::walk(&self.roots, &self.exclude);
        let mut report = PassReport {
            files: files.len() as u64,
            skipped,
            ..PassReport::default()
        };
        for file in &files {
            let record = self.record(records, file);
            let pending = pending_bytes(file, record);
            // A file that changed just before it was sent may have changed again since.
            let is_uncertain = pending == 0 && record.is_some_and(|record| record.clean.is_none());
            if !is_clean(file, record) && !is_uncertain {
                report.pending_files += 1;
                report.pending_bytes += pending;
            }
        }
        report
    }
}

fn is_clean(file: &LocalFile, record: Option<&FileRecord>) -> bool {
    record.is_some_and(|record| record.clean == Some(file.stat))
}

fn pending_bytes(file: &LocalFile, record: Option<&FileRecord>) -> u64 {
    let read = record.map_or(0, |record| record.read);
    file.stat.size.checked_sub(read).unwrap_or(file.stat.size)
}

/// The result of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassReport {
    /// The number of files found.
    pub files: u64,
    /// The number of files of which something was sent.
    pub sent_files: u64,
    /// The number of files that have to be sent, or sent again.
    pub pending_files: u64,
    /// The size of what has to be sent of these files, in bytes.
    pub pending_bytes: u64,
    /// The number of files that the server does not accept.
    pub unwanted_files: u64,
    /// Some of these files, with reasons.
    pub unwanted: Vec<String>,
    /// Paths that were skipped, with reasons.
    pub skipped: Vec<String>,
}

/// Why a pass stopped.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A request failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The state cannot be written.
    #[error("cannot write the state; check free space: {0}")]
    State(io::Error),
}

/// What happened to a file.
enum FileEnd {
    /// Everything was sent.
    Sent { has_sent: bool },
    /// The file changed while it was read. The next pass continues.
    Changed,
    /// The server does not accept it.
    Unwanted(String),
}

/// A pass in progress.
pub struct Pass<'a> {
    server: &'a mut Server,
    state: &'a mut State,
    selection: &'a Selection,
    /// What has happened so far. Valid even if the pass stops early.
    pub report: PassReport,
}

impl<'a> Pass<'a> {
    /// A pass over these files.
    pub fn new(server: &'a mut Server, state: &'a mut State, selection: &'a Selection) -> Self {
        Self {
            server,
            state,
            selection,
            report: PassReport::default(),
        }
    }

    /// Sends what is new. `compares_all`: also checks that the server still has what was sent
    /// before.
    ///
    /// # Errors
    /// The server cannot be reached or rejects everything, or the state cannot be written.
    pub fn run(&mut self, compares_all: bool) -> Result<(), PassError> {
        let Walk {
            files,
            skipped,
            is_complete,
        } = walk::walk(&self.selection.roots, &self.selection.exclude);
        self.report.files = files.len() as u64;
        self.report.skipped = skipped;
        let changed: Vec<&LocalFile> = files
            .iter()
            .filter(|file| compares_all || !is_clean(file, self.record(file)))
            .collect();
        self.report.pending_files = changed.len() as u64;
        self.report.pending_bytes = changed.iter().map(|file| self.pending_bytes(file)).sum();
        let unknown = changed
            .iter()
            .filter(|file| compares_all || self.record(file).is_none());
        let entries: Vec<ManifestEntry> = unknown
            .map(|file| ManifestEntry {
                path: file.path.clone(),
                size: file.stat.size,
            })
            .collect();
        let stored = match entries.is_empty() {
            true => HashMap::new(),
            false => {
                let files = self.server.manifest(&entries)?.into_iter();
                kill_point("manifest received");
                files.map(|file| (file.path.clone(), file)).collect()
            }
        };
        let mut too_many_files = None;
        for file in changed {
            let pending = self.pending_bytes(file);
            let compared = stored.get(&file.path);
            let is_new = compared.is_some_and(|compared| compared.stored.is_none());
            if too_many_files.is_some() && is_new {
                continue;
            }
            let end = match compared.and_then(|compared| compared.unwanted.clone()) {
                Some(reason) => FileEnd::Unwanted(reason),
                None => {
                    let stored = compared.map(|compared| compared.stored.as_ref());
                    match self.send(file, stored) {
                        Err(PassError::Server(error @ ServerError::TooManyFiles { .. })) => {
                            too_many_files = Some(error);
                            continue;
                        }
                        end => end?,
                    }
                }
            };
            match end {
                FileEnd::Sent { has_sent } => self.report.sent_files += u64::from(has_sent),
                FileEnd::Unwanted(reason) => self.set_unwanted(file, reason)?,
                FileEnd::Changed => continue,
            }
            self.report.pending_files -= 1;
            self.report.pending_bytes = self.report.pending_bytes.saturating_sub(pending);
        }
        self.list_unwanted(&files);
        if is_complete {
            let there: std::collections::HashSet<&str> =
                files.iter().map(|file| file.path.as_str()).collect();
            let retained = self.state.retain(|path| there.contains(path));
            retained.map_err(PassError::State)?;
        }
        too_many_files.map_or(Ok(()), |error| Err(error.into()))
    }

    fn form(&self, path: &str) -> Form {
        match (self.selection.redacts, path.ends_with(SESSION_SUFFIX)) {
            (false, _) => Form::Unchanged,
            (true, true) => Form::RedactedLines,
            (true, false) => Form::RedactedDocument,
        }
    }

    /// The record of a file, unless the rules have changed since.
    fn record(&self, file: &LocalFile) -> Option<&FileRecord> {
        self.selection.record(self.state.records(), file)
    }

    fn pending_bytes(&self, file: &LocalFile) -> u64 {
        pending_bytes(file, self.record(file))
    }

    fn list_unwanted(&mut self, files: &[LocalFile]) {
        for file in files {
            let reason = self.record(file).and_then(|record| record.unwanted.clone());
            let Some(reason) = reason else { continue };
            self.report.unwanted_files += 1;
            if self.report.unwanted.len() < UNWANTED_MAX {
                let path = file.path.escape_debug();
                self.report.unwanted.push(format!("`{path}`: {reason}"));
            }
        }
    }

    fn set_unwanted(&mut self, file: &LocalFile, reason: String) -> Result<(), PassError> {
        let record = FileRecord {
            path: file.path.clone(),
            clean: Some(file.stat),
            read: 0,
            read_sha256: Hex::of(&HashState::default().0),
            ends: None,
            sent: 0,
            sent_state: HashState::default(),
            rules: self.selection.rules(),
            unwanted: Some(reason),
        };
        self.state.put(record).map_err(PassError::State)
    }

    /// Sends what is new of a file. `stored` is what the server has, if it was asked.
    fn send(
        &mut self,
        file: &LocalFile,
        stored: Option<Option<&StoredFile>>,
    ) -> Result<FileEnd, PassError> {
        let opened = walk::open(&file.local);
        let Some((open, stat)) = opened.unwrap_or_default() else {
            // It vanished, or cannot be read now.
            return Ok(FileEnd::Changed);
        };
        // Before it is read: a later change then has another time.
        let clean = is_quiet(stat, SystemTime::now()).then_some(stat);
        let form = self.form(&file.path);
        let (open, length) = match file.is_compressed {
            false => (open, stat.size),
            true => match compressed::decompress(open) {
                Ok(plain) => plain,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Ok(FileEnd::Unwanted(error.to_string()));
                }
                Err(_) => return Ok(FileEnd::Changed),
            },
        };
        let mut source = Source::new(open, length, form);
        match self.send_source(file, &mut source, (stat, clean), stored) {
            Ok(end) => Ok(end),
            Err(SendError::Pass(error)) => Err(error),
            Err(SendError::Source(SourceError::TooLong)) => {
                Ok(FileEnd::Unwanted(SourceError::TooLong.to_string()))
            }
            Err(SendError::Source(_)) => Ok(FileEnd::Changed),
        }
    }

    fn send_source(
        &mut self,
        file: &LocalFile,
        source: &mut Source,
        (stat, clean): (LocalStat, Option<LocalStat>),
        stored: Option<Option<&StoredFile>>,
    ) -> Result<FileEnd, SendError> {
        let mut remote = Remote::default();
        if let Some(record) = self.record(file).cloned() {
            // A file that was complete, and changed without growing, has been rewritten.
            let is_rewritten = record.clean.is_some_and(|clean| clean.size == stat.size);
            let is_compared = stored.is_some() || is_rewritten;
            let is_resumed = source.resume(&RecordedPosition {
                read: record.read,
                read_sha256: &record.read_sha256,
                ends: record.ends.as_ref().filter(|_| !is_compared),
                sent: record.sent,
                sent_state: &record.sent_state,
            })?;
            // If the file is empty now, an empty one has to replace what was sent.
            remote.is_up_to_date_if_empty = is_resumed && record.unwanted.is_none();
        }
        if let Some(stored) = stored {
            remote.resume(source, stored)?;
        }
        let (mut has_sent, mut mismatches) = (false, 0);
        loop {
            let start = source.position().clone();
            let part = source.next_part()?;
            let has_news = !part.bytes.is_empty()
                || remote.must_check
                || (start.sent == 0 && !remote.is_up_to_date_if_empty);
            if has_news {
                let result = self.server.put(&PartRequest {
                    path: &file.path,
                    offset: start.sent,
                    prefix: &Hex::of(&start.sent_state.0),
                    is_complete: part.is_last,
                    bytes: &part.bytes,
                });
                kill_point("part sent");
                let mismatch = match result {
                    Ok(stored) => {
                        let is_expected = stored.size == part.end.sent
                            && stored.sha256.as_ref() == Some(&Hex::of(&part.end.sent_state.0));
                        (!is_expected).then_some(stored)
                    }
                    Err(ServerError::Mismatch(stored)) => Some(stored),
                    Err(ServerError::Unwanted(reason)) => return Ok(FileEnd::Unwanted(reason)),
                    Err(error) => return Err(SendError::Pass(error.into())),
                };
                if let Some(stored) = mismatch {
                    mismatches += 1;
                    if mismatches > MISMATCHES_MAX {
                        return Ok(FileEnd::Changed);
                    }
                    remote.resume(source, Some(&stored))?;
                    continue;
                }
                has_sent |= !part.bytes.is_empty();
                remote.must_check = false;
            }
            // Documents are rewritten, so a change can be anywhere.
            let has_ends = part.is_last && file.path.ends_with(SESSION_SUFFIX);
            self.state
                .put(FileRecord {
                    path: file.path.clone(),
                    clean: clean.filter(|_| part.is_last),
                    read: part.end.read,
                    read_sha256: Hex::of(&part.end.read_state.0),
                    ends: has_ends.then(|| source.ends(stat)).flatten(),
                    sent: part.end.sent,
                    sent_state: part.end.sent_state,
                    rules: self.selection.rules(),
                    unwanted: None,
                })
                .map_err(|error| SendError::Pass(PassError::State(error)))?;
            if part.is_last {
                return Ok(FileEnd::Sent { has_sent });
            }
        }
    }
}

/// What is known about the file on the server.
#[derive(Default)]
struct Remote {
    /// Whether nothing needs to be sent if the local file has no bytes to send.
    is_up_to_date_if_empty: bool,
    /// Whether the server must compare its hash, even if there are no bytes to send.
    must_check: bool,
}

impl Remote {
    /// Continues after what the server has, unless the source is there already.
    fn resume(
        &mut self,
        source: &mut Source,
        stored: Option<&StoredFile>,
    ) -> Result<(), SourceError> {
        let Some(stored) = stored else {
            source.rewind();
            self.is_up_to_date_if_empty = !source.is_stored_if_empty();
            return Ok(());
        };
        let at = source.position();
        let is_there =
            at.sent == stored.size && stored.sha256.as_ref() == Some(&Hex::of(&at.sent_state.0));
        let is_resumed = is_there || source.resume_at(stored.size, stored.sha256.as_ref())?;
        self.must_check = is_resumed && stored.sha256.is_none();
        self.is_up_to_date_if_empty = is_resumed && stored.sha256.is_some();
        Ok(())
    }
}

/// Whether a file has not changed for a while.
fn is_quiet(stat: LocalStat, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.map_or(0, |now| now.as_nanos())).unwrap_or(i64::MAX);
    // A clock that was set back must not keep the file from being quiet.
    !(0..QUIET_NS).contains(&now.saturating_sub(stat.ctime_ns))
}

/// Why a file was not sent.
enum SendError {
    Pass(PassError),
    Source(SourceError),
}

impl From<SourceError> for SendError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_is_quiet_after_a_moment_and_whatever_the_clock_does() {
        let changed = Duration::from_secs(1_000_000);
        let stat = LocalStat {
            size: 1,
            inode: 1,
            mtime_ns: 0,
            ctime_ns: i64::try_from(changed.as_nanos()).unwrap(),
        };
        for (millis, is_expected) in [(0, false), (99, false), (100, true), (1_000_000, true)] {
            let now = UNIX_EPOCH + changed + Duration::from_millis(millis);
            assert_eq!(is_quiet(stat, now), is_expected, "{millis} ms later");
        }
        // The clock was set back, even before the epoch.
        for now in [UNIX_EPOCH + changed / 2, UNIX_EPOCH, UNIX_EPOCH - changed] {
            assert!(is_quiet(stat, now));
        }
    }
}

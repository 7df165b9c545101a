//! Records which sessions the workers are processing. The records outlive the process, so that a
//! session that crashes it is detected.
//!
//! Each worker has a small slot file in `state/in-flight` and writes to it before it starts a
//! session. A process that opens the data directory after a crash reads the slots. The sessions in
//! them are *suspects*. A run tries them first, one at a time, while no other session is processed.
//! If the process dies during such an attempt, the death is counted for that session, in the slot
//! that the dead process wrote. This needs no commit. After [`DEATHS_MAX`] deaths in a row, the
//! session goes into quarantine as a `crash`. One attempt that the process survives clears the
//! suspicion. After a random kill, the next run only starts with a few sessions one by one.
//!
//! The files are a precaution. If they can't be written, sessions are processed anyway.

mod slot;

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{fs, io};

use session_pipeline_host::content::ContentHash;

pub use slot::InFlightRecord;
use slot::Slot;

/// Deaths in a row, alone with the same content and component, after which a session is not
/// retried.
pub const DEATHS_MAX: u32 = 3;
/// More than the number of workers in any process. Further files are ignored.
const SLOTS_MAX: usize = 256;
/// Upper bound for slot numbers. Files with higher numbers are not slots.
const NUMBER_MAX: u32 = 1_000_000;

/// The slots of a data directory, with the suspects of the previous process.
#[derive(Debug)]
pub struct InFlight {
    folder: PathBuf,
    state: Mutex<SlotState>,
    /// Read by sessions, written by suspects. A waiting writer blocks later readers, so that a
    /// suspect does not wait until all other sessions are done.
    turns: RwLock<()>,
}

#[derive(Debug, Default)]
struct SlotState {
    /// Slots that no worker uses.
    free: Vec<Slot>,
    next_number: u32,
    suspects: HashMap<InFlightSession, Suspect>,
    has_warned: bool,
}

/// A processor with the key of one of its sessions.
type InFlightSession = (String, String);

#[derive(Debug)]
struct Suspect {
    record: InFlightRecord,
    slot: Slot,
}

/// How to treat a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Not a suspect.
    None,
    /// A suspect. It is tried alone.
    Alone,
    /// It crashed the process too often and is not tried.
    Proven,
}

impl InFlight {
    /// Reads the slots of the previous process. Call it only with the lock on the data directory.
    pub fn open(state_dir: &Path) -> Self {
        let in_flight = Self {
            folder: state_dir.join("in-flight"),
            state: Mutex::default(),
            turns: RwLock::default(),
        };
        if let Err(error) = in_flight.read_slots() {
            in_flight.lock().warn_once(&error);
        }
        in_flight
    }

    fn read_slots(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            // Files with other names are ignored.
            let number = entry?.file_name().to_str().and_then(number_of);
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let mut state = self.lock();
        state.next_number = numbers.last().map_or(0, |last| last + 1);
        for number in numbers.into_iter().take(SLOTS_MAX) {
            match Slot::open(&self.path(number)).and_then(|slot| Ok((slot.read()?, slot))) {
                Ok((Some(record), slot)) => state.suspect(record, slot),
                Ok((None, slot)) => state.free.push(slot),
                Err(error) => state.warn_once(&error),
            }
        }
        Ok(())
    }

    /// The sessions that the previous process was processing, with their counts of deaths.
    pub fn suspects(&self) -> Vec<InFlightRecord> {
        let state = self.lock();
        let mut records: Vec<InFlightRecord> = state
            .suspects
            .values()
            .map(|suspect| suspect.record.clone())
            .collect();
        records.sort_by(|a, b| (&a.processor, &a.session).cmp(&(&b.processor, &b.session)));
        records
    }

    /// The suspects among the sessions that a run will try. All other suspects of the processor are
    /// cleared, because they will not be tried.
    pub(crate) fn suspects_among(
        &self,
        processor: &str,
        is_candidate: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut state = self.lock();
        let of_processor = state.suspects.keys().filter(|(of, _)| of == processor);
        let (kept, cleared): (Vec<String>, Vec<String>) = of_processor
            .map(|(_, session)| session.clone())
            .partition(|session| is_candidate(session));
        for session in cleared {
            state.clear(&(processor.to_owned(), session));
        }
        kept
    }

    /// The folder of the slots. It might not exist yet.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A seat for one worker. Writes nothing yet.
    pub fn worker_seat(&self) -> WorkerSeat<'_> {
        WorkerSeat {
            in_flight: self,
            slot: None,
        }
    }

    /// Removes a suspect whose result has been recorded.
    pub(crate) fn settle(&self, processor: &str, session: &str) {
        self.lock()
            .clear(&(processor.to_owned(), session.to_owned()));
    }

    fn take_slot(&self) -> Option<Slot> {
        let mut state = self.lock();
        if let Some(slot) = state.free.pop() {
            return Some(slot);
        }
        let number = state.next_number;
        state.next_number = number.saturating_add(1);
        let created = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| Slot::open(&self.path(number)));
        created.inspect_err(|error| state.warn_once(error)).ok()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number_of(name: &str) -> Option<u32> {
    let number = name.parse().ok()?;
    // Only the canonical form, so that no two file names mean the same slot.
    (number < NUMBER_MAX && u32::to_string(&number) == name).then_some(number)
}

impl SlotState {
    /// Registers the session in a slot as a suspect. A death alone is counted from the dead
    /// process's own record, in one write. If this process dies now, the next one counts the same.
    fn suspect(&mut self, mut record: InFlightRecord, slot: Slot) {
        record.deaths = record.deaths.saturating_add(u32::from(record.is_alone));
        record.is_alone = false;
        let session = (record.processor.clone(), record.session.clone());
        let known = self.suspects.get(&session);
        let is_worse = known.is_none_or(|known| known.record.deaths < record.deaths);
        if !is_worse {
            self.release(slot);
            return;
        }
        if let Err(error) = slot.write(&record) {
            self.warn_once(&error);
        }
        if let Some(known) = self.suspects.insert(session, Suspect { record, slot }) {
            self.release(known.slot);
        }
    }

    fn clear(&mut self, session: &InFlightSession) {
        if let Some(suspect) = self.suspects.remove(session) {
            self.release(suspect.slot);
        }
    }

    fn release(&mut self, slot: Slot) {
        match slot.blank() {
            Ok(()) => self.free.push(slot),
            Err(error) => self.warn_once(&error),
        }
    }

    /// Warns once: the same error would repeat for every session.
    fn warn_once(&mut self, error: &io::Error) {
        if !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                "cannot write slots to `state/in-flight`, so a session that crashes the process would not be \
                 detected: {error}"
            );
        }
    }
}

/// The seat of one worker. It has a slot from the first session on, which is blanked on drop.
#[derive(Debug)]
pub struct WorkerSeat<'a> {
    in_flight: &'a InFlight,
    slot: Option<Slot>,
}

impl<'a> WorkerSeat<'a> {
    /// Waits until the session can start, then records it. A suspect waits until no other session
    /// is processed, and blocks all others.
    pub fn begin(
        &mut self,
        record: impl FnOnce() -> InFlightRecord,
        is_suspect: bool,
    ) -> SessionGuard<'a> {
        let in_flight = self.in_flight;
        let turns = &in_flight.turns;
        let alone = is_suspect.then(|| turns.write().unwrap_or_else(PoisonError::into_inner));
        let shared = (!is_suspect).then(|| turns.read().unwrap_or_else(PoisonError::into_inner));
        let record = record();
        if !is_suspect {
            if self.slot.is_none() {
                self.slot = in_flight.take_slot();
            }
            if let Some(Err(error)) = self.slot.as_ref().map(|slot| slot.write(&record)) {
                in_flight.lock().warn_once(&error);
            }
        }
        SessionGuard {
            in_flight,
            suspect: is_suspect.then_some(record),
            is_proven: false,
            _alone: alone,
            _shared: shared,
        }
    }
}

impl Drop for WorkerSeat<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.in_flight.lock().release(slot);
        }
    }
}

/// Guards the time in which a worker processes one session.
#[derive(Debug)]
pub struct SessionGuard<'a> {
    in_flight: &'a InFlight,
    suspect: Option<InFlightRecord>,
    is_proven: bool,
    _alone: Option<RwLockWriteGuard<'a, ()>>,
    _shared: Option<RwLockReadGuard<'a, ()>>,
}

impl SessionGuard<'_> {
    /// Whether the session is a suspect.
    pub fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// Judges a suspect by its content, and records that it is tried alone. Call it just before the
    /// session is tried.
    pub fn suspicion(&mut self, hash: Option<ContentHash>) -> Suspicion {
        let Some(now) = &self.suspect else {
            return Suspicion::None;
        };
        let session = (now.processor.clone(), now.session.clone());
        let mut state = self.in_flight.lock();
        let Some(suspect) = state.suspects.get_mut(&session) else {
            return Suspicion::None;
        };
        let before = &suspect.record;
        // Deaths with another content or component do not count.
        let is_same = before.component == now.component && before.content() == hash;
        let deaths = if is_same { before.deaths } else { 0 };
        if deaths >= DEATHS_MAX {
            self.is_proven = true;
            return Suspicion::Proven;
        }
        suspect.record = InFlightRecord {
            hash: hash.map(|hash| hash.to_string()),
            is_alone: true,
            deaths,
            ..now.clone()
        };
        let written = suspect.slot.write(&suspect.record);
        if let Err(error) = written {
            state.warn_once(&error);
        }
        Suspicion::Alone
    }
}

impl Drop for SessionGuard<'_> {
    fn drop(&mut self) {
        // The process survived, so the session did not crash it. A quarantined session stays a
        // suspect until that is recorded.
        if let Some(record) = self.suspect.take().filter(|_| !self.is_proven) {
            self.in_flight
                .lock()
                .clear(&(record.processor, record.session));
        }
    }
}

//! What the workers are at, written down where it outlives our process, so that a session that
//! brings the process down is found.
//!
//! Each worker has one small slot file below `state/in-flight`, and writes into it before it begins
//! with a session. A process that opens the data dir after a death reads what the slots say: those
//! sessions are *suspects*. They are tried first, one at a time, with nobody else at any session.
//! A process that dies then had one session in hand, and that death is counted, in the very slot
//! that the dead process wrote: no commit of it is needed. After [`DEATHS_MAX`] in a row the session
//! is given up as a `crash`; one attempt that the process survives clears it. A process that is
//! killed at random only makes its next run begin with a few sessions one by one.
//!
//! The files are a precaution: where they can't be written, a session is processed all the same.

mod slot;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use session_pipeline_host::content::ContentHash;

pub use slot::Record;
use slot::Slot;

/// Deaths in a row, alone at one content by one component, after which it is not tried any more.
pub const DEATHS_MAX: u32 = 3;
/// More than any process has workers; what is beyond is not looked at.
const SLOTS_MAX: usize = 256;
/// Slots are numbered from zero; a higher number is none of ours.
const NUMBER_MAX: u32 = 1_000_000;

/// The slots of a data dir, and the suspects that the process before left in them.
#[derive(Debug)]
pub struct InFlight {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Slots in which nobody is.
    free: Vec<Slot>,
    next_number: u32,
    suspects: HashMap<Session, Suspect>,
    /// How many are at a session right now.
    inside: usize,
    is_alone: bool,
    /// Those who wait until nobody is at any session; whoever comes after them waits as well.
    alone_waiting: usize,
    waiting: usize,
    was_told: bool,
}

/// A processor with the key of one of its sessions.
type Session = (String, String);

#[derive(Debug)]
struct Suspect {
    record: Record,
    slot: Slot,
}

/// What is to become of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// There is none.
    None,
    /// It is tried, alone.
    Alone,
    /// It brought the process down too often, and is not tried.
    Proven,
}

impl InFlight {
    /// Reads what a dead process left. Only under the lock of the data dir.
    pub fn open(state_dir: &Path) -> Self {
        let in_flight = Self {
            folder: state_dir.join("in-flight"),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        if let Err(error) = in_flight.read_slots() {
            in_flight.lock().tell(&error);
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
            // Other files are none of ours, and stay.
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
                Err(error) => state.tell(&error),
            }
        }
        Ok(())
    }

    /// The sessions that a dead process was at, with how often one died alone at each.
    pub fn suspects(&self) -> Vec<Record> {
        let state = self.lock();
        let mut records: Vec<Record> = state
            .suspects
            .values()
            .map(|suspect| suspect.record.clone())
            .collect();
        records.sort_by(|a, b| (&a.processor, &a.session).cmp(&(&b.processor, &b.session)));
        records
    }

    /// The suspects among the sessions that a run is going to try; all others of the processor are
    /// cleared, since nothing is going to be tried of them.
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

    /// Where the slots lie, once there are any.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A worker's place; nothing is written yet.
    pub fn seat(&self) -> Seat<'_> {
        Seat {
            in_flight: self,
            slot: None,
        }
    }

    /// Forgets a suspect: what became of it is recorded.
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
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| Slot::open(&self.path(number)));
        made.inspect_err(|error| state.tell(error)).ok()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = self
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }
}

fn number_of(name: &str) -> Option<u32> {
    let number = name.parse().ok()?;
    // As we write it, so that no two names are one slot.
    (number < NUMBER_MAX && u32::to_string(&number) == name).then_some(number)
}

impl State {
    /// Takes up what a slot says. A death alone is counted from what the dead process itself wrote,
    /// in one write: if we die right here, the next one counts the same.
    fn suspect(&mut self, mut record: Record, slot: Slot) {
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
            self.tell(&error);
        }
        if let Some(known) = self.suspects.insert(session, Suspect { record, slot }) {
            self.release(known.slot);
        }
    }

    fn clear(&mut self, session: &Session) {
        if let Some(suspect) = self.suspects.remove(session) {
            self.release(suspect.slot);
        }
    }

    fn release(&mut self, slot: Slot) {
        match slot.blank() {
            Ok(()) => self.free.push(slot),
            Err(error) => self.tell(&error),
        }
    }

    /// Once is enough: what fails here fails for every session.
    fn tell(&mut self, error: &io::Error) {
        if !self.was_told {
            self.was_told = true;
            tracing::warn!(
                "what the workers are at can't be written down below `state/in-flight`, so a session that brings \
                 the process down would not be found: {error}"
            );
        }
    }
}

/// The place of one worker, with a slot of its own once it has begun; blank again when dropped.
#[derive(Debug)]
pub struct Seat<'a> {
    in_flight: &'a InFlight,
    slot: Option<Slot>,
}

impl<'a> Seat<'a> {
    /// Writes down what comes next, as soon as that may begin: whoever is alone keeps all others
    /// waiting, and waits for them.
    pub fn begin(&mut self, record: impl FnOnce() -> Record, is_suspect: bool) -> Stay<'a> {
        let in_flight = self.in_flight;
        let mut state = in_flight.lock();
        if is_suspect {
            state.alone_waiting += 1;
            while state.inside > 0 {
                state = in_flight.wait(state);
            }
            state.alone_waiting -= 1;
            state.is_alone = true;
        } else {
            while state.is_alone || state.alone_waiting > 0 {
                state = in_flight.wait(state);
            }
        }
        state.inside += 1;
        drop(state);
        let record = record();
        if !is_suspect {
            if self.slot.is_none() {
                self.slot = in_flight.take_slot();
            }
            if let Some(Err(error)) = self.slot.as_ref().map(|slot| slot.write(&record)) {
                in_flight.lock().tell(&error);
            }
        }
        Stay {
            in_flight,
            suspect: is_suspect.then_some(record),
            is_proven: false,
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.in_flight.lock().release(slot);
        }
    }
}

/// The time that a worker is at one session.
#[derive(Debug)]
pub struct Stay<'a> {
    in_flight: &'a InFlight,
    suspect: Option<Record>,
    is_proven: bool,
}

impl Stay<'_> {
    /// Whether it is one that a dead process was at.
    pub fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// To be asked just before a session is tried: judges a suspect by its content, and writes down
    /// that it is tried alone.
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
        // What was counted of another content or component says nothing of this one.
        let is_same = before.component == now.component && before.content() == hash;
        let deaths = if is_same { before.deaths } else { 0 };
        if deaths >= DEATHS_MAX {
            self.is_proven = true;
            return Suspicion::Proven;
        }
        suspect.record = Record {
            hash: hash.map(|hash| hash.to_string()),
            is_alone: true,
            deaths,
            ..now.clone()
        };
        let written = suspect.slot.write(&suspect.record);
        if let Err(error) = written {
            state.tell(&error);
        }
        Suspicion::Alone
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let mut state = self.in_flight.lock();
        state.inside -= 1;
        if let Some(record) = self.suspect.take() {
            state.is_alone = false;
            // It is still here, so that session did not bring it down. One that is given up stays
            // a suspect until that is recorded.
            if !self.is_proven {
                state.clear(&(record.processor, record.session));
            }
        }
        let is_waited_for = state.waiting > 0;
        drop(state);
        if is_waited_for {
            self.in_flight.changed.notify_all();
        }
    }
}

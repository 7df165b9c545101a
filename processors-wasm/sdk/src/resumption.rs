//! Sessions that grow: a processor can continue where it was, instead of reading all lines again.
//!
//! Agents append to transcripts, and the host processes a session again whenever it has grown. A
//! processor that implements [`Resumable`] can make a *checkpoint* at the end of a transcript. The
//! rows inserted before it are *settled*: they stay. The rows inserted after it are the *tail*: the
//! host removes them when the session has grown, and calls [`Resumable::resume`] with the new lines
//! and the state of the checkpoint. If anything else changed, such as the first lines, the component
//! or its settings, the host processes the whole session.
//!
//! The law: after any number of resumptions, the session has the same rows as if `process` had read
//! the whole transcript at once. `session-pipeline processors verify` checks it. In a native test, use
//! [`MemoryHost::grow`](crate::native::MemoryHost::grow).
//!
//! ```
//! use session_pipeline_processor::native::MemoryHost;
//! use session_pipeline_processor::{
//!     Manifest, Processor, Resumable, Session, SessionInfo, Settings, Summary, export, rows,
//! };
//!
//! rows! {
//!     /// One entry.
//!     struct EntryRow in "entries" {
//!         line: u64,
//!         uuid: Option<String>,
//!     }
//! }
//!
//! rows! {
//!     /// The number of entries.
//!     struct TotalRow in "totals" {
//!         entries: u64,
//!     }
//! }
//!
//! struct Entries;
//!
//! fn read(session: &Session<'_>, mut count: u64) -> Summary {
//!     let mut transcript = session.transcript();
//!     let mut insert = |line, entry: &session_pipeline_processor::transcript::Entry<'_>| {
//!         let uuid = entry.uuid.map(|uuid| uuid.decode().into_owned());
//!         session.table().insert(EntryRow { line, uuid });
//!     };
//!     // Lines that end with a newline stay as they are.
//!     transcript.for_each_ended(|line, entry| {
//!         insert(line, entry);
//!         count += 1;
//!     });
//!     // Their rows are settled, and the state has the data of these lines only.
//!     session.checkpoint(|| count.to_le_bytes().to_vec());
//!     // The agent is still writing the last line, if there is one. Its rows are in the tail.
//!     transcript.for_each(|line, entry| {
//!         insert(line, entry);
//!         count += 1;
//!     });
//!     // A total changes with each line, so it is in the tail too.
//!     session.table().insert(TotalRow { entries: count });
//!     Summary::items(count)
//! }
//!
//! impl Processor for Entries {
//!     fn manifest(_: &Settings) -> Result<Manifest, String> {
//!         let manifest = Manifest::new("entries", 1, "Lists entries.");
//!         Ok(manifest.table::<EntryRow>().table::<TotalRow>())
//!     }
//!
//!     fn process(session: &Session<'_>) -> Result<Summary, String> {
//!         Ok(read(session, 0))
//!     }
//! }
//!
//! impl Resumable for Entries {
//!     fn resume(session: &Session<'_>, state: &[u8]) -> Result<Option<Summary>, String> {
//!         let Ok(count) = state.try_into() else { return Ok(None) };
//!         Ok(Some(read(session, u64::from_le_bytes(count))))
//!     }
//! }
//!
//! export!(resumable Entries);
//!
//! let line = "{\"type\":\"user\"}\n";
//! let info = SessionInfo::new("ada/one.jsonl");
//! let mut host = MemoryHost::new(line.as_bytes());
//! host.state_bytes_max = 1024;
//! assert_eq!(host.run::<Entries>(&info), Ok(Summary::items(1)));
//! // Reads the second line only.
//! assert_eq!(host.grow::<Entries>(&info, line.repeat(2).into_bytes()), Ok(Some(Summary::items(2))));
//! assert_eq!(host.rows("entries").len(), 2);
//! assert_eq!(host.rows("totals").len(), 1);
//! ```

use crate::host::Host;
use crate::processor::{Processor, Summary};
use crate::session::Session;

/// A processor that can continue a session that has grown.
pub trait Resumable: Processor {
    /// Continues after the latest checkpoint of the session. The transcript begins with the first
    /// line that the checkpoint does not cover, and the numbers of lines continue.
    ///
    /// Inserts the rows that [`Processor::process`] would insert for the whole transcript, except
    /// the settled ones. Returns `None` if a new line changes a settled row, or if the state cannot
    /// be read. The host then drops the rows of this call and processes the whole session.
    fn resume(session: &Session<'_>, state: &[u8]) -> Result<Option<Summary>, String>;
}

impl Session<'_> {
    /// Whether the host would store a checkpoint now. If not, [`Session::checkpoint`] does nothing.
    pub fn wants_checkpoint(&self) -> bool {
        Host::state_bytes_max(self.host) > 0
    }

    /// Settles the rows inserted so far. Call it at most once, after all lines have been read.
    ///
    /// `state` returns the state from which [`Resumable::resume`] can continue. It is called only if
    /// the host would store the state, and must not contain data of a last line without a newline
    /// ([`Transcript::for_each_ended`](crate::transcript::Transcript::for_each_ended)). A state above
    /// the limit of the host is dropped, and the session is processed as a whole next time.
    pub fn checkpoint(&self, state: impl FnOnce() -> Vec<u8>) {
        let bytes_max = Host::state_bytes_max(self.host);
        if bytes_max == 0 {
            return;
        }
        let state = state();
        if state.len() as u64 <= bytes_max {
            Host::checkpoint(self.host, &state);
        }
    }
}

//! Lists sessions with the router in this process. Its handler reports the list page by page, so that
//! neither side needs memory for the whole list.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};

use session_pipeline_pipeline::run::Progress;

use super::filter::ListParameters;
use super::{Notices, PATH};
use crate::body::session::SessionBody;
use crate::cli::client::{Client, RouteCall};
use crate::cli::{CommandFailure, hint};
use crate::http::{Listener, LocalReport};

/// Maximum number of notes in the text output.
const NOTES_SHOWN: usize = 10;
/// Capacity of the channel between the handler and the output.
const PAGES_BUFFERED: usize = 1;

/// The pages that the handler reports.
pub(super) struct LocalPages {
    /// `None` after the caller stopped reading.
    pages: Option<Receiver<Vec<SessionBody>>>,
    call: Option<JoinHandle<Result<String, CommandFailure>>>,
}

impl LocalPages {
    /// Calls the router; `no_root` is the hint for a data directory without sessions.
    pub(super) fn start(
        client: Client,
        parameters: ListParameters,
        no_root: String,
        notices: Notices,
    ) -> Self {
        let (send, pages) = sync_channel(PAGES_BUFFERED);
        let listener = Arc::new(ListListener {
            send,
            no_root,
            notices,
        });
        let call = spawn(move || {
            let query = parameters
                .iter()
                .map(|(name, value)| (*name, value.as_str()));
            client.text(&RouteCall::get(PATH).query(query).with_listener(listener))
        });
        Self {
            pages: Some(pages),
            call: Some(call),
        }
    }

    /// The next page, or an empty page after the last one.
    pub(super) fn next(&mut self) -> Result<Vec<SessionBody>, CommandFailure> {
        if let Some(Ok(page)) = self.pages.as_ref().map(Receiver::recv) {
            return Ok(page);
        }
        let ended = self.call.take().map(JoinHandle::join);
        match ended {
            None => Ok(Vec::new()),
            Some(Ok(answer)) => answer.map(|_| Vec::new()),
            Some(Err(_)) => Err(CommandFailure::could_not_run(
                "the list ended unexpectedly; please report this bug",
            )),
        }
    }
}

/// Waits for the call to end. It closes the store on its thread, and the process must not exit during
/// that.
impl Drop for LocalPages {
    fn drop(&mut self) {
        // The handler stops when it cannot send another page.
        self.pages = None;
        if let Some(call) = self.call.take() {
            let _ = call.join();
        }
    }
}

/// Forwards the pages and prints the hints of the handler.
struct ListListener {
    send: SyncSender<Vec<SessionBody>>,
    no_root: String,
    notices: Notices,
}

impl Listener for ListListener {
    fn receive(&self, report: LocalReport<'_>) -> bool {
        match report {
            LocalReport::NoSessionsRoot => hint(&self.no_root),
            LocalReport::Skipped(notes) => {
                for note in notes.iter().take(NOTES_SHOWN) {
                    hint(&format!("skipped `{}`: {}", note.path, note.reason));
                }
            }
            LocalReport::Unmatched(notices) => self.notices.add(notices),
            LocalReport::UnusablePrices(error) => hint(&format!("no costs: {error}")),
            // It fails when the pages are wanted no more.
            LocalReport::Sessions(page) => return self.send.send(page).is_ok(),
            _ => {}
        }
        true
    }
}

impl Progress for ListListener {
    fn planned(&self, _: u64, _: u64) {}
    fn advanced(&self, _: u64) {}
}

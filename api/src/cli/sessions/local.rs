//! A list of sessions from the router in this process: its handler reports one page after the other,
//! so that neither side holds the whole list.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};

use session_pipeline_pipeline::run::Progress;

use super::PATH;
use super::filter::ListParameters;
use crate::body::session::SessionBody;
use crate::cli::client::{Client, RouteCall};
use crate::cli::{CommandFailure, hint};
use crate::http::{Listener, LocalReport};

/// Notes shown to a person.
const NOTES_SHOWN: usize = 10;
/// Pages that wait to be printed.
const PAGES_WAITING: usize = 1;

/// The pages that are reported.
pub(super) struct LocalPages {
    /// `None` once no more are wanted.
    pages: Option<Receiver<Vec<SessionBody>>>,
    call: Option<JoinHandle<Result<String, CommandFailure>>>,
}

impl LocalPages {
    /// Calls the router; `no_root` is the hint for a data directory without sessions.
    pub(super) fn start(client: Client, parameters: ListParameters, no_root: String) -> Self {
        let (send, pages) = sync_channel(PAGES_WAITING);
        let listener = Arc::new(ListListener { send, no_root });
        let call = spawn(move || {
            let query = parameters
                .iter()
                .map(|(name, value)| (*name, value.as_str()));
            client.text(&RouteCall::get(PATH).query(query).heard_by(listener))
        });
        Self {
            pages: Some(pages),
            call: Some(call),
        }
    }

    /// The next sessions; none at the end.
    pub(super) fn next(&mut self) -> Result<Vec<SessionBody>, CommandFailure> {
        if let Some(Ok(page)) = self.pages.as_ref().map(Receiver::recv) {
            return Ok(page);
        }
        let ended = self.call.take().map(JoinHandle::join);
        match ended {
            None => Ok(Vec::new()),
            Some(Ok(answer)) => answer.map(|_| Vec::new()),
            Some(Err(_)) => Err(CommandFailure::could_not_run(
                "the list broke off; please report it",
            )),
        }
    }
}

/// Ends the call, which closes the store on its thread: the process must not end in the middle of that.
impl Drop for LocalPages {
    fn drop(&mut self) {
        // The handler stops when it can no longer send a page.
        self.pages = None;
        if let Some(call) = self.call.take() {
            let _ = call.join();
        }
    }
}

/// Listens to the handler.
struct ListListener {
    send: SyncSender<Vec<SessionBody>>,
    no_root: String,
}

impl Listener for ListListener {
    fn hear(&self, report: LocalReport<'_>) -> bool {
        match report {
            LocalReport::NoSessionsRoot => hint(&self.no_root),
            LocalReport::Skipped(notes) => {
                for note in notes.iter().take(NOTES_SHOWN) {
                    hint(&format!("passed over `{}`: {}", note.path, note.reason));
                }
            }
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

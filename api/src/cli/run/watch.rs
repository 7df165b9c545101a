//! Watching a run in this process: how far it is, and what a person should know of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::LlmUsage;

use crate::cli::hint;
use crate::cli::progress::RunBar;
use crate::http::{Listener, LocalReport};

/// Someone who watches a run.
pub(super) struct RunProgress {
    name: String,
    no_root: String,
    is_first: bool,
    lacks_root: AtomicBool,
    bar: OnceLock<RunBar>,
}

impl RunProgress {
    /// `no_root` is the hint for a data directory without sessions; only the first run says it.
    pub(super) fn new(name: &str, no_root: &str, is_first: bool) -> Self {
        Self {
            name: name.to_owned(),
            no_root: no_root.to_owned(),
            is_first,
            lacks_root: AtomicBool::new(false),
            bar: OnceLock::new(),
        }
    }

    /// Removes the bar from the terminal.
    pub(super) fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.clear();
        }
    }

    /// Whether there is a sessions root, as far as is known.
    pub(super) fn has_root(&self) -> bool {
        !self.lacks_root.load(Ordering::SeqCst)
    }
}

impl Listener for RunProgress {
    fn receive(&self, report: LocalReport<'_>) -> bool {
        match report {
            LocalReport::NoSessionsRoot => {
                self.lacks_root.store(true, Ordering::SeqCst);
                if self.is_first {
                    hint(&self.no_root);
                }
            }
            LocalReport::UnusablePrices(error) if self.is_first => hint(&format!(
                "sessions are processed, but reports will be refused: {error}"
            )),
            LocalReport::RunStarts => {
                self.bar.get_or_init(|| RunBar::new(&self.name));
            }
            LocalReport::ModelUse(used) => {
                self.clear();
                hint(&asked_models(&self.name, used));
            }
            _ => {}
        }
        true
    }
}

impl Progress for RunProgress {
    fn planned(&self, sessions: u64, bytes: u64) {
        if let Some(bar) = self.bar.get() {
            bar.planned(sessions, bytes);
        }
    }

    fn advanced(&self, bytes: u64) {
        if let Some(bar) = self.bar.get() {
            bar.advanced(bytes);
        }
    }
}

/// What a run asked of language models, and what it paid.
fn asked_models(processor: &str, asked: LlmUsage) -> String {
    let requests = if asked.calls == 1 {
        "request"
    } else {
        "requests"
    };
    let cost = match asked.unpriced_calls {
        0 => format!("${}", asked.cost),
        unpriced => format!(
            "${} and what {unpriced} cost that have no price",
            asked.cost
        ),
    };
    format!(
        "`{processor}` sent {} {requests} to the language model: {} tokens in, {} out, {cost}",
        asked.calls, asked.input_tokens, asked.output_tokens
    )
}

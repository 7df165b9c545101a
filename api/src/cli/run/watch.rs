//! Shows the progress and hints of a run in this process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use session_pipeline_pipeline::run::Progress;
use session_pipeline_store::LlmUsage;

use crate::cli::hint;
use crate::cli::progress::RunBar;
use crate::cli::table::count_of;
use crate::http::{Listener, LocalReport};

/// Prints the reports of a run.
pub(super) struct RunProgress {
    name: String,
    no_root: String,
    is_first: bool,
    root_is_missing: AtomicBool,
    bar: OnceLock<RunBar>,
}

impl RunProgress {
    /// `no_root` is the hint to print if there is no sessions root. Only the first run prints it.
    pub(super) fn new(name: &str, no_root: &str, is_first: bool) -> Self {
        Self {
            name: name.to_owned(),
            no_root: no_root.to_owned(),
            is_first,
            root_is_missing: AtomicBool::new(false),
            bar: OnceLock::new(),
        }
    }

    /// Removes the bar from the terminal.
    pub(super) fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.clear();
        }
    }

    /// Whether no missing sessions root was reported.
    pub(super) fn has_root(&self) -> bool {
        !self.root_is_missing.load(Ordering::SeqCst)
    }
}

impl Listener for RunProgress {
    fn receive(&self, report: LocalReport<'_>) -> bool {
        match report {
            LocalReport::NoSessionsRoot => {
                self.root_is_missing.store(true, Ordering::SeqCst);
                if self.is_first {
                    hint(&self.no_root);
                }
            }
            LocalReport::UnusablePrices(error) if self.is_first => hint(&format!(
                "sessions are processed, but `report` will fail: {error}"
            )),
            LocalReport::RunStarts => {
                self.bar.get_or_init(|| RunBar::new(&self.name));
            }
            LocalReport::ModelUse(used) => {
                self.clear();
                hint(&model_usage(&self.name, used));
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

/// The language model requests of a run and their cost.
fn model_usage(processor: &str, usage: LlmUsage) -> String {
    let cost = match usage.unpriced_calls {
        0 => format!("${}", usage.cost),
        unpriced => format!(
            "${} plus the cost of {unpriced} without a known price",
            usage.cost
        ),
    };
    format!(
        "`{processor}` sent {} to the language model: {} in, {} out, {cost}",
        count_of(usage.calls, "request", "requests"),
        count_of(usage.input_tokens, "token", "tokens"),
        usage.output_tokens
    )
}

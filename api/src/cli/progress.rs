//! Progress of a command on standard error, if standard error is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use session_pipeline_pipeline::run::Progress;

/// The redraw interval of spinners.
const TICK: Duration = Duration::from_millis(100);

/// The progress bar of a run.
#[derive(Debug)]
pub(super) struct RunBar(ProgressBar);

impl RunBar {
    pub(super) fn new(label: &str) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        // The amount of work is unknown until the scan ends, and a new component is compiled first.
        bar.set_style(style("{spinner} {prefix}: preparing"));
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for RunBar {
    fn planned(&self, _sessions: u64, bytes: u64) {
        self.0.disable_steady_tick();
        self.0.set_style(style(
            "{prefix} {wide_bar} {bytes}/{total_bytes} · {binary_bytes_per_sec} · {eta}",
        ));
        self.0.set_length(bytes);
    }

    fn advanced(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// Falls back to a plain bar if the template is invalid. All templates are constants.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A spinner with the current step, for commands whose duration is unknown.
#[derive(Debug)]
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn new() -> Self {
        let spinner = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        spinner.enable_steady_tick(TICK);
        Self(spinner)
    }

    pub(super) fn set_message(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

//! Signals that arrive before the server handles them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use session_pipeline_pipeline::run::Pipeline;

use crate::cli::{CommandFailure, Exit, hint};
use crate::signals::StopSignals;

/// Whether a signal arrived. The first signal lets the current step end, so that the
/// temporary directory can be removed. The second one ends the process immediately.
#[derive(Debug, Default)]
pub(super) struct Interruption(Arc<InterruptionState>);

#[derive(Debug, Default)]
struct InterruptionState {
    is_interrupted: AtomicBool,
    /// Whether the server handles signals.
    has_ended: AtomicBool,
    /// The directory to remove if a second signal ends the process.
    folder: OnceLock<PathBuf>,
    /// Its run ends early. Weak, so that it can be dropped before its directory is removed.
    pipeline: OnceLock<Weak<Pipeline>>,
}

impl Interruption {
    /// Handles signals from now on.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(super) fn listen() -> Result<Self, CommandFailure> {
        let interruption = Self::default();
        let state = Arc::clone(&interruption.0);
        let failed = |error: std::io::Error| {
            CommandFailure::could_not_run(format!("cannot handle signals: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let mut signals = {
            let _runtime = runtime.enter();
            StopSignals::listen().map_err(failed)?
        };
        let listen = async move {
            loop {
                signals.next().await;
                state.receive();
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let spawned = thread.spawn(move || runtime.block_on(listen));
        spawned.map_err(failed)?;
        Ok(interruption)
    }

    /// Also stops the run of a pipeline.
    pub(super) fn stop_with(&self, pipeline: &Arc<Pipeline>) {
        let _ = self.0.pipeline.set(Arc::downgrade(pipeline));
        if self.is_interrupted() {
            pipeline.stop();
        }
    }

    /// Also removes a directory if a second signal ends the process.
    pub(super) fn remove_at_exit(&self, folder: &Path) {
        let _ = self.0.folder.set(folder.to_owned());
    }

    /// Leaves later signals to the server.
    pub(super) fn end(&self) {
        self.0.has_ended.store(true, Ordering::SeqCst);
    }

    /// Whether a signal arrived.
    pub(super) fn is_interrupted(&self) -> bool {
        self.0.is_interrupted.load(Ordering::SeqCst)
    }

    /// # Errors
    /// A signal arrived.
    pub(super) fn check(&self) -> Result<(), CommandFailure> {
        match self.is_interrupted() {
            true => Err(CommandFailure::could_not_run(
                "interrupted before the demo was ready",
            )),
            false => Ok(()),
        }
    }
}

impl InterruptionState {
    fn receive(&self) {
        if self.has_ended.load(Ordering::SeqCst) {
            return;
        }
        if self.is_interrupted.swap(true, Ordering::SeqCst) {
            if let Some(folder) = self.folder.get() {
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(Exit::CouldNotRun as i32);
        }
        hint("stopping");
        if let Some(pipeline) = self.pipeline.get().and_then(Weak::upgrade) {
            pipeline.stop();
        }
    }
}

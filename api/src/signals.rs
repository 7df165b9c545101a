//! The signals that stop the program: SIGTERM, SIGINT, and SIGHUP when the terminal closes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives the signals, so that they no longer end the process.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// `None`: the process ignores it, as after `nohup`.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Handles the signals from now on. Call it in a tokio runtime.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        let Self {
            terminate,
            interrupt,
            hangup,
        } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether the process was started with SIGHUP ignored. A handler would undo that. Where the system
/// does not report it, it is treated as ignored, and SIGHUP keeps its effect.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_first(&status).unwrap_or(true)
}

/// Whether a process with this status ignores the signal with the number 1, which is SIGHUP.
fn ignores_first(status: &str) -> Option<bool> {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    Some(ignored & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_first;

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_the_status_of_a_process() {
        let status = |mask| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert_eq!(ignores_first(&status("0000000000001000")), Some(false));
        assert_eq!(ignores_first(&status("0000000000001001")), Some(true));
        assert_eq!(ignores_first(&status("x")), None);
        assert_eq!(ignores_first(""), None);
    }
}

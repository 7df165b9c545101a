//! A processor that continues sessions that have grown. It records each line, and a total.

use session_pipeline_processor::{Manifest, Session, Summary, rows};

use crate::LineRow;

/// The word that makes the processor ask for the whole session, as if the line changed an earlier row.
pub const START_OVER: &str = "start over";

rows! {
    /// The number of lines and bytes of the session.
    pub struct TotalRow in "totals" {
        /// Lines, including blank ones.
        lines: u64,
        /// Bytes of all lines, without newlines.
        bytes: u64,
    }
}

/// What later lines need of earlier ones.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    /// Lines so far.
    pub lines: u64,
    /// Bytes so far.
    pub bytes: u64,
}

impl Totals {
    /// The state of a checkpoint.
    pub fn to_bytes(self) -> Vec<u8> {
        [self.lines.to_le_bytes(), self.bytes.to_le_bytes()].concat()
    }

    /// Reads a state.
    pub fn from_bytes(state: &[u8]) -> Option<Self> {
        let (lines, bytes) = state.split_first_chunk()?;
        Some(Self {
            lines: u64::from_le_bytes(*lines),
            bytes: u64::from_le_bytes(bytes.try_into().ok()?),
        })
    }
}

/// The manifest of a guest with these tables.
pub fn manifest(way: &str) -> Manifest {
    crate::manifest(way).table::<TotalRow>()
}

/// Reads the lines after those in `totals`. Calls `each` with each of them. Returns `None` if it
/// returns false.
pub fn read(
    session: &Session<'_>,
    mut totals: Totals,
    each: impl Fn(&str) -> bool,
) -> Option<Summary> {
    let mut lines = session.lines();
    let mut unended = None;
    while let Some(line) = lines.next_line() {
        let text = String::from_utf8_lossy(line.bytes).into_owned();
        if !each(&text) {
            return None;
        }
        let bytes = line.bytes.len() as u64;
        let row = LineRow {
            line: line.number,
            text: text.chars().take(100).collect(),
        };
        if line.is_ended {
            session.table().insert(row);
            totals.lines += 1;
            totals.bytes += bytes;
        } else {
            unended = Some((row, bytes));
        }
    }
    session.checkpoint(|| totals.to_bytes());
    if let Some((row, bytes)) = unended {
        session.table().insert(row);
        totals.lines += 1;
        totals.bytes += bytes;
    }
    session.table().insert(TotalRow {
        lines: totals.lines,
        bytes: totals.bytes,
    });
    Some(Summary::items(totals.lines))
}

/// Makes a guest that reads all lines with `process`, and continues with `resume`.
#[macro_export]
macro_rules! resuming_guest {
    ($way:literal, |$session:ident, $totals:ident| $resume:expr) => {
        struct Guest;

        impl ::session_pipeline_processor::Processor for Guest {
            fn manifest(
                _: &::session_pipeline_processor::Settings,
            ) -> Result<::session_pipeline_processor::Manifest, String> {
                Ok($crate::resuming::manifest($way))
            }

            fn process(
                session: &::session_pipeline_processor::Session<'_>,
            ) -> Result<::session_pipeline_processor::Summary, String> {
                let totals = $crate::resuming::Totals::default();
                let summary = $crate::resuming::read(session, totals, |_| true);
                summary.ok_or_else(|| "no reason".to_owned())
            }
        }

        impl ::session_pipeline_processor::Resumable for Guest {
            fn resume(
                $session: &::session_pipeline_processor::Session<'_>,
                state: &[u8],
            ) -> Result<Option<::session_pipeline_processor::Summary>, String> {
                let Some($totals) = $crate::resuming::Totals::from_bytes(state) else {
                    return Ok(None);
                };
                $resume
            }
        }

        ::session_pipeline_processor::export!(resumable Guest);
    };
}

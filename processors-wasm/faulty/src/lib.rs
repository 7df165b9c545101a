//! What the misbehaving guests have in common: their good manners.
//!
//! Each of `examples` is a component that keeps one row a line, and falls out of its role at the
//! word [`MAGIC_WORD`], in its one way. The first line of each says which fault the host has to
//! answer with. The guests `describe_…` fall out of it when they say what they are.
//! Others need no word: they break a law of the contract by how they were written, as authors may
//! without noticing. [`odd`] has what these have in common.

pub mod odd;
pub mod resuming;

use session_pipeline_processor::{Manifest, Session, Summary, rows};

/// The word at which a guest misbehaves.
pub const MAGIC_WORD: &str = "misbehave";

/// What a row keeps of a line: enough for tests, and never more than a row may hold.
const TEXT_BYTES_MAX: usize = 64 * 1024;

rows! {
    /// One line of the transcript.
    pub struct LineRow in "lines" {
        /// Its number.
        line: u64,
        /// Its text, or the beginning of it.
        text: String,
    }
}

/// The manifest of the guest of that way to misbehave.
pub fn manifest(way: &str) -> Manifest {
    let name = format!("faulty-{way}");
    Manifest::new(&name, 1, "Keeps each line, and misbehaves when told to.").table::<LineRow>()
}

/// Keeps a row for each line, and calls `misbehave` after each that has the word in it.
pub fn process(
    session: &Session<'_>,
    misbehave: impl Fn(&Session<'_>) -> Result<(), String>,
) -> Result<Summary, String> {
    let mut table = session.table();
    let mut lines = session.lines();
    let mut count = 0;
    while let Some(line) = lines.next_line() {
        let kept = &line.bytes[..line.bytes.len().min(TEXT_BYTES_MAX)];
        table.insert(LineRow {
            line: line.number,
            text: String::from_utf8_lossy(kept).into_owned(),
        });
        count += 1;
        if String::from_utf8_lossy(line.bytes).contains(MAGIC_WORD) {
            misbehave(session)?;
        }
    }
    Ok(Summary::items(count))
}

/// Makes a guest out of what it says of itself and what it does to a session.
#[macro_export]
macro_rules! guest_of {
    ($manifest:expr, |$session:ident| $process:expr) => {
        struct Guest;

        impl ::session_pipeline_processor::Processor for Guest {
            fn manifest(
                _: &::session_pipeline_processor::Settings,
            ) -> Result<::session_pipeline_processor::Manifest, String> {
                Ok($manifest)
            }

            fn process(
                $session: &::session_pipeline_processor::Session<'_>,
            ) -> Result<::session_pipeline_processor::Summary, String> {
                $process
            }
        }

        ::session_pipeline_processor::export!(Guest);
    };
}

/// Makes a guest out of the way in which it misbehaves.
#[macro_export]
macro_rules! guest {
    ($way:literal, $misbehave:expr) => {
        $crate::guest_of!($crate::manifest($way), |session| $crate::process(
            session, $misbehave
        ));
    };
}

//! What the database knows of each processor, in counts.

use serde::Serialize;

use crate::clock::UtcMicros;
use crate::store::{Store, StoreError};

/// The counts of one processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessorStatus {
    /// Its name.
    pub processor: String,
    /// Sessions that were processed.
    pub sessions: i64,
    /// Items extracted from them.
    pub items_extracted: i64,
    /// Sessions that someone asked to process again.
    pub due: i64,
    /// Sessions whose file is gone; their rows stay.
    pub missing: i64,
    /// Sessions whose last attempt failed.
    pub failing: i64,
    /// Those of them that are not tried any more.
    pub quarantined: i64,
    /// When the latest session was read.
    pub last_processed_at: Option<String>,
    /// How the last run ended that has ended; `None` if there was none.
    pub last_run: Option<String>,
    /// When it ended.
    pub last_run_at: Option<String>,
    /// When the run in progress began; `None` if there is none.
    pub running_since: Option<String>,
}

/// The counts of every processor that is known by name or has left rows; without a database nobody
/// has.
///
/// # Errors
/// When the database can't be read.
pub fn processors<Name: AsRef<str>>(
    store: Option<&Store>,
    names: impl IntoIterator<Item = Name>,
) -> Result<Vec<ProcessorStatus>, StoreError> {
    let mut all = match store {
        Some(store) => store.processor_counts()?,
        None => Vec::new(),
    };
    for name in names {
        let name = name.as_ref();
        if !all.iter().any(|status| status.processor == name) {
            all.push(ProcessorStatus {
                processor: name.to_owned(),
                sessions: 0,
                items_extracted: 0,
                due: 0,
                missing: 0,
                failing: 0,
                quarantined: 0,
                last_processed_at: None,
                last_run: None,
                last_run_at: None,
                running_since: None,
            });
        }
    }
    all.sort_by(|a, b| a.processor.cmp(&b.processor));
    Ok(all)
}

/// An instant as people and machines read it.
pub(crate) fn instant(micros: Option<i64>) -> Option<String> {
    micros.map(|micros| UtcMicros(micros).to_string())
}

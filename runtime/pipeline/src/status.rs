//! Statistics per processor from the database.

use session_pipeline_store::{ProcessorStatus, Store, StoreError};

/// The statistics of all processors in `names` or with state rows. Without a database, all counts
/// are zero.
///
/// # Errors
/// If the database can't be read.
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

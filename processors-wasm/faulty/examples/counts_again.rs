//! Expected fault: none; breaks the law `once`.
//!
//! Counts sessions in a shared table, and those that are processed again once more.

use session_pipeline_faulty::remembering_guest;

remembering_guest!("counts-again", |lines, known| {
    lines.remember("all", known("all").map_or(0, |known| known.number) + 1);
    Ok(())
});

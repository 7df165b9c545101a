//! Expected fault: none; breaks the law `growth`.
//!
//! Keeps only the lines that are new since it last saw a session, though the host takes those of
//! the last time away.

use session_pipeline_faulty::remembering_guest;

remembering_guest!("skips-what-it-knows", |lines, known| {
    let id = lines.session_id().filter(|id| !id.is_empty());
    let Some(id) = id.filter(|id| id.len() < 1_000) else {
        return Ok(());
    };
    let all = i64::try_from(lines.rows.len()).unwrap_or(i64::MAX);
    let seen = known(&id).map_or(0, |known| known.number);
    // The same session again gives all of its lines, as if it were new.
    if seen < all {
        lines.rows.drain(..usize::try_from(seen).unwrap_or(0));
    }
    lines.remember(&id, all);
    Ok(())
});

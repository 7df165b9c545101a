//! Expected fault: none; breaks the law `order`.
//!
//! Takes the first session that it ever saw for the one that all others belong to.

use session_pipeline_faulty::remembering_guest;

remembering_guest!("remembers-the-first", |lines, known| {
    let Some(id) = lines.session_id() else {
        return Ok(());
    };
    let own = id
        .bytes()
        .map(i64::from)
        .fold(0, |sum, byte| sum * 3 % 1_000 + byte);
    let first = known("first").map_or(own, |known| known.number);
    lines.remember("first", first);
    for line in &mut lines.rows {
        line.text = first.to_string();
    }
    Ok(())
});

//! Expected fault: `output-limit`.
//!
//! Inserts more in one call than the host lifts, though each row is small enough.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("floods-one-call", |session| {
    let text = "flood ".repeat(150_000);
    let rows: Vec<_> = (0..24)
        .map(|line| vec![Value::S64(line), Value::Text(&text)])
        .collect();
    session.insert("lines", &rows);
    Ok(())
});

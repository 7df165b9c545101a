//! Expected fault: `output-limit`.
//!
//! Inserts rows without end, many in a call but none of the calls too large.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("floods-rows", |session| {
    let text = "flood ".repeat(170);
    let rows: Vec<_> = (0..1_000)
        .map(|line| vec![Value::S64(line), Value::Text(&text)])
        .collect();
    loop {
        session.insert("lines", &rows);
    }
});

//! Expected fault: `bad-record` for a session in which a tool is called; breaks the law `tables`.
//!
//! Keeps calls of tools in a table that it forgot to declare.

use session_pipeline_faulty::odd_guest;
use session_pipeline_processor::table::Value;

odd_guest!("strays-from-its-tables", |lines| {
    for line in &lines.rows {
        if line.text.contains("\"tool_use\"") {
            lines.session.insert("calls", &[vec![Value::Null]]);
        }
    }
    Ok(())
});

//! Expected fault: `bad-record`.
//!
//! Writes text where its manifest promised an integer.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("writes-wrong-type", |session| {
    let line = Value::Text("one");
    session.insert("lines", &[vec![line, Value::Null]]);
    Ok(())
});

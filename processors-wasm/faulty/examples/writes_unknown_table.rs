//! Expected fault: `bad-record`.
//!
//! Writes into a table that its manifest does not name.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("writes-unknown-table", |session| {
    session.insert("elsewhere", &[vec![Value::S64(1), Value::Null]]);
    Ok(())
});

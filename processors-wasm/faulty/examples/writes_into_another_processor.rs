//! Expected fault: `bad-record`.
//!
//! Adds a row to a table of `usage`, by the name that it has in the database.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("writes-into-another-processor", |session| {
    session.insert("usage.events", &[vec![Value::S64(1), Value::Null]]);
    Ok(())
});

//! Expected fault: `denied`.
//!
//! Looks for a file of the host, and would write what it says into its table.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("reads-a-file", |session| {
    let secret = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    session.insert("lines", &[vec![Value::Null, Value::Text(&secret)]]);
    Ok(())
});

//! Expected fault: none: text is text.
//!
//! Keeps texts that end strings, statements, terminals and lines, if anybody lets them.

use session_pipeline_faulty::guest;
use session_pipeline_processor::table::Value;

guest!("writes-odd-text", |session| {
    let texts = [
        "a\0b",
        "\u{1b}[2J\u{7}\u{8}\r\n",
        "'; DROP SCHEMA \"usage\" CASCADE; --",
        "\u{202e}txt.exe\u{feff}",
        "NULL",
        "",
    ];
    let rows: Vec<_> = (100..)
        .zip(texts)
        .map(|(line, text)| vec![Value::S64(line), Value::Text(text)])
        .collect();
    session.insert("lines", &rows);
    Ok(())
});

//! Compares the transcript reader of the SDK with `serde_json`.
//!
//! The checks need no database and no sandbox. `tests/fuzz` runs them with coverage-guided inputs,
//! and the suite runs them with mutated inputs.

use std::collections::BTreeMap;

use serde_json::Value;
use session_pipeline_processor::json::Json;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::transcript::Entry;
use session_pipeline_processor::{Session, SessionInfo};

/// The maximum number of brackets in a line that is checked. The two readers have different nesting
/// limits.
const DEPTH_MAX: usize = 100;
/// The bytes that can follow a value on its line.
const BOUNDARIES: &[u8] = b" \t\r\n\"[]{},:";

macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err(format!($($reason)+));
        }
    };
}

fn is_deep(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| b"[{".contains(byte)).count() > DEPTH_MAX
}

/// Checks that both readers parse a line to the same value, and that an object is an entry.
pub fn check_line(line: &str) -> Result<(), String> {
    if is_deep(line.as_bytes()) {
        return Ok(());
    }
    let entry = Entry::parse(line);
    let text_bytes = entry.as_ref().map(walk);
    match (Json::parse(line), serde_json::from_str::<Value>(line)) {
        (Some(json), Ok(value)) => {
            ensure!(
                is_same(json, &value),
                "the SDK reads another value than {value}"
            );
            ensure!(
                entry.is_some() == value.is_object(),
                "only an object is an entry"
            );
            ensure!(
                text_bytes.is_none_or(|bytes| bytes <= 2 * line.len()),
                "the entry has more text than the line"
            );
        }
        (None, Err(_)) => ensure!(entry.is_none(), "an invalid line is an entry"),
        (Some(_), Err(error)) => return Err(format!("only the SDK accepts the line: {error}")),
        (None, Ok(value)) => return Err(format!("only serde_json accepts the line: {value}")),
    }
    Ok(())
}

/// Checks that a transcript has an entry with the right line number for each object, up to the
/// first invalid value of a line, and that lines are counted once.
pub fn check_transcript(bytes: &[u8]) -> Result<(), String> {
    let info = SessionInfo::new("ada/one.jsonl");
    let host = MemoryHost::new(bytes);
    let mut entries = BTreeMap::<u64, usize>::new();
    let mut last = 0;
    let mut is_in_order = true;
    let tally = Session::new(&host, &info)
        .transcript()
        .for_each(|line, entry| {
            walk(entry);
            is_in_order &= line >= last;
            last = line;
            *entries.entry(line).or_default() += 1;
        });
    ensure!(is_in_order, "the lines are not in order");
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut count = 0;
    for (number, line) in (1_u64..).zip(content.split_inclusive(|byte| *byte == b'\n')) {
        count = number;
        if !is_deep(line) {
            let found = entries.get(&number).copied().unwrap_or_default();
            let expected = objects(line);
            // The SDK finds objects after an invalid value. A strict reader stops there.
            ensure!(
                found == expected || (found > expected && !is_strict(line)),
                "line {number} has {expected} objects and {found} entries"
            );
        }
    }
    ensure!(
        last <= count,
        "line {last} of a transcript with {count} lines"
    );
    ensure!(
        tally.bad_lines <= tally.lines && tally.lines <= count,
        "wrong line counts for {count} lines: {tally:?}"
    );
    ensure!(tally.passed_over_lines == 0, "the reader skipped lines");
    ensure!(
        !(tally.torn_tail && content.ends_with(b"\n")),
        "a line with a newline is reported as torn"
    );
    Ok(())
}

/// Whether a strict reader accepts all values on the line.
fn is_strict(line: &[u8]) -> bool {
    let values = serde_json::Deserializer::from_slice(line).into_iter::<Value>();
    values.into_iter().all(|value| value.is_ok())
}

/// The number of objects on a line before the first invalid value.
fn objects(line: &[u8]) -> usize {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<Value>();
    let mut objects = 0;
    while let Some(Ok(value)) = values.next() {
        if value.is_object() {
            objects += 1;
        } else if let Some(next) = line.get(values.byte_offset())
            && !BOUNDARIES.contains(next)
        {
            break;
        }
    }
    objects
}

/// Whether both readers returned the same value.
fn is_same(json: Json<'_>, value: &Value) -> bool {
    match value {
        Value::Null => json.is_null(),
        Value::Bool(value) => json.bool() == Some(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json.s64() == Some(number) || json.f64() == Some(number as f64),
            None => json.f64().zip(number.as_f64()).is_some_and(|(sdk, serde)| {
                // The last bit of a decimal number that serde_json parses can be wrong.
                (sdk - serde).abs() <= serde.abs() * 4.0 * f64::EPSILON
            }),
        },
        Value::String(text) => json.text().is_some_and(|sdk| sdk.decode() == text.as_str()),
        Value::Array(values) => {
            let elements: Vec<Json<'_>> = json.elements().collect();
            elements.len() == values.len()
                && elements
                    .into_iter()
                    .zip(values)
                    .all(|(json, value)| is_same(json, value))
        }
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| json.field(name).is_some_and(|json| is_same(json, value))),
    }
}

/// Reads all parts of an entry, and returns the size of its text.
fn walk(entry: &Entry<'_>) -> usize {
    let says = entry.says();
    let texts: usize = says.texts().map(|text| text.decode().len()).sum();
    let calls = says
        .tool_uses()
        .filter_map(|call| Some(call.input_text("command")?.len()))
        .sum::<usize>();
    let results = says
        .tool_results()
        .filter_map(|result| Some(result.text()?.len()))
        .sum::<usize>();
    texts + calls + results + entry.sub_agents().count()
}

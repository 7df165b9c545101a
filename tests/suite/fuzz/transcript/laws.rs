//! What the reader of a processor is held to, beside another reader of JSON.
//!
//! Needs neither the database nor the sandbox: `tests/fuzz` holds it against inputs that are led by
//! coverage, and the suite against damaged ones.

use std::collections::BTreeMap;

use serde_json::Value;
use session_pipeline_processor::json::Json;
use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::transcript::Entry;
use session_pipeline_processor::{Session, SessionInfo};

/// More nesting than this is refused by one reader earlier than by the other.
const DEPTH_MAX: usize = 100;
/// What can follow a value on its line.
const BOUNDARIES: &[u8] = b" \t\r\n\"[]{},:";

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

fn is_deep(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| b"[{".contains(byte)).count() > DEPTH_MAX
}

/// A line reads as the JSON that it is, and as an entry where that is an object.
pub fn hold_line(line: &str) -> Result<(), String> {
    if is_deep(line.as_bytes()) {
        return Ok(());
    }
    let entry = Entry::parse(line);
    let read = entry.as_ref().map(walk);
    match (Json::parse(line), serde_json::from_str::<Value>(line)) {
        (Some(json), Ok(value)) => {
            ensure!(is_same(json, &value), "another value: {value}");
            ensure!(
                entry.is_some() == value.is_object(),
                "an entry is an object"
            );
            ensure!(
                read.is_none_or(|read| read <= 2 * line.len()),
                "more text than there is"
            );
        }
        (None, Err(_)) => ensure!(entry.is_none(), "an entry of what is no JSON"),
        (Some(_), Err(error)) => return Err(format!("only ours reads it: {error}")),
        (None, Ok(value)) => return Err(format!("only serde reads it: {value}")),
    }
    Ok(())
}

/// A transcript gives an entry for every object, on its line, up to what can't be read there, and
/// counts no line twice.
pub fn hold_transcript(bytes: &[u8]) -> Result<(), String> {
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
    ensure!(is_in_order, "the lines come in no order");
    let marked = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut count = 0;
    for (number, line) in (1_u64..).zip(marked.split_inclusive(|byte| *byte == b'\n')) {
        count = number;
        if !is_deep(line) {
            let found = entries.get(&number).copied().unwrap_or_default();
            let expected = objects(line);
            // Behind a damaged value, objects are found that a strict reader never reaches.
            ensure!(
                found == expected || (found > expected && !is_strict(line)),
                "line {number} has {expected} objects and gives {found} entries"
            );
        }
    }
    ensure!(last <= count, "line {last} of {count}");
    ensure!(
        tally.bad_lines <= tally.lines && tally.lines <= count,
        "of {count} lines it counts {tally:?}"
    );
    ensure!(tally.passed_over_lines == 0, "it passes lines over");
    ensure!(
        !(tally.torn_tail && marked.ends_with(b"\n")),
        "a tail that is ended is not torn"
    );
    Ok(())
}

/// Whether a strict reader reads the whole line.
fn is_strict(line: &[u8]) -> bool {
    let values = serde_json::Deserializer::from_slice(line).into_iter::<Value>();
    values.into_iter().all(|value| value.is_ok())
}

/// How many objects stand on a line, up to what can't be read.
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

/// Whether both readers saw the same value.
fn is_same(json: Json<'_>, value: &Value) -> bool {
    match value {
        Value::Null => json.is_null(),
        Value::Bool(value) => json.bool() == Some(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json.s64() == Some(number) || json.f64() == Some(number as f64),
            None => json
                .f64()
                .zip(number.as_f64())
                .is_some_and(|(ours, theirs)| {
                    // serde's own reading of decimals may be off by the last bit.
                    (ours - theirs).abs() <= theirs.abs() * 4.0 * f64::EPSILON
                }),
        },
        Value::String(text) => json
            .text()
            .is_some_and(|ours| ours.decode() == text.as_str()),
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

/// Looks at everything in an entry, and gives how much text there was.
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

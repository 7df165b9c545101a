//! The hooks in the settings file of an agent, edited as text, so that everything else in the file
//! stays as it is, byte by byte.

mod text;

use serde_json::{Value, json};

use text::{Span, elements, member, members, root};

/// The events after which sessions are sent.
const EVENTS: [&str; 2] = ["Stop", "SessionEnd"];
/// The agent waits at most this long for the hook, in seconds. It returns at once.
const TIMEOUT_SECONDS: u64 = 10;

/// Why a settings file cannot be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The file is not a JSON object.
    #[error("the file is not a JSON object ({0}); correct it first")]
    NotAnObject(String),
    /// A member has an unexpected type.
    #[error("`{0}` in the file is not {1}; correct it first")]
    Type(String, &'static str),
}

/// The hook as JSON.
fn entry(command: &str) -> Value {
    json!({ "hooks": [{ "type": "command", "command": command, "timeout": TIMEOUT_SECONDS }] })
}

/// Whether an element of an event has our command.
fn is_ours(element: &Value, command: &str) -> bool {
    let hooks = element.get("hooks").and_then(Value::as_array);
    hooks.is_some_and(|hooks| {
        hooks
            .iter()
            .any(|hook| hook.get("command").is_some_and(|ours| ours == command))
    })
}

/// The hooks of an event. Null if there are none.
fn event_of<'v>(settings: &'v Value, event: &str) -> &'v Value {
    let hooks = settings.get("hooks");
    hooks
        .and_then(|hooks| hooks.get(event))
        .unwrap_or(&Value::Null)
}

fn parse(text: &str) -> Result<Value, HookError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| HookError::NotAnObject(error.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(HookError::NotAnObject("it is another value".to_owned())),
    }
}

/// Whether all hooks are in a settings file.
///
/// # Errors
/// The file is not a JSON object.
pub fn has_hooks(text: &str, command: &str) -> Result<bool, HookError> {
    let value = parse(text)?;
    let has = |event: &str| {
        let elements = event_of(&value, event).as_array();
        elements.is_some_and(|elements| elements.iter().any(|element| is_ours(element, command)))
    };
    Ok(EVENTS.into_iter().all(has))
}

/// Adds the hooks to a settings file. Hooks that are there already are not added again.
///
/// # Errors
/// The file is not a JSON object, or its hooks do not have the form that the agent documents.
pub fn add(text: &str, command: &str) -> Result<String, HookError> {
    let mut text = match text.trim() {
        "" => "{}\n".to_owned(),
        _ => text.to_owned(),
    };
    for event in EVENTS {
        let value = parse(&text)?;
        check_type(
            value.get("hooks").unwrap_or(&Value::Null),
            "hooks",
            Value::is_object,
            "an object",
        )?;
        let elements = event_of(&value, event);
        check_type(
            elements,
            &format!("hooks.{event}"),
            Value::is_array,
            "an array",
        )?;
        let has_entry = elements
            .as_array()
            .is_some_and(|elements| elements.iter().any(|element| is_ours(element, command)));
        if !has_entry {
            text = add_event(&text, event, &entry(command));
        }
    }
    Ok(text)
}

fn check_type(
    value: &Value,
    name: &str,
    is_valid: impl Fn(&Value) -> bool,
    wanted: &'static str,
) -> Result<(), HookError> {
    match value.is_null() || is_valid(value) {
        true => Ok(()),
        false => Err(HookError::Type(name.to_owned(), wanted)),
    }
}

fn add_event(text: &str, event: &str, entry: &Value) -> String {
    let unit = indentation(text);
    let Some(document) = root(text) else {
        return text.to_owned();
    };
    let name = |name: &str| format!("\"{name}\": ");
    let hooks = member(text, document, "hooks").filter(|hooks| {
        text.get(hooks.value.start..)
            .is_some_and(|text| text.starts_with('{'))
    });
    let Some(hooks) = hooks else {
        let value = json!({ event: [entry] });
        return insert(
            text,
            document,
            &unit,
            1,
            &(name("hooks") + &pretty(&value, &unit, 1)),
        );
    };
    let array = member(text, hooks.value, event).filter(|array| {
        text.get(array.value.start..)
            .is_some_and(|text| text.starts_with('['))
    });
    match array {
        Some(array) => insert(text, array.value, &unit, 3, &pretty(entry, &unit, 3)),
        None => {
            let value = json!([entry]);
            insert(
                text,
                hooks.value,
                &unit,
                2,
                &(name(event) + &pretty(&value, &unit, 2)),
            )
        }
    }
}

/// Inserts an item as the last one of an object or an array. `depth` is that of the items.
fn insert(text: &str, container: Span, unit: &str, depth: usize, item: &str) -> String {
    let inner = Span {
        start: container.start + 1,
        end: container.end - 1,
    };
    let content = text.get(inner.start..inner.end).unwrap_or_default();
    let kept = content.trim_end();
    let at = inner.start + kept.len();
    let line = format!("\n{}", unit.repeat(depth));
    let inserted = match kept.is_empty() {
        true => format!("{line}{item}\n{}", unit.repeat(depth - 1)),
        false => format!(",{line}{item}"),
    };
    // White space before the end of an empty container is replaced.
    let rest = if kept.is_empty() { inner.end } else { at };
    [text.get(..at), Some(&inserted), text.get(rest..)]
        .into_iter()
        .flatten()
        .collect()
}

/// The indentation of the first member.
fn indentation(text: &str) -> String {
    let after = text.split_once('{').map_or("", |(_, after)| after);
    let blank: String = after
        .chars()
        .take_while(|c| c.is_ascii_whitespace())
        .collect();
    let unit = blank.rsplit_once('\n').map_or("", |(_, unit)| unit);
    match unit {
        "" => "  ".to_owned(),
        unit => unit.to_owned(),
    }
}

fn pretty(value: &Value, unit: &str, depth: usize) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Cannot fail: the value has string keys, and a vector accepts every write.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.replace('\n', &format!("\n{}", unit.repeat(depth)))
}

/// Removes the hooks from a settings file. Events and objects that are empty then are removed too,
/// if `before`, the file before the hooks were added, did not have them.
///
/// # Errors
/// The file is not a JSON object.
pub fn remove(text: &str, command: &str, before: &str) -> Result<String, HookError> {
    let before = parse(before).unwrap_or_else(|_| json!({}));
    let mut text = text.to_owned();
    parse(&text)?;
    for event in EVENTS {
        while let Some(span) = our_element(&text, event, command) {
            text = cut(&text, span);
        }
        if event_of(&before, event).is_null() {
            text = remove_empty(&text, &["hooks", event]);
        }
    }
    if before.get("hooks").is_none() {
        text = remove_empty(&text, &["hooks"]);
    }
    Ok(text)
}

/// The span of the first element of an event with our command.
fn our_element(text: &str, event: &str, command: &str) -> Option<Item> {
    let hooks = member(text, root(text)?, "hooks")?;
    let array = member(text, hooks.value, event)?;
    let items = elements(text, array.value);
    let index = items.iter().position(|item| {
        let element = text.get(item.start..item.end).unwrap_or_default();
        serde_json::from_str(element).is_ok_and(|element| is_ours(&element, command))
    })?;
    Item::of(&items, index, array.value)
}

/// Removes a member that is an empty object or array.
fn remove_empty(text: &str, path: &[&str]) -> String {
    let find = || {
        let mut container = root(text)?;
        let (last, parents) = path.split_last()?;
        for parent in parents {
            container = member(text, container, parent)?.value;
        }
        let all = members(text, container);
        let index = all.iter().position(|member| member.name == *last)?;
        let value = all.get(index)?.value;
        let inner = text.get(value.start + 1..value.end.checked_sub(1)?)?;
        let is_container = text.get(value.start..)?.starts_with(['{', '[']);
        let spans: Vec<Span> = all.iter().map(|member| member.whole).collect();
        (is_container && inner.trim().is_empty()).then(|| Item::of(&spans, index, container))?
    };
    find().map_or_else(|| text.to_owned(), |item| cut(text, item))
}

/// An item with its neighbors.
struct Item {
    item: Span,
    /// The end of the item before it.
    before: Option<usize>,
    /// The start of the item after it.
    after: Option<usize>,
    container: Span,
}

impl Item {
    fn of(items: &[Span], index: usize, container: Span) -> Option<Self> {
        Some(Self {
            item: *items.get(index)?,
            before: index
                .checked_sub(1)
                .and_then(|at| items.get(at))
                .map(|item| item.end),
            after: items.get(index + 1).map(|item| item.start),
            container,
        })
    }
}

/// Cuts an item and its comma.
fn cut(text: &str, item: Item) -> String {
    let (start, end) = match (item.before, item.after) {
        // From the end of the item before, so that the white space after the item stays.
        (Some(before), _) => (before, item.item.end),
        (None, Some(after)) => (item.item.start, after),
        (None, None) => (item.container.start + 1, item.container.end - 1),
    };
    [text.get(..start), text.get(end..)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;

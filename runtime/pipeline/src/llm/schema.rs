//! A subset of JSON Schema: which keywords are sent, and whether an answer matches.
//!
//! Answers are checked even if the server promises to enforce the schema, because cached answers
//! must be valid. Unknown keywords are ignored. Additional properties are allowed, because readers
//! ignore them.

use serde_json::{Map, Value};

/// Deeper documents match no schema.
const DEPTH_MAX: usize = 64;

/// Keywords that servers reject in enforced schemas. Answers are checked against them here.
const NOT_SENT: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// The schema in the form that servers enforce: every object is closed, and unsupported keywords
/// are removed.
pub(super) fn closed(schema: &Value) -> Value {
    // Property names are not keywords.
    let each = |schemas: &Value| match schemas {
        Value::Object(named) => {
            let closed = named
                .iter()
                .map(|(name, schema)| (name.clone(), closed(schema)));
            Value::Object(closed.collect())
        }
        other => other.clone(),
    };
    match schema {
        Value::Object(words) => {
            let mut sent = Map::new();
            for (word, value) in words {
                let value = match word.as_str() {
                    "properties" | "$defs" | "definitions" => each(value),
                    "items" | "anyOf" | "allOf" | "oneOf" | "not" => closed(value),
                    word if NOT_SENT.contains(&word) => continue,
                    _ => value.clone(),
                };
                sent.insert(word.clone(), value);
            }
            if words.contains_key("properties") || words.get("type") == Some(&"object".into()) {
                sent.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(sent)
        }
        Value::Array(schemas) => Value::Array(schemas.iter().map(closed).collect()),
        other => other.clone(),
    }
}

/// Whether a document fits a schema.
pub(super) fn fits(schema: &Value, document: &Value) -> bool {
    fits_within(schema, document, 0)
}

fn fits_within(schema: &Value, document: &Value, depth: usize) -> bool {
    let words = match schema {
        Value::Object(words) if depth <= DEPTH_MAX => words,
        Value::Object(_) => return false,
        other => return other != &Value::Bool(false),
    };
    words
        .iter()
        .all(|(word, value)| fits_word(word, value, document, depth))
        && words
            .get("properties")
            .is_none_or(|properties| fits_properties(properties, document, depth))
}

fn fits_word(word: &str, value: &Value, document: &Value, depth: usize) -> bool {
    let fits_one = |schema: &Value| fits_within(schema, document, depth + 1);
    let list = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    let length = |length: Option<usize>, judge: fn(u64, u64) -> bool| match (value.as_u64(), length)
    {
        (Some(bound), Some(length)) => judge(u64::try_from(length).unwrap_or(u64::MAX), bound),
        _ => true,
    };
    let chars = || document.as_str().map(|text| text.chars().count());
    let items = || document.as_array().map(Vec::len);
    match word {
        "type" => match value {
            Value::String(name) => is_of_type(document, name),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                names.into_iter().any(|name| is_of_type(document, name))
            }
            _ => true,
        },
        "enum" => list().contains(document),
        "const" => value == document,
        "required" => document.as_object().is_none_or(|object| {
            let names = list().iter().filter_map(Value::as_str);
            names.into_iter().all(|name| object.contains_key(name))
        }),
        "items" => document
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits_within(value, item, depth + 1))),
        "anyOf" | "oneOf" => list().iter().any(fits_one),
        "allOf" => list().iter().all(fits_one),
        "minLength" => length(chars(), |length, bound| length >= bound),
        "maxLength" => length(chars(), |length, bound| length <= bound),
        "minItems" => length(items(), |length, bound| length >= bound),
        "maxItems" => length(items(), |length, bound| length <= bound),
        _ => true,
    }
}

fn fits_properties(properties: &Value, document: &Value, depth: usize) -> bool {
    let (Some(properties), Some(object)) = (properties.as_object(), document.as_object()) else {
        return true;
    };
    let mut known = properties
        .iter()
        .filter_map(|(name, schema)| Some((schema, object.get(name)?)));
    known.all(|(schema, value)| fits_within(schema, value, depth + 1))
}

fn is_of_type(document: &Value, name: &str) -> bool {
    match name {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "null" => document.is_null(),
        "number" => document.is_number(),
        "integer" => {
            document.is_i64()
                || document.is_u64()
                || document
                    .as_f64()
                    .is_some_and(|number| number.fract() == 0.0)
        }
        _ => true,
    }
}

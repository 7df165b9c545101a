//! Tolerant access to the JSON of a line, which is untrusted.
//!
//! Values are ranges of the line and are decoded only when they are read. A field of an unexpected
//! type is absent, the last of several equal fields counts, and no depth or length causes an error.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The JSON of these fields of an object. `None` if the text is not exactly one JSON object.
pub(super) fn fields<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    let found = fields_with_null(json, names)?;
    // A null is as good as absent.
    Some(found.map(|value| value.filter(|value| *value != "null")))
}

/// Like [`fields`], but a null is a value.
pub(super) fn fields_with_null<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Fields(names)).ok()?;
    reader.end().ok()?;
    Some(found)
}

/// The fields of an object in their order, at most `max` of them. `None` if it is not an object.
pub(super) fn all_fields(json: &str, max: usize) -> Option<Vec<(Cow<'_, str>, &str)>> {
    serde_json::Deserializer::from_str(json)
        .deserialize_map(AllFields(max))
        .ok()
}

/// The elements of an array, at most `max`, and whether there are more. Empty for any other value.
pub(super) fn elements(json: &str, max: usize) -> (Vec<&str>, bool) {
    serde_json::Deserializer::from_str(json)
        .deserialize_seq(Elements(max))
        .unwrap_or_default()
}

/// The text of a JSON string. `None` for any other value. A lone surrogate is replaced.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    // As bytes, because serde_json rejects lone surrogates in a text.
    let mut reader = serde_json::Deserializer::from_str(json);
    let text = reader.deserialize_bytes(LossyText).ok()?;
    Some(Cow::Owned(text))
}

/// A field that is a text and not empty.
pub(super) fn nonempty(json: Option<&str>) -> Option<Cow<'_, str>> {
    text(json?).filter(|text| !text.is_empty())
}

/// Whether a field is `true`.
pub(super) fn flag(json: Option<&str>) -> bool {
    json == Some("true")
}

/// A field that is a number that is not negative. Some writers add a fraction.
pub(super) fn number(json: Option<&str>) -> Option<u64> {
    let json = json?;
    let whole = json.split_once('.').map_or(json, |(whole, _)| whole);
    whole.parse().ok()
}

/// A name of a field. Borrowed unless it has an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(name))
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(name).into_owned()))
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

struct Fields<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(name) = map.next_key_seed(Name)? {
            let place = self.0.iter().zip(&mut found);
            match place.into_iter().find(|(wanted, _)| **wanted == name) {
                Some((_, place)) => *place = Some(map.next_value::<&RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

struct AllFields(usize);

impl<'de> Visitor<'de> for AllFields {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value::<&RawValue>()?.get();
            if found.len() < self.0 {
                found.push((name, value));
            }
        }
        Ok(found)
    }
}

struct Elements(usize);

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de str>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while found.len() < self.0 {
            match array.next_element::<&RawValue>()? {
                Some(element) => found.push(element.get()),
                None => return Ok((found, false)),
            }
        }
        let mut has_more = false;
        while array.next_element::<IgnoredAny>()?.is_some() {
            has_more = true;
        }
        Ok((found, has_more))
    }
}

struct LossyText;

impl Visitor<'_> for LossyText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_fields_counts_and_null_is_absent() {
        let json = r#"{"a":1,"\u0061":"x","b":null,"c":{"a":2}}"#;
        assert_eq!(
            fields(json, ["a", "b", "d"]),
            Some([Some(r#""x""#), None, None])
        );
        for json in ["", "[]", "{}{}", "{", "nul", "\"x\"", "{\"a\":\u{0}}"] {
            assert_eq!(fields(json, ["a"]), None, "{json}");
        }
    }

    #[test]
    fn a_text_with_a_lone_surrogate_is_read() {
        assert_eq!(
            text(r#""a\ud800b\n""#).unwrap(),
            "a\u{fffd}\u{fffd}\u{fffd}b\n"
        );
        assert_eq!(text("\"plain\"").unwrap(), "plain");
        assert_eq!(text("\"\""), Some("".into()));
        for json in ["1", "\"", "null", "{}", ""] {
            assert_eq!(text(json), None, "{json}");
        }
    }

    #[test]
    fn depth_is_not_limited() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let [found] = fields(&deep, ["a"]).unwrap();
        assert_eq!(found.unwrap().len(), 200_001);
        assert_eq!(elements(found.unwrap(), 3).0.len(), 1);
    }

    #[test]
    fn a_list_is_cut_at_its_maximum() {
        assert_eq!(elements("[1,2,3]", 2), (vec!["1", "2"], true));
        assert_eq!(elements("[1,2]", 2), (vec!["1", "2"], false));
        assert_eq!(elements("{}", 2), (vec![], false));
    }

    #[test]
    fn numbers_can_have_a_fraction() {
        assert_eq!(number(Some("12.0")), Some(12));
        assert_eq!(number(Some("-1")), None);
        assert_eq!(number(Some("\"1\"")), None);
    }
}

//! JSON values that are decoded lazily.
//!
//! [`Json`] and [`Text`] borrow text that was already scanned, so accessors cannot fail. They
//! return `None` if the value is damaged or has another type.

use std::borrow::Cow;
use std::fmt;

use crate::scan::{Node, Scanner, unescape};

/// A JSON string as it appears in the transcript, with its escapes.
///
/// Most strings have no escapes, and most strings with escapes are never read. [`Text::decode`]
/// allocates only for strings with escapes.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    is_escaped: bool,
}

impl<'a> Text<'a> {
    #[inline]
    pub(crate) fn new(raw: &'a str, is_escaped: bool) -> Self {
        Self { raw, is_escaped }
    }

    /// A text that does not come from JSON. It has no escapes.
    ///
    /// ```
    /// use session_pipeline_processor::json::Text;
    ///
    /// assert_eq!(Text::plain(r"C:\new").decode(), r"C:\new");
    /// ```
    pub fn plain(text: &'a str) -> Self {
        Self::new(text, false)
    }

    /// The text between the quotes, with escapes.
    #[inline]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether [`Text::decode`] differs from [`Text::raw`].
    #[inline]
    pub fn is_escaped(&self) -> bool {
        self.is_escaped
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The decoded string.
    pub fn decode(&self) -> Cow<'a, str> {
        if self.is_escaped {
            unescape(self.raw)
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Decodes about the first `bytes` bytes of the string, to classify a long text cheaply. The
    /// last character can be a replacement character for half a surrogate pair.
    pub fn beginning(&self, bytes_max: usize) -> Cow<'a, str> {
        let head = &self.raw[..self.raw.floor_char_boundary(bytes_max)];
        if !self.is_escaped {
            return Cow::Borrowed(head);
        }
        // The longest escape is a pair of six bytes each. Do not cut inside the last one.
        let last = head.rfind('\\').filter(|at| head.len() - at < 6);
        let is_cut = head.len() < self.raw.len();
        unescape(match last {
            Some(at) if is_cut => &head[..at],
            _ => head,
        })
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        if self.is_escaped {
            self.decode() == other
        } else {
            self.raw == other
        }
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.decode(), formatter)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.decode())
    }
}

/// One JSON value, as text.
///
/// Unless the text was scanned for [`crate::activity`], every accessor scans it again. Use it for
/// values that are read rarely, such as the input of a tool.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    raw: &'a str,
    /// The outline of the value, with its own node first. Empty if it has none.
    nodes: &'a [Node],
}

impl<'a> Json<'a> {
    #[inline]
    pub(crate) fn new(raw: &'a str) -> Self {
        Self::outlined(raw, &[])
    }

    /// A value with the nodes of its outline, or none.
    #[inline]
    pub(crate) fn outlined(raw: &'a str, nodes: &'a [Node]) -> Self {
        Self { raw, nodes }
    }

    /// The parts of an array or object that has an outline. `None` without one.
    #[inline]
    fn parts(&self) -> Option<Parts<'a>> {
        let (own, nodes) = self.nodes.split_first()?;
        Some(Parts {
            raw: self.raw,
            start: own.start,
            nodes,
        })
    }

    /// Parses one whole JSON value. `None` for any other text.
    ///
    /// ```
    /// use session_pipeline_processor::json::Json;
    ///
    /// let input = Json::parse(r#"{"skill":"review","tries":[1,2]}"#).unwrap();
    /// assert_eq!(input.field("skill").unwrap().text().unwrap(), "review");
    /// assert_eq!(input.field("tries").unwrap().elements().count(), 2);
    /// assert!(input.field("other").is_none());
    /// assert!(Json::parse("{} and more").is_none());
    /// ```
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let json = scanner.json().ok()?;
        let is_whole = scanner.peek().is_none() && !scanner.is_damaged();
        is_whole.then_some(json)
    }

    /// The JSON text of the value.
    #[inline]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.raw == "null"
    }

    /// The value, if it is a string.
    pub fn text(&self) -> Option<Text<'a>> {
        if let [own, ..] = self.nodes {
            let text = self.raw.strip_prefix('"')?.strip_suffix('"')?;
            return Some(Text::new(text, own.is_escaped));
        }
        Scanner::new(self.raw).maybe_text().ok().flatten()
    }

    /// The value, if it is a boolean.
    pub fn bool(&self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The value, if it is an integer that fits into `i64` in any notation: `512.0` and `5.12e2`
    /// are 512.
    ///
    /// ```
    /// use session_pipeline_processor::json::Json;
    ///
    /// let whole = |text| Json::parse(text).unwrap().s64();
    /// assert_eq!(whole("512"), Some(512));
    /// assert_eq!(whole("5.12e2"), Some(512));
    /// assert_eq!(whole("512.5"), None);
    /// ```
    pub fn s64(&self) -> Option<i64> {
        let digits = self.raw.strip_prefix('-').unwrap_or(self.raw);
        let is_plain = digits == "0" || digits.starts_with(|first| matches!(first, '1'..='9'));
        if is_plain && let Ok(whole) = self.raw.parse() {
            return Some(whole);
        }
        // Larger integers cannot be represented exactly as `f64`.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let float = self.f64()?;
        let is_whole = float.fract() == 0.0 && float.abs() <= EXACT_MAX;
        is_whole.then_some(float as i64)
    }

    /// The value, if it is a number.
    pub fn f64(&self) -> Option<f64> {
        self.is_number().then(|| self.raw.parse().ok()).flatten()
    }

    fn is_number(&self) -> bool {
        let first = self.raw.bytes().next();
        let mut scanner = Scanner::new(self.raw);
        first.is_some_and(|first| first == b'-' || first.is_ascii_digit())
            && scanner.skip().is_ok()
            && scanner.peek().is_none()
    }

    /// The elements, if the value is an array. Otherwise empty.
    pub fn elements(&self) -> impl Iterator<Item = Json<'a>> {
        let parts = self.parts().filter(|_| self.is_array());
        let mut elements = Vec::new();
        if self.is_array() && parts.is_none() {
            // The text was checked before, so there is no error to report.
            let _ = Scanner::new(self.raw).array(|scanner| {
                elements.push(scanner.json()?);
                Ok(())
            });
        }
        parts.into_iter().flatten().chain(elements)
    }

    /// The fields with their values, in order, if the value is an object. Otherwise empty.
    ///
    /// ```
    /// use session_pipeline_processor::json::Json;
    ///
    /// let counts = Json::parse(r#"{"read":2,"write":1}"#).unwrap();
    /// let counts: Vec<_> = counts.entries().map(|(tool, count)| (tool, count.s64())).collect();
    /// assert_eq!(counts, [("read".to_owned(), Some(2)), ("write".to_owned(), Some(1))]);
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (String, Json<'a>)> {
        let mut entries = Vec::new();
        self.for_each_field(|key, value| entries.push((key.to_owned(), value)));
        entries.into_iter()
    }

    /// The values of several fields, in one pass. Absent for a field that the object does not have,
    /// and for all fields if the value is not an object. If a field occurs several times, the last
    /// one.
    ///
    /// ```
    /// use session_pipeline_processor::json::Json;
    ///
    /// let call = Json::parse(r#"{"name":"ls","id":7}"#).unwrap();
    /// let [id, name, input] = call.fields(["id", "name", "input"]);
    /// assert_eq!(id.unwrap().s64(), Some(7));
    /// assert_eq!(name.unwrap().text().unwrap(), "ls");
    /// assert!(input.is_none());
    /// ```
    pub fn fields<const N: usize>(&self, names: [&str; N]) -> [Option<Json<'a>>; N] {
        let mut found = [None; N];
        self.for_each_field(|key, value| {
            if let Some(at) = names.iter().position(|name| *name == key) {
                found[at] = Some(value);
            }
        });
        found
    }

    /// Calls `each` with every key and its value, in order, if the value is an object.
    #[inline]
    fn for_each_field(&self, mut each: impl FnMut(&str, Json<'a>)) {
        if !self.is_object() {
            return;
        }
        if let Some(mut parts) = self.parts() {
            while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                match key.text() {
                    Some(key) if key.is_escaped() => each(&key.decode(), value),
                    Some(key) => each(key.raw(), value),
                    None => {}
                }
            }
            return;
        }
        // The text was checked before, so there is no error to report.
        let _ = Scanner::new(self.raw).object(|scanner, key| {
            each(key, scanner.json()?);
            Ok(())
        });
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.raw.starts_with('{')
    }

    /// Whether the value is an array.
    pub fn is_array(&self) -> bool {
        self.raw.starts_with('[')
    }

    /// The value of a field, if the value is an object that has it. If the field occurs several
    /// times, the last one.
    pub fn field(&self, name: &str) -> Option<Json<'a>> {
        let mut found = None;
        self.for_each_field(|key, value| {
            if key == name {
                found = Some(value);
            }
        });
        found
    }
}

/// The parts of an array or object with an outline: its elements, or its keys and values in turns.
struct Parts<'a> {
    /// The text of the array or object, and its position in the outline.
    raw: &'a str,
    start: u32,
    nodes: &'a [Node],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Json<'a>;

    #[inline]
    fn next(&mut self) -> Option<Json<'a>> {
        let node = self.nodes.first()?;
        let (own, rest) = self.nodes.split_at_checked(node.nodes as usize)?;
        self.nodes = rest;
        let range = (node.start - self.start) as usize..(node.end - self.start) as usize;
        Some(Json::outlined(self.raw.get(range)?, own))
    }
}

/// One JSON value that owns its text, for rows of shared tables.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Takes the text of one whole JSON value. `None` for any other text.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        Json::parse(&text).is_some().then_some(Self(text))
    }

    /// A JSON array of strings.
    ///
    /// ```
    /// use session_pipeline_processor::json::JsonText;
    ///
    /// let tags = JsonText::strings(["a \"b\"", "c\n"]);
    /// assert_eq!(tags.raw(), r#"["a \"b\"","c\u000a"]"#);
    /// let first = tags.json().elements().next().unwrap();
    /// assert_eq!(first.text().unwrap(), "a \"b\"");
    /// ```
    pub fn strings(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let quoted = |text: &str| {
            let mut quoted = String::with_capacity(text.len() + 2);
            quoted.push('"');
            for character in text.chars() {
                match character {
                    '"' => quoted.push_str("\\\""),
                    '\\' => quoted.push_str("\\\\"),
                    '\0'..='\u{1f}' => {
                        quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
                    }
                    _ => quoted.push(character),
                }
            }
            quoted.push('"');
            quoted
        };
        let texts: Vec<String> = texts
            .into_iter()
            .map(|text| quoted(text.as_ref()))
            .collect();
        Self(format!("[{}]", texts.join(",")))
    }

    /// The JSON text of the value.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The value, for reading.
    pub fn json(&self) -> Json<'_> {
        Json::new(&self.0)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Outline;

    /// Checks that all questions have the same answers with an outline as without.
    fn check_outlined(with: Json<'_>, without: Json<'_>) {
        assert_eq!(with.raw(), without.raw());
        let text = |json: Json<'_>| {
            let text = json.text()?;
            Some((text.raw().to_owned(), text.is_escaped()))
        };
        assert_eq!(text(with), text(without), "{with:?}");
        let raw = |json: &[Option<Json<'_>>]| {
            let raw = json
                .iter()
                .map(|json| json.map(|json| json.raw().to_owned()));
            raw.collect::<Vec<_>>()
        };
        let names = ["a", "type", "b\n"];
        assert_eq!(raw(&with.fields(names)), raw(&without.fields(names)));
        assert_eq!(raw(&[with.field("a")]), raw(&[without.field("a")]));
        let (parts, others): (Vec<_>, Vec<_>) =
            (with.elements().collect(), without.elements().collect());
        assert_eq!(parts.len(), others.len(), "{with:?}");
        for (part, other) in parts.into_iter().zip(others) {
            check_outlined(part, other);
        }
        let (fields, others): (Vec<_>, Vec<_>) =
            (with.entries().collect(), without.entries().collect());
        assert_eq!(fields.len(), others.len(), "{with:?}");
        for ((key, value), (other_key, other)) in fields.into_iter().zip(others) {
            assert_eq!(key, other_key);
            check_outlined(value, other);
        }
    }

    /// Checks every value in a line, with one outline for all of them.
    fn check_line(line: &str, outline: &mut Outline) -> usize {
        let (mut scanner, mut other) = (Scanner::new(line), Scanner::new(line));
        let mut values = 0;
        loop {
            let without = other.json();
            match (scanner.outlined(outline), without) {
                (Ok(with), Ok(without)) => check_outlined(with, without),
                (with, without) => {
                    assert_eq!(with.err(), without.err(), "{line}");
                    break;
                }
            }
            assert_eq!(scanner.is_damaged(), other.is_damaged(), "{line}");
            values += 1;
        }
        values
    }

    #[test]
    fn invariant_an_outline_changes_no_answer() {
        let lines = [
            r#"{"a":1,"type":"x\"y","b\n":[true,null,[],{},[[-1.5e3]],"\ud83d\ude00"],"a":{"a":{"type":[]}}}"#,
            r#" {"\u0061":"é","type" : { } , "a":[ 1 , "2" , {"type":NaN} ] } {"a":"second"} 7 "text""#,
            r#"[[[[{"type":[{"a":"b"}]}],1e999],"x"],"a\
b"]"#,
        ];
        let replacements = b"\"\\{}[],: x1\n";
        let mut outline = Outline::default();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as usize
        };
        let mut values = 0;
        for line in lines {
            assert!(check_line(line, &mut outline) > 0, "{line}");
            for end in 0..line.len() {
                if let Some(line) = line.get(..end) {
                    check_line(line, &mut outline);
                }
            }
            for _ in 0..2_000 {
                let mut bytes = line.as_bytes().to_vec();
                for _ in 0..=next(2) {
                    let at = next(bytes.len());
                    bytes[at] = replacements[next(replacements.len())];
                }
                let line = String::from_utf8_lossy(&bytes);
                values += check_line(&line, &mut outline);
            }
        }
        assert!(values > 3_000, "most damage leaves a value: {values}");
    }

    #[test]
    fn a_value_with_too_many_parts_has_the_same_answers_without_an_outline() {
        let mut outline = Outline::default();
        for elements in [10, 100_000] {
            let line = format!("{{\"a\":[{}1],\"type\":2}}", "1,".repeat(elements));
            assert_eq!(check_line(&line, &mut outline), 1);
        }
        // The next value has one again.
        let mut scanner = Scanner::new("[1]");
        assert!(scanner.outlined(&mut outline).unwrap().parts().is_some());
    }

    #[test]
    fn the_beginning_of_a_text_ends_before_a_cut_character() {
        let beginning = |raw, bytes_max| Text::new(raw, true).beginning(bytes_max).into_owned();
        assert_eq!(beginning(r"ab\ncd", 100), "ab\ncd");
        assert_eq!(beginning(r"ab\ncd", 3), "ab");
        assert_eq!(beginning(r"ab\u00e9cd", 6), "ab");
        assert_eq!(beginning(r"aé\n", 2), "a");
    }
}

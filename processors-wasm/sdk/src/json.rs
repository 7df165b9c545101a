//! JSON values that are decoded lazily.
//!
//! [`Json`] and [`Text`] borrow text that was already scanned, so accessors cannot fail. They
//! return `None` if the value is damaged or has another type.

use std::borrow::Cow;
use std::fmt;

use crate::scan::{Scanner, unescape};

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
/// Every accessor scans the text again. Use it for values that are read rarely, such as the input
/// of a tool.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    raw: &'a str,
}

impl<'a> Json<'a> {
    #[inline]
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw }
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
        let mut elements = Vec::new();
        if self.raw.starts_with('[') {
            // The text was checked before, so there is no error to report.
            let _ = Scanner::new(self.raw).array(|scanner| {
                elements.push(scanner.json()?);
                Ok(())
            });
        }
        elements.into_iter()
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
        if self.is_object() {
            // The text was checked before, so there is no error to report.
            let _ = Scanner::new(self.raw).object(|scanner, key| {
                entries.push((key.to_owned(), scanner.json()?));
                Ok(())
            });
        }
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
        if self.is_object() {
            // The text was checked before.
            let _ = Scanner::new(self.raw).object(|scanner, key| {
                let value = scanner.json()?;
                if let Some(at) = names.iter().position(|name| *name == key) {
                    found[at] = Some(value);
                }
                Ok(())
            });
        }
        found
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
        if self.raw.starts_with('{') {
            // The text was checked before.
            let _ = Scanner::new(self.raw).object(|scanner, key| {
                let value = scanner.json()?;
                if key == name {
                    found = Some(value);
                }
                Ok(())
            });
        }
        found
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

    #[test]
    fn the_beginning_of_a_text_ends_before_a_cut_character() {
        let beginning = |raw, bytes_max| Text::new(raw, true).beginning(bytes_max).into_owned();
        assert_eq!(beginning(r"ab\ncd", 100), "ab\ncd");
        assert_eq!(beginning(r"ab\ncd", 3), "ab");
        assert_eq!(beginning(r"ab\u00e9cd", 6), "ab");
        assert_eq!(beginning(r"aé\n", 2), "a");
    }
}

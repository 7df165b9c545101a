//! JSON values that are looked at when somebody asks, and not before.
//!
//! [`Json`] and [`Text`] borrow text that has been scanned already, so no question about them can
//! fail: a value of another type than the one asked for answers `None`, and so does a damaged one.

use std::borrow::Cow;
use std::fmt;

use crate::scan::{Scanner, unescape};

/// A JSON string as it stands in the transcript, its escapes still in place.
///
/// Most strings have no escapes, and most that have some are never looked at: [`Text::decode`]
/// allocates only for those that are.
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

    /// What stands between the quotes, escapes and all.
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

    /// The string itself.
    pub fn decode(&self) -> Cow<'a, str> {
        if self.is_escaped {
            unescape(self.raw)
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The beginning of the string, of about so many bytes: to see what a long text is without
    /// decoding all of it. Its last character may be a replacement for half of one.
    pub fn beginning(&self, bytes_max: usize) -> Cow<'a, str> {
        let head = &self.raw[..self.raw.floor_char_boundary(bytes_max)];
        if !self.is_escaped {
            return Cow::Borrowed(head);
        }
        // The longest escape is a pair of six; a cut within the last one would garble it.
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

/// One JSON value, as its own text.
///
/// Every question scans that text again: made for values that are looked at now and then, such
/// as the input of a tool.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    raw: &'a str,
}

impl<'a> Json<'a> {
    #[inline]
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// Reads one whole JSON value; `None` if `text` is anything else.
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

    /// The text of the value.
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

    /// The value, if it is a truth value.
    pub fn bool(&self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The value, if it is a whole number that fits, however it is written: `512.0` and `5.12e2`
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
        // Beyond, not every whole number is one of `f64`.
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

    /// The elements, if the value is an array; else none.
    pub fn elements(&self) -> impl Iterator<Item = Json<'a>> {
        let mut elements = Vec::new();
        if self.raw.starts_with('[') {
            // The text was checked when the value was made, so there is no error to report.
            let _ = Scanner::new(self.raw).array(|scanner| {
                elements.push(scanner.json()?);
                Ok(())
            });
        }
        elements.into_iter()
    }

    /// The value of a field, if the value is an object that has it; the last one, if several.
    pub fn field(&self, name: &str) -> Option<Json<'a>> {
        let mut found = None;
        if self.raw.starts_with('{') {
            // As above: checked text.
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

/// One JSON value that owns its text: for rows of shared tables, which are read back.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Takes the text of one whole JSON value; `None` if it is anything else.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        Json::parse(&text).is_some().then_some(Self(text))
    }

    /// A list of strings.
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

    /// The text of the value.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The value, to be asked.
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

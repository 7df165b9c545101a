//! A single strict pass over JSON text, on which [`crate::json`] and [`crate::transcript`] are
//! built.
//!
//! This is a custom pull parser for three reasons. Values that are not read are checked and skipped
//! as fast as strings. A value of an unexpected type is treated as absent. Values that are read are
//! borrowed.
//!
//! Damage affects only the value that contains it. The scanner accepts lone surrogates, invalid
//! escapes and control characters in strings, invalid numbers and words such as `NaN` and `1e999`,
//! and nesting beyond [`DEPTH_MAX`]. [`Scanner::is_damaged`] reports that it did. Only damaged
//! structure, such as a missing comma, is an error. Text without damage is exactly what
//! `serde_json` accepts. A test compares the two.

mod cursor;
mod outline;

use std::borrow::Cow;

use self::cursor::{Cursor, hex4};
use self::outline::{NoOutline, Visitor};
pub(crate) use self::outline::{Node, Outline};
use crate::json::{Json, Text};

/// Maximum nesting of arrays and objects. A deeper value counts as damaged. The host stores no
/// deeper values.
pub(crate) const DEPTH_MAX: u32 = 128;

/// A value that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The text ends inside the value, and everything so far could be the beginning of a value.
    Torn,
    /// The text is not JSON.
    Malformed,
}

pub(crate) type Result<T> = std::result::Result<T, Broken>;

/// A reader of JSON text.
///
/// After an error, its position is undefined, and it must not be used again.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    cursor: Cursor<'a>,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            cursor: Cursor::new(text),
            depth: 0,
        }
    }

    /// Whether anything read so far was damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.cursor.is_damaged
    }

    /// The next byte that is not white space, without consuming it.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.cursor.peek()
    }

    /// Whether two values can directly follow each other on one line. After a number or word, a
    /// letter or digit cannot follow.
    pub(crate) fn is_at_boundary(&self) -> bool {
        match self.cursor.byte() {
            None => true,
            Some(byte) => matches!(
                byte,
                b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'[' | b']' | b'{' | b'}' | b',' | b':'
            ),
        }
    }

    /// Reads an object. `field` must read or skip the value of each key.
    #[inline]
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        if self.depth == DEPTH_MAX {
            return self.skip_nested();
        }
        self.open();
        if self.cursor.expect_more()? == b'}' {
            return self.close();
        }
        loop {
            self.cursor.expect(b'"')?;
            let key = self.text()?;
            self.cursor.expect(b':')?;
            self.cursor.expect_more()?;
            if key.is_escaped() {
                field(self, &key.decode())?;
            } else {
                field(self, key.raw())?;
            }
            if self.cursor.is_closed_by(b'}')? {
                return self.close();
            }
        }
    }

    /// Reads an array. `element` must read or skip each element.
    #[inline]
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth == DEPTH_MAX {
            return self.skip_nested();
        }
        self.open();
        if self.cursor.expect_more()? == b']' {
            return self.close();
        }
        loop {
            element(self)?;
            if self.cursor.is_closed_by(b']')? {
                return self.close();
            }
        }
    }

    #[inline(always)]
    fn open(&mut self) {
        self.cursor.at += 1;
        self.depth += 1;
    }

    #[inline(always)]
    fn close(&mut self) -> Result<()> {
        self.cursor.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Reads an object. For any other value, skips it and returns false.
    #[inline]
    pub(crate) fn maybe_object(
        &mut self,
        field: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<bool> {
        if self.peek() == Some(b'{') {
            self.object(field)?;
            return Ok(true);
        }
        self.skip()?;
        Ok(false)
    }

    /// Reads a string. Skips any other value.
    pub(crate) fn maybe_text(&mut self) -> Result<Option<Text<'a>>> {
        if self.peek() == Some(b'"') {
            self.cursor.at += 1;
            return self.text().map(Some);
        }
        self.skip()?;
        Ok(None)
    }

    /// Reads a boolean. Skips any other value.
    pub(crate) fn maybe_bool(&mut self) -> Result<Option<bool>> {
        Ok(self.json()?.bool())
    }

    /// Checks a value and returns its text.
    pub(crate) fn json(&mut self) -> Result<Json<'a>> {
        self.peek();
        let start = self.cursor.at;
        self.skip()?;
        Ok(Json::new(&self.text[start..self.cursor.at]))
    }

    /// Like [`Scanner::json`], for a value of which many parts are read. The outline of an earlier
    /// value is replaced.
    pub(crate) fn outlined<'o>(&mut self, outline: &'o mut Outline) -> Result<Json<'o>>
    where
        'a: 'o,
    {
        let first = self.cursor.expect_more()?;
        let start = self.cursor.at;
        outline.begin(start);
        if matches!(first, b'{' | b'[') {
            self.visit_nested(outline)?;
        } else {
            self.skip()?;
        }
        let raw = &self.text[start..self.cursor.at];
        Ok(Json::outlined(raw, outline.nodes()))
    }

    /// Checks and skips one value.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.cursor.expect_more()? {
            b'"' => {
                self.cursor.at += 1;
                self.string_end().map(|_| ())
            }
            b'{' | b'[' => self.skip_nested(),
            // A word between two lines that were joined is not a value.
            first if self.depth == 0 => self.cursor.skip_plain(first),
            first => self.cursor.skip_element(first),
        }
    }

    fn skip_nested(&mut self) -> Result<()> {
        self.visit_nested(&mut NoOutline)
    }

    /// Skips an array or object, and reports its parts. Without recursion. Each level is a bit,
    /// which is set for an object. Every 128 levels, the bits are moved to `outer`.
    fn visit_nested(&mut self, visitor: &mut impl Visitor) -> Result<()> {
        const BITS: u32 = u128::BITS;
        let mut cursor = self.cursor;
        let levels_max = DEPTH_MAX - self.depth;
        let (mut levels, mut objects) = (0, 0_u128);
        let mut outer = Vec::new();
        let mut is_key = false;
        loop {
            let first = cursor.expect_more()?;
            let start = cursor.at;
            if first == b'"' {
                cursor.at += 1;
                let is_escaped = cursor.string_end()?;
                visitor.leaf(start, cursor.at, is_escaped);
                if is_key {
                    cursor.expect(b':')?;
                    is_key = false;
                    continue;
                }
            } else if is_key {
                return Err(Broken::Malformed);
            } else if matches!(first, b'{' | b'[') {
                cursor.is_damaged |= levels >= levels_max;
                let is_object = first == b'{';
                cursor.at += 1;
                if cursor.expect_more()? == closing_mark(is_object) {
                    cursor.at += 1;
                    visitor.leaf(start, cursor.at, false);
                } else {
                    visitor.open(start);
                    if levels > 0 && levels % BITS == 0 {
                        outer.push(objects);
                    }
                    levels += 1;
                    objects = objects << 1 | u128::from(is_object);
                    is_key = is_object;
                    continue;
                }
            } else {
                cursor.skip_element(first)?;
                visitor.leaf(start, cursor.at, false);
            }
            // After a value: continue with the next value, or close its parent.
            loop {
                if levels == 0 {
                    self.cursor = cursor;
                    return Ok(());
                }
                let is_object = objects & 1 != 0;
                if !cursor.is_closed_by(closing_mark(is_object))? {
                    is_key = is_object;
                    break;
                }
                cursor.at += 1;
                visitor.close(cursor.at);
                levels -= 1;
                objects >>= 1;
                if levels > 0 && levels % BITS == 0 {
                    objects = outer.pop().unwrap_or_default();
                }
            }
        }
    }

    /// Reads a string. The opening quote was consumed before.
    #[inline]
    fn text(&mut self) -> Result<Text<'a>> {
        let start = self.cursor.at;
        let is_escaped = self.string_end()?;
        Ok(Text::new(&self.text[start..self.cursor.at - 1], is_escaped))
    }

    /// Skips a string. The opening quote was consumed before. Returns whether it has escapes.
    #[inline(never)]
    fn string_end(&mut self) -> Result<bool> {
        self.cursor.string_end()
    }
}

#[inline(always)]
fn closing_mark(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Decodes a string with escapes. Half a surrogate pair becomes U+FFFD. Invalid escapes lose their
/// backslash.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let (head, mut rest) = raw.split_at(first);
    text.push_str(head);
    while let Some(escape) = rest.strip_prefix('\\') {
        let (meaning, length) = one_escape(escape);
        text.push(meaning);
        rest = &escape[length..];
        let run = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
        text.push_str(&rest[..run]);
        rest = &rest[run..];
    }
    Cow::Owned(text)
}

/// The character for an escape without its backslash, and the length of the escape.
fn one_escape(escape: &str) -> (char, usize) {
    let bytes = escape.as_bytes();
    match bytes.first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match (hex4(bytes, 1), hex4(bytes, 7)) {
            (Ok(high @ 0xd800..=0xdbff), Ok(low @ 0xdc00..=0xdfff)) if bytes[5..7] == *b"\\u" => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                    11,
                )
            }
            (Ok(code), _) => (
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                5,
            ),
            _ => (char::REPLACEMENT_CHARACTER, 1),
        },
        Some(byte) if byte.is_ascii() => (char::from(*byte), 1),
        _ => ('\\', 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let mut scanner = Scanner::new(text);
        let ours = scanner.skip().is_ok() && scanner.peek().is_none() && !scanner.is_damaged();
        let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
        assert_eq!(ours, theirs, "{text}");
    }

    #[test]
    fn what_is_json_is_what_serde_json_says() {
        for text in [
            "null",
            "true",
            "tru",
            "truefalse",
            "nul",
            "0",
            "-0",
            "-",
            "01",
            "1.",
            "1.5",
            ".5",
            "1e5",
            "1E+5",
            "1e-5",
            "1e",
            "1e999",
            "-1e999",
            "1e308",
            "0e999",
            "\"\"",
            "\"a\"",
            "\"",
            "\"a",
            "\"\\",
            "\"\\n\"",
            "\"\\x\"",
            "\"\\u0041\"",
            "\"\\u00\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\u0041\"",
            "\"a\tb\"",
            "\"a\u{0}b\"",
            "\"a\u{7f}b\"",
            "[]",
            "[ ]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2",
            "{}",
            "{ }",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "{\"a\":1 \"b\":2}",
            "",
            " ",
            "\u{feff}{}",
            "\u{b}1",
            "NaN",
            "Infinity",
            "{\"a\":1}x",
            "// x",
            "\"é日本😀\"",
            "\"sixteen bytes and more, with an escape at the end\\\"\"",
            "{\"\\u0074ype\":[true,false,null,{\"x\":[-1.5e-3]}]}",
            "\r\n\t {\"a\" : [ 1 , 2 ] } \r",
        ] {
            check(text);
        }
        check(&format!("1{}", "0".repeat(308)));
        check(&format!("1{}", "0".repeat(309)));
    }

    /// Blocks are processed as a whole. The result must not depend on the position within a block.
    #[test]
    fn invariant_escapes_mean_the_same_wherever_blocks_end() {
        for padding in 0..140 {
            for backslashes in 0..6 {
                for behind in [
                    "",
                    "n",
                    "x",
                    "u0041",
                    "ud83d\\ude00",
                    "u12",
                    "\"",
                    "é",
                    "/",
                    "\t",
                ] {
                    let padding = "p".repeat(padding);
                    let backslashes = "\\".repeat(backslashes);
                    check(&format!("[\"{padding}{backslashes}{behind}\", 1]"));
                    check(&format!("\"{padding}{backslashes}{behind}"));
                }
            }
        }
    }

    #[test]
    fn invariant_every_cut_of_a_value_is_torn_and_never_malformed() {
        let text = r#"{"a":[1.5e-3,true,null,"x\n\u0041\ud83d\ude00é"],"b":{"c":false},"d":-0.5}"#;
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let outcome = Scanner::new(&text[..cut]).skip();
            assert_eq!(outcome, Err(Broken::Torn), "{}", &text[..cut]);
        }
        assert_eq!(Scanner::new(text).skip(), Ok(()));
    }

    #[test]
    fn nesting_beyond_the_limit_is_stepped_over_and_reported() {
        for depth in [1, 127, 128, 129, 255, 256, 257, 384, 385, 100_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
                let levels = depth * open.matches(['[', '{']).count();
                let nested = format!("{}1{} 2", open.repeat(depth), close.repeat(depth));
                let mut scanner = Scanner::new(&nested);
                assert_eq!(scanner.skip(), Ok(()), "{open} {depth}");
                assert_eq!(scanner.peek(), Some(b'2'), "{open} {depth}");
                assert_eq!(
                    scanner.is_damaged(),
                    levels > DEPTH_MAX as usize,
                    "{open} {depth}"
                );
                let unclosed = &nested[..nested.len() - close.len() - 2];
                assert_eq!(Scanner::new(unclosed).skip(), Err(Broken::Torn));
            }
        }
        let crossed = "[".repeat(300) + "}";
        assert_eq!(Scanner::new(&crossed).skip(), Err(Broken::Malformed));
    }

    #[test]
    fn damage_ends_with_its_value() {
        for damaged in [
            r#""\ud83d""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\u0041""#,
            r#""\x\u12\u""#,
            "\"a\tb\u{0}\"",
            "NaN",
            "-Infinity",
            "undefined",
            "1e999",
            "01",
            "1.",
            ".5",
            "+1",
            "truefalse",
            "0x10",
        ] {
            for text in [
                format!("[{damaged},7]"),
                format!("[7, {damaged} ]"),
                format!("{{\"a\":{damaged},\"b\":7}}"),
                format!("{{\"a\":[{{\"b\":{damaged}}}],\"c\":[7]}}"),
            ] {
                let mut scanner = Scanner::new(&text);
                assert_eq!(scanner.skip(), Ok(()), "{text}");
                assert!(scanner.is_damaged() && scanner.peek().is_none(), "{text}");
            }
        }
        for malformed in [
            "[,7]",
            "[7,]",
            "[7 8]",
            "{\"a\":}",
            "{\"a\" 7}",
            "['x']",
            "hello",
        ] {
            assert_eq!(
                Scanner::new(malformed).skip(),
                Err(Broken::Malformed),
                "{malformed}"
            );
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement_character() {
        for (raw, text) in [
            (r"a\ud83d", "a\u{fffd}"),
            (r"\ude00b", "\u{fffd}b"),
            (r"\ud83dxxde00", "\u{fffd}xxde00"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\u12", "\u{fffd}12"),
        ] {
            assert_eq!(unescape(raw), text, "{raw}");
        }
    }

    #[test]
    fn strings_say_what_serde_json_reads_in_them() {
        for raw in [
            "plain",
            "",
            r"a\nb",
            r"\\",
            r"\\n",
            r#"\"quoted\""#,
            r"\/\b\f\r\t",
            r"\u00e9t\u00E9",
            r"\ud83d\ude00!",
            r"x\u0000y",
            r"é\né",
        ] {
            let theirs: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(unescape(raw), theirs, "{raw}");
        }
    }
}

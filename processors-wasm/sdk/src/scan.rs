//! One strict pass over JSON text: the ground that [`crate::json`] and [`crate::transcript`]
//! stand on.
//!
//! A pull parser of our own, because of three things at once: what is not asked for is checked
//! and skipped at the speed of its strings, a value of an unexpected type is simply absent, and
//! what is asked for is borrowed. It accepts exactly the JSON texts of RFC 8259 of at most
//! [`DEPTH_MAX`] levels, without lone surrogates and without numbers beyond `f64`, which is what
//! `serde_json` reads; a test holds the two against each other.

use std::borrow::Cow;

use wide::u8x16;

use crate::json::{Json, Text};

/// How deep arrays and objects may nest; the host stores nothing deeper.
pub(crate) const DEPTH_MAX: u32 = 128;

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The text ends within the value: all that is there could be the beginning of one.
    Torn,
    /// The text is no JSON.
    Malformed,
}

pub(crate) type Result<T> = std::result::Result<T, Broken>;

/// A position in JSON text.
///
/// After an error the position means nothing, and the scanner must not be used again.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    /// Which bytes from `block_start` on could end or break a string; strings and escapes are
    /// short in transcripts, so that several of them share the work of finding these.
    specials: u64,
    /// Never behind `at`.
    block_start: usize,
}

/// How many bytes `specials` speaks of.
const BLOCK_BYTES: usize = 64;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            specials: find_specials(text.as_bytes(), 0),
            block_start: 0,
        }
    }

    #[inline(always)]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    /// The next byte that is not white space, without stepping over it.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            Some(_) => self.peek_behind_space(),
            None => None,
        }
    }

    // Agents write no white space between tokens.
    #[cold]
    fn peek_behind_space(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.byte()
    }

    /// As [`Scanner::peek`], where a value or a mark must follow.
    #[inline(always)]
    fn expect_more(&mut self) -> Result<u8> {
        self.peek().ok_or(Broken::Torn)
    }

    /// Steps over a mark that must follow.
    #[inline(always)]
    fn expect(&mut self, mark: u8) -> Result<()> {
        if self.expect_more()? != mark {
            return Err(Broken::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the value before, and what follows it, can stand side by side in one line.
    /// After a number or a word, a letter or digit can't.
    pub(crate) fn is_at_boundary(&self) -> bool {
        match self.byte() {
            None => true,
            Some(byte) => matches!(
                byte,
                b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'[' | b']' | b'{' | b'}' | b',' | b':'
            ),
        }
    }

    /// Reads an object; `field` must read or skip the value of each key it is given.
    #[inline]
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<()> {
        self.open()?;
        if self.expect_more()? == b'}' {
            return self.close();
        }
        loop {
            self.expect(b'"')?;
            let key = self.text()?;
            self.expect(b':')?;
            self.expect_more()?;
            if key.is_escaped() {
                field(self, &key.decode())?;
            } else {
                field(self, key.raw())?;
            }
            if self.is_closed_by(b'}')? {
                return self.close();
            }
        }
    }

    /// Reads an array; `element` must read or skip each element.
    #[inline]
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open()?;
        if self.expect_more()? == b']' {
            return self.close();
        }
        loop {
            element(self)?;
            if self.is_closed_by(b']')? {
                return self.close();
            }
        }
    }

    #[inline(always)]
    fn open(&mut self) -> Result<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Broken::Malformed);
        }
        Ok(())
    }

    #[inline(always)]
    fn close(&mut self) -> Result<()> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Between two elements: steps over the comma, or answers true before the closing mark.
    #[inline(always)]
    fn is_closed_by(&mut self, mark: u8) -> Result<bool> {
        let byte = self.expect_more()?;
        if byte == b',' {
            self.at += 1;
            self.expect_more()?;
            return Ok(false);
        }
        if byte == mark {
            return Ok(true);
        }
        Err(Broken::Malformed)
    }

    /// Reads an object if there is one, else skips the value and answers false.
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

    /// Reads a string if there is one, else skips the value.
    pub(crate) fn maybe_text(&mut self) -> Result<Option<Text<'a>>> {
        if self.peek() == Some(b'"') {
            self.at += 1;
            return self.text().map(Some);
        }
        self.skip()?;
        Ok(None)
    }

    /// Reads a truth value if there is one, else skips the value.
    pub(crate) fn maybe_bool(&mut self) -> Result<Option<bool>> {
        let found = match self.peek() {
            Some(b't') => Some(true),
            Some(b'f') => Some(false),
            _ => None,
        };
        self.skip()?;
        Ok(found)
    }

    /// Checks a value and keeps its text for a later look.
    pub(crate) fn json(&mut self) -> Result<Json<'a>> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(Json::new(&self.text[start..self.at]))
    }

    /// Checks and steps over one value.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.expect_more()? {
            b'"' => {
                self.at += 1;
                self.string_end().map(|_| ())
            }
            b'{' => self.skip_object(),
            b'[' => self.array(Self::skip),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// As [`Scanner::object`], without a look at the keys.
    fn skip_object(&mut self) -> Result<()> {
        self.open()?;
        if self.expect_more()? == b'}' {
            return self.close();
        }
        loop {
            self.expect(b'"')?;
            self.string_end()?;
            self.expect(b':')?;
            self.skip()?;
            if self.is_closed_by(b'}')? {
                return self.close();
            }
        }
    }

    /// Of known length, so that the comparison is one of registers.
    #[inline(always)]
    fn word<const LENGTH: usize>(&mut self, word: &[u8; LENGTH]) -> Result<()> {
        let rest = &self.bytes()[self.at..];
        match rest.first_chunk::<LENGTH>() {
            Some(found) if found == word => {
                self.at += LENGTH;
                Ok(())
            }
            None if word.starts_with(rest) => Err(Broken::Torn),
            _ => Err(Broken::Malformed),
        }
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, and finite as `f64`.
    fn number(&mut self) -> Result<()> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
            if self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(Broken::Malformed);
            }
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.byte(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // Without an exponent it takes more than 300 digits to leave the range of `f64`.
        if has_exponent || self.at - start > 300 {
            return self.check_range(start);
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start {
            return Ok(());
        }
        Err(if self.byte().is_none() {
            Broken::Torn
        } else {
            Broken::Malformed
        })
    }

    #[cold]
    fn check_range(&self, start: usize) -> Result<()> {
        let number = self.text[start..self.at].parse::<f64>();
        if number.is_ok_and(f64::is_finite) {
            return Ok(());
        }
        Err(Broken::Malformed)
    }

    /// Reads the string whose opening quote is just behind.
    #[inline]
    fn text(&mut self) -> Result<Text<'a>> {
        let start = self.at;
        let is_escaped = self.string_end()?;
        Ok(Text::new(&self.text[start..self.at - 1], is_escaped))
    }

    /// Steps over the string whose opening quote is just behind; answers whether it has escapes.
    #[inline(always)]
    fn string_end(&mut self) -> Result<bool> {
        let bytes = self.bytes();
        let mut at = self.at;
        let mut is_escaped = false;
        loop {
            at = self.next_special(at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    match bytes.get(at + 1) {
                        Some(byte) if IS_SHORT_ESCAPE[usize::from(*byte)] => at += 2,
                        _ => at = long_escape(bytes, at)?,
                    }
                }
                Some(_) => return Err(Broken::Malformed),
                None => return Err(Broken::Torn),
            }
        }
    }

    /// Where the first quote, backslash or control character is from `at` on, or a position not
    /// before the end.
    #[inline(always)]
    fn next_special(&mut self, mut at: usize) -> usize {
        let offset = at - self.block_start;
        if offset < BLOCK_BYTES {
            let rest = self.specials >> offset;
            if rest != 0 {
                return at + rest.trailing_zeros() as usize;
            }
            at = self.block_start + BLOCK_BYTES;
        }
        loop {
            let specials = find_specials(self.bytes(), at);
            if specials != 0 {
                self.block_start = at;
                self.specials = specials;
                return at + specials.trailing_zeros() as usize;
            }
            at += BLOCK_BYTES;
        }
    }
}

/// Which of the bytes from `start` on are quotes, backslashes or control characters; those
/// behind the end count as such.
#[inline(always)]
fn find_specials(bytes: &[u8], start: usize) -> u64 {
    match bytes.get(start..).and_then(<[u8]>::first_chunk) {
        Some(block) => specials_of(block),
        None => find_last_specials(bytes, start),
    }
}

#[inline(never)]
fn find_last_specials(bytes: &[u8], start: usize) -> u64 {
    let mut block = [0; BLOCK_BYTES];
    let rest = bytes.get(start..).unwrap_or_default();
    block[..rest.len()].copy_from_slice(rest);
    specials_of(&block)
}

#[inline(always)]
fn specials_of(block: &[u8; BLOCK_BYTES]) -> u64 {
    let quote = u8x16::splat(b'"');
    let backslash = u8x16::splat(b'\\');
    let control_max = u8x16::splat(0x1f);
    let (parts, _) = block.as_chunks::<16>();
    let mut specials = 0;
    for (at, part) in parts.iter().enumerate() {
        let part = u8x16::from(*part);
        let special =
            part.simd_eq(quote) | part.simd_eq(backslash) | part.min(control_max).simd_eq(part);
        specials |= u64::from(special.to_bitmask()) << (16 * at);
    }
    specials
}

/// What may follow a backslash, but for `u`.
static IS_SHORT_ESCAPE: [bool; 256] = {
    let mut is_short_escape = [false; 256];
    let escapes = b"\"\\/bfnrt";
    let mut at = 0;
    while at < escapes.len() {
        is_short_escape[escapes[at] as usize] = true;
        at += 1;
    }
    is_short_escape
};

/// Steps over `\uXXXX`, or over the two of them that are one surrogate pair.
#[cold]
fn long_escape(bytes: &[u8], at: usize) -> Result<usize> {
    match bytes.get(at + 1) {
        Some(b'u') => {}
        Some(_) => return Err(Broken::Malformed),
        None => return Err(Broken::Torn),
    }
    match hex4(bytes, at + 2)? {
        0xd800..=0xdbff => {
            for (offset, mark) in [(6, b'\\'), (7, b'u')] {
                match bytes.get(at + offset) {
                    Some(byte) if *byte == mark => {}
                    Some(_) => return Err(Broken::Malformed),
                    None => return Err(Broken::Torn),
                }
            }
            match hex4(bytes, at + 8)? {
                0xdc00..=0xdfff => Ok(at + 12),
                _ => Err(Broken::Malformed),
            }
        }
        0xdc00..=0xdfff => Err(Broken::Malformed),
        _ => Ok(at + 6),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32> {
    let mut code = 0;
    for offset in 0..4 {
        let byte = *bytes.get(at + offset).ok_or(Broken::Torn)?;
        let digit = char::from(byte).to_digit(16).ok_or(Broken::Malformed)?;
        code = code * 16 + digit;
    }
    Ok(code)
}

/// Says what an escaped string means. `raw` has been scanned before, so its escapes are whole;
/// whatever is not, is left as it stands.
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

/// The character that an escape without its backslash stands for, and how long it is.
fn one_escape(escape: &str) -> (char, usize) {
    let bytes = escape.as_bytes();
    match bytes.first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match (hex4(bytes, 1), hex4(bytes, 7)) {
            (Ok(high @ 0xd800..=0xdbff), Ok(low @ 0xdc00..=0xdfff)) => {
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
        let ours = scanner.skip().is_ok() && scanner.peek().is_none();
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
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(Scanner::new(&nested(DEPTH_MAX as usize)).skip(), Ok(()));
        assert_eq!(
            Scanner::new(&nested(DEPTH_MAX as usize + 1)).skip(),
            Err(Broken::Malformed)
        );
        let deep = "{\"a\":".repeat(1_000_000);
        assert_eq!(Scanner::new(&deep).skip(), Err(Broken::Malformed));
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

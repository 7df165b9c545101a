//! A position in JSON text that knows where the following strings end.
//!
//! Strings and escapes in transcripts are short and frequent: a block of 64 bytes has two escapes
//! on average. Therefore, blocks are processed as a whole. The bytes that end or interrupt a string
//! are computed once per block, including escapes. The algorithm is from simdjson (Langdale and
//! Lemire, "Parsing Gigabytes of JSON per Second", 2019, section 3.1.1).
//!
//! A function that moves far copies the cursor and writes it back at its end, so that the cursor
//! stays in registers.

use wide::u8x16;

use super::{Broken, Result};

/// Size of a block in bytes.
const BLOCK_BYTES: usize = 64;

/// A position, with the masks of its block.
///
/// The masks treat all bytes as parts of strings. Outside of strings, a backslash is invalid. A
/// caller that continues there detects it before the next string.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Never less than `block_start`.
    pub(super) at: usize,
    /// Whether any skipped text is not valid JSON.
    pub(super) is_damaged: bool,
    /// The bytes from `block_start` on that end or interrupt a string, or begin the digits of an
    /// escape.
    specials: u64,
    /// The bytes that are backslashes.
    backslashes: u64,
    block_start: usize,
    /// The end of the known block. Never between a backslash and the character it escapes.
    block_end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            is_damaged: false,
            specials: 0,
            backslashes: 0,
            block_start: 0,
            block_end: 0,
        }
    }

    #[inline(always)]
    pub(super) fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is not white space, without consuming it.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            Some(_) => {
                self.at = behind_space(self.bytes, self.at);
                self.byte()
            }
            None => None,
        }
    }

    /// Like [`Cursor::peek`], where a value or punctuation must follow.
    #[inline(always)]
    pub(super) fn expect_more(&mut self) -> Result<u8> {
        self.peek().ok_or(Broken::Torn)
    }

    /// Consumes required punctuation.
    #[inline(always)]
    pub(super) fn expect(&mut self, mark: u8) -> Result<()> {
        if self.expect_more()? != mark {
            return Err(Broken::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// Between two elements: consumes the comma, or returns true before the closing bracket.
    #[inline(always)]
    pub(super) fn is_closed_by(&mut self, mark: u8) -> Result<bool> {
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

    /// Skips a boolean, null or number inside an array or object. An invalid word or number only
    /// damages itself.
    #[inline(always)]
    pub(super) fn skip_element(&mut self, first: u8) -> Result<()> {
        let start = self.at;
        match self.skip_plain(first) {
            Ok(()) if !self.byte().is_some_and(is_part_of_word) => Ok(()),
            Err(Broken::Torn) => Err(Broken::Torn),
            Ok(()) | Err(Broken::Malformed) => self.damaged_word(start),
        }
    }

    #[cold]
    fn damaged_word(&mut self, start: usize) -> Result<()> {
        self.is_damaged = true;
        self.at = start;
        while self.byte().is_some_and(is_part_of_word) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Broken::Malformed);
        }
        Ok(())
    }

    /// Skips a boolean, null or number.
    #[inline(always)]
    pub(super) fn skip_plain(&mut self, first: u8) -> Result<()> {
        match first {
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// The length is a constant, so that the comparison uses registers.
    #[inline(always)]
    fn word<const LENGTH: usize>(&mut self, word: &[u8; LENGTH]) -> Result<()> {
        let rest = &self.bytes[self.at..];
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
    #[inline(always)]
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
        // Without an exponent, only more than 300 digits exceed the range of `f64`.
        if has_exponent || self.at - start > 300 {
            return check_range(&self.bytes[start..self.at]);
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

    /// Skips a string. The opening quote was consumed before. Returns whether it has escapes.
    #[inline(always)]
    pub(super) fn string_end(&mut self) -> Result<bool> {
        let mut at = self.at;
        let mut backslashes = 0;
        loop {
            if at >= self.block_end {
                self.enter_block(at);
            }
            let offset = at - self.block_start;
            let specials = self.specials >> offset;
            if specials == 0 {
                backslashes |= self.backslashes >> offset;
                at = self.block_end;
                continue;
            }
            let length = specials.trailing_zeros();
            backslashes |= (self.backslashes >> offset) & ((1 << length) - 1);
            at += length as usize;
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(backslashes != 0);
                }
                // Special only after a backslash.
                Some(b'u') => {
                    let (end, is_damaged) = long_escape(self.bytes, at - 1)?;
                    self.is_damaged |= is_damaged;
                    at = end;
                }
                // A control character, or a character that cannot be escaped.
                Some(_) => {
                    self.is_damaged = true;
                    at += 1;
                }
                None => return Err(Broken::Torn),
            }
        }
    }

    /// Computes the masks of the block at `at`, inside a string. Zeros after the end of the text
    /// interrupt the string.
    #[inline(always)]
    fn enter_block(&mut self, at: usize) {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let block = match rest.first_chunk() {
            Some(block) => block,
            None => &last_block(rest),
        };
        let (mut specials, mut backslashes) = (0, 0);
        for (at, part) in parts_of(block) {
            let is_control = part.min(u8x16::splat(0x1f)).simd_eq(part);
            specials |= bits(at, part.simd_eq(u8x16::splat(b'"')) | is_control);
            backslashes |= bits(at, part.simd_eq(u8x16::splat(b'\\')));
        }
        self.block_start = at;
        self.block_end = at + BLOCK_BYTES;
        self.backslashes = backslashes;
        if backslashes != 0 {
            let escapes = Escapes::of(backslashes);
            specials = (specials & !escapes.escaped) | escapes.specials(block);
            self.block_end -= usize::from(escapes.are_open);
        }
        self.specials = specials;
    }
}

/// The characters that the backslashes of a block escape.
struct Escapes {
    escaped: u64,
    /// Whether the last byte escapes a byte after the block.
    are_open: bool,
}

impl Escapes {
    /// In a run of backslashes, every second one is escaped, and the following byte is if their
    /// number is odd. The carry of a single subtraction finds the ends of all runs.
    #[inline(always)]
    fn of(backslashes: u64) -> Self {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let behind = backslashes << 1;
        let escaping_and_ends = (behind | ODD).wrapping_sub(backslashes) ^ ODD;
        Self {
            escaped: escaping_and_ends ^ backslashes,
            are_open: (escaping_and_ends & backslashes) >> (BLOCK_BYTES - 1) != 0,
        }
    }

    /// The escaped bytes that need a second check: invalid escapes, and `u`.
    #[inline(always)]
    fn specials(&self, block: &[u8; BLOCK_BYTES]) -> u64 {
        let mut usual = 0;
        for (at, part) in parts_of(block) {
            let is = |byte| part.simd_eq(u8x16::splat(byte));
            usual |= bits(at, is(b'n') | is(b'"') | is(b'\\') | is(b't'));
        }
        let mut unusual = self.escaped & !usual;
        let mut specials = unusual;
        while unusual != 0 {
            let at = unusual.trailing_zeros();
            if matches!(block[at as usize], b'/' | b'b' | b'f' | b'r') {
                specials ^= 1 << at;
            }
            unusual &= unusual - 1;
        }
        specials
    }
}

#[inline(always)]
fn parts_of(block: &[u8; BLOCK_BYTES]) -> impl Iterator<Item = (usize, u8x16)> {
    let (parts, _) = block.as_chunks::<16>();
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| (at, u8x16::from(*part)))
}

#[inline(always)]
fn bits(part_at: usize, lanes: u8x16) -> u64 {
    u64::from(lanes.to_bitmask()) << (16 * part_at)
}

#[inline(never)]
fn last_block(rest: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

// Agents write no white space between tokens.
#[cold]
fn behind_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

#[cold]
fn check_range(number: &[u8]) -> Result<()> {
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse::<f64>().ok());
    if number.is_some_and(f64::is_finite) {
        return Ok(());
    }
    Err(Broken::Malformed)
}

/// The end of `\uXXXX`, or of two of them that form a surrogate pair. The flag is true if it is
/// damaged.
#[cold]
fn long_escape(bytes: &[u8], at: usize) -> Result<(usize, bool)> {
    match hex4(bytes, at + 2) {
        Ok(0xd800..=0xdbff) => {
            let is_pair = bytes.get(at + 6..at + 8) == Some(b"\\u")
                && matches!(hex4(bytes, at + 8), Ok(0xdc00..=0xdfff));
            Ok(if is_pair {
                (at + 12, false)
            } else {
                (at + 6, true)
            })
        }
        Ok(0xdc00..=0xdfff) => Ok((at + 6, true)),
        Ok(_) => Ok((at + 6, false)),
        Err(Broken::Malformed) => Ok((at + 2, true)),
        Err(Broken::Torn) => Err(Broken::Torn),
    }
}

/// Whether a byte can be part of a number or word, valid or not.
fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.' | b'$')
}

pub(super) fn hex4(bytes: &[u8], at: usize) -> Result<u32> {
    let mut code = 0;
    for offset in 0..4 {
        let byte = *bytes.get(at + offset).ok_or(Broken::Torn)?;
        let digit = char::from(byte).to_digit(16).ok_or(Broken::Malformed)?;
        code = code * 16 + digit;
    }
    Ok(code)
}

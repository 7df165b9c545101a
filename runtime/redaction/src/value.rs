//! Finds the value that follows a name and decides whether it is a secret.

use crate::view::{BARRIER, View};
use crate::words::{self, Strength, is_code, is_common, is_odd, is_placeholder, names_a_secret};

/// Longer values are cut here. The other rules search the rest.
const VALUE_BYTES_MAX: usize = 512;
/// Bytes of the line before a name that are examined.
const LINE_BEFORE_MAX: usize = 160;
/// Maximum number of punctuation characters removed from the end of a value.
const MARKS_MAX: usize = 8;
/// Maximum length of an unquoted value with spaces, in characters.
const LINE_CHARS_MAX: usize = 80;
/// Maximum number of words in such a value.
const LINE_WORDS_MAX: usize = 12;

/// The name of a secret and its position.
#[derive(Debug)]
pub(super) struct Name<'t> {
    pub(super) text: &'t str,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) strength: Strength,
    /// Whether it is a command-line option.
    pub(super) is_flag: bool,
}

impl Name<'_> {
    pub(super) fn kind(&self) -> &'static str {
        match self.strength {
            Strength::Strong => "password",
            Strength::Medium => "secret",
            Strength::Weak => "credentials",
        }
    }

    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    fn ends_with(&self, endings: &[&str]) -> bool {
        let name = self.text.to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(ending))
    }

    /// Whether it is written like an environment variable. The value of one is never code.
    fn is_env_variable(&self) -> bool {
        self.text.len() > 4 && !self.text.bytes().any(|byte| byte.is_ascii_lowercase())
    }
}

/// The range of a secret in the view.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueRange {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A position in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueCursor<'t> {
    text: &'t str,
    pub(super) at: usize,
}

impl<'t> ValueCursor<'t> {
    pub(super) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) fn rest(self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, max: usize, is_skipped: impl Fn(char) -> bool) -> usize {
        let skipped = self.rest().chars().take(max).take_while(|c| is_skipped(*c));
        let bytes = skipped.map(char::len_utf8).sum();
        self.at += bytes;
        bytes
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    fn blanks(&mut self, max: usize) -> usize {
        self.skip(max, |c| matches!(c, ' ' | '\t'))
    }
}

/// What separates a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Equals,
    Colon,
    /// A call, a list of arguments, or a pair of fields. Only quoted values count.
    Argument,
    /// A column of a table.
    Bar,
    Blank,
}

/// The secret that follows `name`, without its quotation marks.
pub(super) fn after(view: &View, name: &Name<'_>) -> Option<ValueRange> {
    let text = view.text.as_str();
    if let Some(found) = element(text, name) {
        return Some(found);
    }
    let mut cursor = ValueCursor::new(text, name.end);
    let closed = cursor.skip(6, |c| {
        matches!(c, '"' | '\'' | '`' | '*' | ']' | ')' | '?' | '!')
    });
    let is_quoted = closed > 0;
    let blanks = cursor.blanks(16);
    let (separator, is_tight) = separator(&mut cursor, name, is_quoted, blanks)?;
    let spaces = cursor.blanks(32);
    let context = Context {
        view,
        name,
        separator,
        is_spaced: blanks + spaces > 0 || !is_tight,
    };
    context.value(cursor)
}

/// Handles `<password>…</password>` and `<key>password</key><string>…</string>`.
fn element(text: &str, name: &Name<'_>) -> Option<ValueRange> {
    let before = text.get(..name.start)?;
    let mut cursor = ValueCursor::new(text, name.end);
    let tag = before.get(before.len().saturating_sub(1)..)?;
    let near = line_before(text, name.start).1;
    let is_tag = tag == "<"
        || tag == ":"
            && near
                .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == ':')
                .ends_with('<');
    if is_tag {
        let opened = cursor
            .rest()
            .bytes()
            .take(160)
            .position(|byte| matches!(byte, b'>' | b'<' | b'\n'))?;
        cursor.at += opened;
        if before.ends_with("</") || text.get(..cursor.at)?.ends_with('/') || !cursor.take(">") {
            return None;
        }
    } else if tag == ">" && cursor.take("</") {
        cursor.skip(40, |c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-'));
        if !cursor.take(">") {
            return None;
        }
        cursor.skip(64, char::is_whitespace);
        let opens = ["<string>", "<value>", "<data>", "<td>", "<dd>", "<code>"];
        if !opens.iter().any(|open| cursor.take(open)) {
            return None;
        }
    } else {
        return None;
    }
    let end = if cursor.take("<![CDATA[") { "]]>" } else { "<" };
    let rest = cursor.rest();
    let rest = rest.get(..floor(rest, VALUE_BYTES_MAX))?;
    let value = rest.get(..rest.find(end)?)?;
    let content = value.trim();
    let start = cursor.at + (value.len() - value.trim_start().len());
    let is_secret = content.len() >= 2
        && !is_label(content)
        && !is_placeholder(content)
        && !content.contains(BARRIER);
    let fits = name.strength > Strength::Weak || is_token(content);
    (is_secret && fits).then_some(ValueRange {
        start,
        end: start + content.len(),
    })
}

/// Reads the separator between a name and its value. The flag is true if no space surrounds it.
fn separator(
    cursor: &mut ValueCursor<'_>,
    name: &Name<'_>,
    is_quoted: bool,
    blanks: usize,
) -> Option<(Separator, bool)> {
    let text = cursor.text;
    let opening = text
        .get(..name.start)
        .and_then(|before| before.chars().next_back());
    if cursor.take("::") {
        return None;
    }
    for mark in [
        "===", "==", "!==", "!=", "=>", "->", ":=", "?=", "+=", "=", "→",
    ] {
        if cursor.take(mark) {
            return Some((Separator::Equals, blanks == 0));
        }
    }
    if cursor.take(":") {
        if cursor.rest().starts_with("//") {
            return None;
        }
        cursor.skip(3, |c| c == '*');
        return Some((Separator::Colon, blanks == 0));
    }
    let quote =
        |cursor: ValueCursor<'_>| cursor.peek().is_some_and(|c| matches!(c, '"' | '\'' | '`'));
    if !is_quoted && blanks == 0 && cursor.take("(") {
        cursor.blanks(4);
        return quote(*cursor).then_some((Separator::Argument, true));
    }
    if let Some(separator) = pair(cursor, blanks) {
        return Some(separator);
    }
    if is_quoted && cursor.take(",") {
        cursor.blanks(4);
        let start = name.start.saturating_sub(1);
        let before = text.get(..start).unwrap_or_default().trim_end();
        let is_call = before.ends_with('(') || before.ends_with("[");
        return (quote(*cursor) && is_call && opening.is_some_and(|c| matches!(c, '"' | '\'')))
            .then_some((Separator::Argument, true));
    }
    if !is_quoted && cursor.take("|") {
        return Some((Separator::Bar, false));
    }
    let line = line_before(text, name.start).1;
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_set = matches!(first, "ENV" | "ARG" | "setenv" | "SetEnv" | "set" | "setx")
        && name.text.len() > 4;
    let is_netrc = !name.is_flag && name.is("password") && line.contains("login ");
    (blanks > 0 && (name.is_flag || is_set || is_netrc || is_configured(line, name)))
        .then_some((Separator::Blank, true))
}

/// Handles `aws configure set aws_secret_access_key …`, `heroku config:set` and `requirepass …`.
fn is_configured(line: &str, name: &Name<'_>) -> bool {
    line.ends_with("configure set ")
        || line.ends_with("config set ")
        || line.trim().is_empty() && (name.is("requirepass") || name.is("masterauth"))
}

/// Handles `name: DB_PASS` followed by `value: …`, in any notation.
fn pair(cursor: &mut ValueCursor<'_>, blanks: usize) -> Option<(Separator, bool)> {
    let mut ahead = *cursor;
    ahead.skip(40, |c| c.is_whitespace() || c == ',');
    if ahead.at == cursor.at && blanks == 0 {
        return None;
    }
    let quote = ahead.skip(1, |c| matches!(c, '"' | '\''));
    let has_value = ahead.take("value") || ahead.take("Value");
    ahead.skip(quote, |c| matches!(c, '"' | '\''));
    ahead.blanks(4);
    let has_mark = ahead.take("=") || ahead.take(":");
    (has_value && has_mark).then(|| {
        *cursor = ahead;
        (Separator::Equals, true)
    })
}

struct Context<'v, 'n> {
    view: &'v View,
    name: &'n Name<'n>,
    separator: Separator,
    /// Whether a space separates name and value.
    is_spaced: bool,
}

impl Context<'_, '_> {
    fn value(&self, mut cursor: ValueCursor<'_>) -> Option<ValueRange> {
        self.block(&mut cursor);
        if self.name.strength == Strength::Weak {
            skip_scheme(&mut cursor);
        }
        if self.separator == Separator::Colon {
            skip_type(&mut cursor);
        }
        let mut ahead = cursor;
        // `b"…"`, `$'…'`, `N'…'`, `!!str "…"`.
        ahead.take("!!str ");
        ahead.skip(2, |c| {
            matches!(c, 'b' | 'r' | 'f' | 'u' | '@' | '$' | 'N' | 'E' | '&' | '#')
        });
        if let Some(quote) = ahead
            .peek()
            .filter(|c| matches!(c, '"' | '\'' | '`' | '“' | '‘' | '«' | '„'))
        {
            return self.quoted(ahead, quote);
        }
        if let Some(found) = self.wrapped(cursor) {
            return found;
        }
        if self.separator == Separator::Argument {
            return None;
        }
        self.unquoted(cursor)
    }

    /// Skips to the content of a YAML block, or to a quoted value on the next line.
    fn block(&self, cursor: &mut ValueCursor<'_>) {
        let mut ahead = *cursor;
        if self.separator != Separator::Colon {
            return;
        }
        let is_block = ahead.skip(1, |c| matches!(c, '|' | '>')) > 0;
        ahead.skip(1, |c| matches!(c, '-' | '+'));
        if ahead.take("\n") && ahead.blanks(32) > 0 && (is_block || ahead.peek() == Some('"')) {
            *cursor = ahead;
        }
    }

    /// The text up to a closing quotation mark at the same escape depth.
    fn quoted(&self, mut cursor: ValueCursor<'_>, quote: char) -> Option<ValueRange> {
        let depth = self.view.depth(cursor.at);
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let closing = match quote {
            '“' | '„' => '”',
            '‘' => '’',
            '«' => '»',
            other => other,
        };
        let is_triple = cursor.take(&triple);
        if !is_triple {
            cursor.at += quote.len_utf8();
        }
        let rest = cursor.rest();
        let rest = rest.get(..floor(rest, VALUE_BYTES_MAX))?;
        let mut end = None;
        let mut skipped = 0;
        for (at, c) in rest.char_indices() {
            if at < skipped {
                continue;
            }
            if c == BARRIER {
                return None;
            }
            if c == '\n' && !is_triple {
                break;
            }
            if is_triple {
                if rest.get(at..)?.starts_with(&triple) {
                    end = Some(at);
                    break;
                }
            } else if c == closing || c == quote {
                let deep = self.view.depth(cursor.at + at);
                // SQL doubles a quotation mark inside a string.
                let is_doubled =
                    c == '\'' && deep == depth && rest.get(at + 1..)?.starts_with('\'') && at > 0;
                if is_doubled {
                    skipped = at + 2;
                } else if deep <= depth {
                    end = Some(at);
                    break;
                }
            } else if c == '"' && self.view.depth(cursor.at + at) < depth {
                // The enclosing string ends here.
                end = Some(at);
                break;
            }
        }
        // The closing mark is missing. Take the rest of the line.
        let end = end.unwrap_or_else(|| rest.find('\n').unwrap_or(rest.len()));
        let content = rest.get(..end)?;
        self.is_secret_text(content).then_some(ValueRange {
            start: cursor.at,
            end: cursor.at + end,
        })
    }

    fn is_secret_text(&self, content: &str) -> bool {
        let content = content.trim();
        let chars = content.chars().count();
        let is_named = names_a_secret(content) && !is_odd(content);
        if chars < 3 || is_placeholder(content) || is_named || is_label(content) {
            return false;
        }
        let of_words = content.split_whitespace().count() > 1;
        match self.name.strength {
            Strength::Strong if of_words => !is_prose(content),
            Strength::Strong => {
                !(self.name.is("pass") && self.separator == Separator::Argument && !is_odd(content))
            }
            Strength::Medium if of_words => is_token(content),
            Strength::Medium => {
                let is_address = content.starts_with('/') || content.contains("://");
                chars >= 4 && !is_address && (is_odd(content) || !content.contains(['.', '/']))
            }
            Strength::Weak => is_token(content),
        }
    }

    /// A call with the secret as its argument: `Some("…")`, `getenv("X", "…")`. Returns
    /// `Some(None)` for a call without a secret.
    fn wrapped(&self, cursor: ValueCursor<'_>) -> Option<Option<ValueRange>> {
        let mut ahead = cursor;
        let name = ahead.skip(60, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '&')
        });
        let called = cursor.rest().get(..name)?;
        if name < 3
            || !called
                .split(['.', ':', '&'])
                .filter(|part| !part.is_empty())
                .all(words::is_word_like)
            || !ahead.take("(")
        {
            return None;
        }
        let quote = ahead.peek().filter(|c| matches!(c, '"' | '\''))?;
        let content = ahead.rest().get(1..)?;
        let content = content.get(
            ..content
                .bytes()
                .take(256)
                .position(|byte| byte == quote as u8 || byte == b'\n')?,
        )?;
        let is_secret =
            is_odd(content) && self.is_secret_text(content) && !content.contains(BARRIER);
        Some(is_secret.then_some(ValueRange {
            start: ahead.at + 1,
            end: ahead.at + 1 + content.len(),
        }))
    }

    fn unquoted(&self, cursor: ValueCursor<'_>) -> Option<ValueRange> {
        let rest = cursor.rest();
        let rest = rest.get(..floor(rest, VALUE_BYTES_MAX))?;
        let ends = |c: char| {
            c.is_whitespace()
                || matches!(c, '"' | '`' | '\'')
                || c.is_control()
                || self.separator == Separator::Bar && c == '|'
        };
        let run = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
        let value = trimmed(cut_at_next(run));
        let found = |value: &str| {
            Some(ValueRange {
                start: cursor.at,
                end: cursor.at + value.len(),
            })
        };
        if value.is_empty() || value.starts_with(BARRIER) {
            return None;
        }
        let behind = rest.get(value.len()..).unwrap_or_default();
        if let Some(line) = self.line(rest) {
            return found(line);
        }
        // The text before a marker was searched before.
        if behind.starts_with(BARRIER) {
            return None;
        }
        self.is_secret_run(value, run, behind)
            .then(|| found(value))?
    }

    fn is_secret_run(&self, value: &str, run: &str, behind: &str) -> bool {
        let name = self.name;
        let chars = value.chars().count();
        let is_structure = run.bytes().all(|byte| b"{}[]()<>,;:".contains(&byte))
            || run.starts_with("//")
            || run.starts_with("/*");
        if is_structure
            || is_placeholder(value)
            || is_placeholder(run)
            || value.eq_ignore_ascii_case(name.text)
        {
            return false;
        }
        let is_environment =
            name.is_env_variable() && self.separator == Separator::Equals && !self.is_spaced;
        if !is_environment && (is_code(value) || is_code(run))
            || names_a_secret(value) && !is_odd(value)
        {
            return false;
        }
        if is_path(value) || is_type(value) {
            return false;
        }
        let is_followed = behind
            .trim_start_matches([',', ';'])
            .strip_prefix(' ')
            .is_some_and(|next| next.chars().next().is_some_and(char::is_alphabetic));
        let is_number = value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'%'));
        match name.strength {
            Strength::Weak => is_token(value) && !is_common(value),
            Strength::Medium => {
                let is_plain = !is_odd(value);
                chars >= 4
                    && !is_number
                    && !is_common(value)
                    && (is_environment
                        || !is_plain
                        || chars >= 16 && !value.contains(['_', '.', '-', '/']))
            }
            Strength::Strong => {
                let is_bare = name.is("pass") || name.is("pw");
                let is_plain = !is_odd(value);
                if chars < 4 && !(is_environment && chars == 3)
                    || is_common(value)
                    || is_number && (is_bare || chars > 20)
                {
                    return false;
                }
                if is_bare
                    && self.is_spaced
                    && (is_plain && is_followed
                        || name.text == "PASS"
                        || value.contains(['_', '/']))
                {
                    return false;
                }
                if is_environment || !is_plain {
                    return true;
                }
                // An ordinary word. It must not begin a sentence and must not be the name of a
                // variable.
                let is_variable = value.contains('_') || value.contains('.') || value.contains('/');
                let is_argument =
                    behind.starts_with([',', ')', ';']) && self.separator == Separator::Equals;
                !(is_followed || is_variable || is_argument && words::is_word_like(value))
            }
        }
    }

    /// A value with spaces, which extends to the end of its line.
    fn line<'t>(&self, rest: &'t str) -> Option<&'t str> {
        let name = self.name;
        let marks = matches!(self.separator, Separator::Colon | Separator::Equals);
        let is_bare = name.is("pass") || name.is("pw");
        if name.strength < Strength::Strong || !marks || is_bare {
            return None;
        }
        let (is_whole, before) = line_before(&self.view.text, name.start);
        let is_phrase = name.ends_with(&["phrase", "mnemonic"]);
        let begins = before.trim_start_matches([' ', '\t', '-', '*', '>', '#']);
        let begins = begins.strip_prefix("export ").unwrap_or(begins);
        // Not the beginning: `spring.datasource.password`, `my password:` and names after quotation
        // marks.
        let is_beginning = is_whole && begins.is_empty();
        if !(is_phrase || is_beginning) {
            return None;
        }
        let line = rest.get(..rest.find(['\n', '"', '`', BARRIER]).unwrap_or(rest.len()))?;
        let line = line
            .get(
                ..[" #", " //", " --", " -", "</", " <", ";;"]
                    .iter()
                    .filter_map(|mark| line.find(mark))
                    .min()
                    .unwrap_or(line.len()),
            )?
            .trim_end();
        let tokens: Vec<&str> = line.split_whitespace().collect();
        let is_short = tokens.len() > 1
            && tokens.len() <= LINE_WORDS_MAX
            && line.chars().count() <= LINE_CHARS_MAX;
        if !is_short
            || tokens
                .iter()
                .any(|token| token.contains('=') && token.len() > 12)
            || is_placeholder(line)
            || is_code(line)
        {
            return None;
        }
        let is_odd_line = tokens.len() <= 5 && tokens.iter().any(|token| is_odd(token));
        let has_common = tokens
            .iter()
            .any(|token| is_common(token) && token.len() > 1);
        let is_prose = has_common || names_a_secret(line);
        let is_of_words = is_phrase
            && tokens.len() >= 3
            && tokens.iter().all(|token| {
                token
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            });
        (!is_prose && (is_odd_line || is_of_words)).then_some(line)
    }
}

/// Skips a type between a name and its value, as in `password: &str = "…"`.
fn skip_type(cursor: &mut ValueCursor<'_>) {
    let mut ahead = *cursor;
    let is_type_char = |c: char| {
        c.is_ascii_alphabetic()
            || matches!(
                c,
                '&' | '\'' | '<' | '>' | '[' | ']' | '|' | '?' | '.' | ' ' | ':' | '_'
            )
    };
    let bytes = ahead.skip(48, is_type_char);
    let name = cursor.rest().get(..bytes).unwrap_or_default().trim();
    if is_type(name) && ahead.take("=") && !ahead.rest().starts_with('=') {
        ahead.blanks(4);
        *cursor = ahead;
    }
}

/// Skips `Bearer`, `Basic` and other schemes that precede credentials.
fn skip_scheme(cursor: &mut ValueCursor<'_>) {
    let mut ahead = *cursor;
    ahead.skip(1, |c| matches!(c, '"' | '\''));
    for scheme in [
        "bearer",
        "basic",
        "token",
        "digest",
        "apikey",
        "negotiate",
        "ntlm",
        "key",
    ] {
        let has_it = ahead
            .rest()
            .get(..scheme.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(scheme));
        let next = ahead
            .rest()
            .get(scheme.len()..)
            .is_some_and(|rest| rest.starts_with(' '));
        if has_it && next {
            ahead.at += scheme.len();
            ahead.blanks(4);
            *cursor = ahead;
            return;
        }
    }
}

/// Whether a text is a single common word or a sentence for people.
fn is_label(text: &str) -> bool {
    let words = text.split_whitespace().count();
    words == 1 && !is_odd(text) && is_common(text) || words > 1 && is_prose(text)
}

/// Whether a text has several words, some of them common.
fn is_prose(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let common = words
        .iter()
        .filter(|word| word.len() > 1 && is_common(word))
        .count();
    let odd = words.iter().filter(|word| is_odd(word)).count();
    words.len() > LINE_WORDS_MAX
        || common * 3 > words.len() && odd * 2 < words.len()
        || names_a_secret(text)
}

/// Whether a value is clearly a token: a mix of characters that no word has.
pub(super) fn is_token(value: &str) -> bool {
    let groups = value.split(' ').all(|group| {
        (2..=8).contains(&group.len())
            && group
                .bytes()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
    });
    if value.contains(' ') && groups && value.len() >= 16 {
        return true;
    }
    let chars = value.chars().count();
    let has_digit = value.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_solid = !value.contains(char::is_whitespace);
    if !is_solid || chars < 6 || is_placeholder(value) || is_path(value) || is_code(value) {
        return false;
    }
    let names = value
        .split(['-', '_', '.', ':'])
        .filter(|part| words::is_word_like(part))
        .count();
    let parts = value.split(['-', '_', '.', ':']).count();
    // Names with versions, such as `claude-haiku-4-5` and `gpt-4o-mini`.
    let is_name = names * 2 >= parts && parts > 1 && chars < 32;
    let is_solid_word = chars >= 16 && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (has_digit && has_letter && chars >= 8
        || is_solid_word
            && (!words::is_word_like(value)
                || value
                    .bytes()
                    .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')))
        || has_letter && chars >= 12 && is_odd(value))
        && !is_name
}

fn is_path(value: &str) -> bool {
    let is_absolute = value.starts_with(['/', '~'])
        || value.starts_with("./")
        || value.starts_with("../")
        || value.get(1..3) == Some(":\\");
    let slashes = value.bytes().filter(|byte| *byte == b'/').count();
    let is_file = [
        ".rs", ".ts", ".js", ".py", ".go", ".json", ".toml", ".yaml", ".yml", ".md", ".txt",
        ".pem", ".sh", ".env", ".html", ".tsx", ".java",
    ]
    .iter()
    .any(|ending| value.ends_with(ending));
    let parts = value
        .split('/')
        .filter(|part| part.len() >= 2 && part.split(['.', '-', '_']).all(words::is_word_like))
        .count();
    (is_absolute || is_file) && parts > 0 && parts * 2 >= slashes
        || value.contains("://") && !value.contains('@')
}

/// Matches `String`, `Option<String>` and `string;`.
fn is_type(value: &str) -> bool {
    let value = value
        .trim_start_matches(['&', '\'', '*'])
        .trim_end_matches([';', ',', '?', '[', ']']);
    let head = value.split(['<', '[', '|']).next().unwrap_or_default();
    let types = [
        "string",
        "str",
        "secretstr",
        "option",
        "optional",
        "vec",
        "list",
        "cow",
        "box",
        "arc",
        "promise",
        "bytes",
        "char",
        "number",
        "boolean",
        "bool",
        "int",
        "any",
        "null",
        "undefined",
        "none",
        "static",
    ];
    types.contains(&head.to_ascii_lowercase().as_str())
}

/// The part before the next pair of a list, such as `;Database=…`, `&user=…` or `, name: …`.
fn cut_at_next(run: &str) -> &str {
    for (at, mark) in run.char_indices().skip(1) {
        if !matches!(mark, ',' | ';' | '&' | '|') {
            continue;
        }
        let next = run.get(at + 1..).unwrap_or_default();
        if mark == '|' && next.starts_with('|') || mark == ';' && next.is_empty() {
            return run.get(..at).unwrap_or(run);
        }
        let name = next
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
            .count();
        let begins = next
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let is_pair = next.get(name..).is_some_and(|rest| {
            rest.starts_with('=') || rest.starts_with(':') && !matches!(mark, '&')
        });
        if begins && name >= 2 && is_pair {
            return run.get(..at).unwrap_or(run);
        }
    }
    run.find("</").and_then(|at| run.get(..at)).unwrap_or(run)
}

/// Removes trailing punctuation of the surrounding sentence, list or brackets.
pub(super) fn trimmed(value: &str) -> &str {
    let mut value = value;
    for _ in 0..MARKS_MAX {
        let Some(last) = value.chars().next_back() else {
            return value;
        };
        let is_open = |open: char, close: char| {
            let count = |wanted: char| value.chars().filter(|c| *c == wanted).count();
            count(close) > count(open)
        };
        let is_trailing = match last {
            ',' | ';' | ':' | '.' => true,
            ')' => is_open('(', ')'),
            ']' => is_open('[', ']'),
            '}' => is_open('{', '}'),
            '>' => is_open('<', '>'),
            '*' => value.ends_with("**"),
            '\\' => true,
            _ => false,
        };
        if !is_trailing {
            return value;
        }
        value = value
            .get(..value.len() - last.len_utf8())
            .unwrap_or_default();
    }
    value
}

/// The text before a position on its line. The flag is true if the whole line prefix is included.
fn line_before(text: &str, at: usize) -> (bool, &str) {
    let from = floor(text, at.saturating_sub(LINE_BEFORE_MAX));
    let before = text.get(from..at).unwrap_or_default();
    match before.rfind('\n') {
        Some(line_break) => (true, before.get(line_break + 1..).unwrap_or_default()),
        None => (from == 0, before),
    }
}

/// The last character boundary at or before a position.
pub(super) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

//! Classifies lines of a prompt.

/// Beginnings of lines that are code, tables, diffs, shell prompts or quotations.
const FOREIGN: &[char] = &[
    '>', '|', '$', '❯', '%', '{', '}', '[', '<', '@', '+', '/', '\\', '#', '⨯', '✔', '✗', '└', '│',
    '─', '=', ';',
];
/// Characters that indicate code. Prose can contain one of them, as in `a::b is gone`.
const SIGNS: &[&str] = &[
    "()", "::", "==", "!=", "&&", "||", "+=", "->", "=>", "</", "/>", "\":",
];
/// First words of lines that programs print.
const LEVELS: &[&str] = &[
    "ERROR",
    "WARN",
    "WARNING",
    "INFO",
    "DEBUG",
    "TRACE",
    "FATAL",
    "FAIL",
    "PASS",
    "Error",
    "Traceback",
];
/// Minimum share of letters and spaces in prose, in percent.
const LETTERS_PERCENT: usize = 75;

/// Whether a line is prose, including its indentation.
pub fn is_prose(line: &str) -> bool {
    let bare = line.trim();
    let is_indented = line.starts_with("    ") || line.starts_with('\t');
    let begins_otherwise = bare.starts_with(FOREIGN)
        || bare.starts_with("--")
        || (bare.starts_with("at ") && bare.contains('('));
    let ends_as_code = bare.ends_with(['{', '}', ';', '\\']) || bare.ends_with("=>");
    let signs = SIGNS.iter().filter(|sign| bare.contains(**sign)).count();
    let is_foreign = begins_otherwise
        || ends_as_code
        || bare.contains(" = ")
        || signs >= 2
        || is_log(bare)
        || (is_indented && !begins_item(bare));
    !is_foreign && is_mostly_letters(bare)
}

/// Beginnings of lines that are quotations, tables, prompts of a shell or boxes, in any context.
const QUOTING: &[char] = &['>', '|', '❯', '└', '├', '│', '─', '⨯', '✔', '✗', '⏺', '⎿'];

/// Beginnings of elements in which an editor describes what the user sees.
const EDITOR_TAGS: &[&str] = &["<ide_", "<ide-", "<new-diagnostics"];

/// Whether a line, including its indentation, was copied from a program or a quotation. Less strict
/// than [`is_prose`]: a line with code in it can be typed.
pub fn is_foreign(line: &str) -> bool {
    let bare = line.trim();
    let is_shell = bare.starts_with("$ ") || bare.starts_with("% ");
    let is_trace = bare.starts_with("at ") && bare.contains('(');
    let is_diff = bare.starts_with("@@ ") || bare.starts_with("+++ ") || bare.starts_with("--- ");
    let is_code = bare.ends_with(['{', '}', ';']) || bare.starts_with(['{', '}']);
    let is_of_an_editor = EDITOR_TAGS.iter().any(|tag| bare.contains(tag));
    is_of_an_editor
        || bare.starts_with(QUOTING)
        || is_shell
        || is_trace
        || is_diff
        || is_code
        || is_log(bare)
}

/// Whether the line is the severity of a finding in a review, alone in its line.
pub fn names_a_severity(bare: &str) -> bool {
    let line = bare.trim_matches(|letter: char| !letter.is_alphabetic());
    let line = line.to_lowercase();
    ["low", "medium", "high", "critical"].iter().any(|level| {
        line.strip_prefix(level)
            .is_some_and(|rest| rest.trim() == "severity")
    })
}

/// Whether a line has no content.
pub fn is_blank(bare: &str) -> bool {
    !bare.contains(char::is_alphanumeric)
}

/// Whether the line is a heading. The text after it is then a document.
pub fn is_heading(bare: &str) -> bool {
    let rest = bare.trim_start_matches('#');
    let is_marked = rest.len() < bare.len() && rest.starts_with(' ');
    let is_bold = bare.starts_with("**") && bare.trim_end_matches(':').ends_with("**");
    is_marked || is_bold
}

/// Whether the line begins a list item.
pub fn begins_item(bare: &str) -> bool {
    let digits = bare.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let is_numbered = digits.len() < bare.len() && digits.starts_with([')', '.']);
    is_numbered || bare.starts_with(['-', '*', '•'])
}

/// Whether the line begins a pasted conversation. The rest is then not the user's words.
pub fn speaks_for_another(bare: &str) -> bool {
    let Some((speaker, _)) = bare.split_once(':') else {
        return false;
    };
    let speaker = speaker.trim_matches('*').to_lowercase();
    let speakers = [
        "user",
        "human",
        "agent",
        "assistant",
        "system",
        "claude",
        "reviewer",
        "ai",
    ];
    speakers.contains(&speaker.as_str())
}

/// The end tag of an element that a line opens but does not close.
pub fn opened_tag(bare: &str) -> Option<String> {
    let inner = bare.strip_prefix('<')?;
    let name: String = inner
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
        .collect();
    let closing = format!("</{name}>");
    (name.starts_with(char::is_alphabetic) && !bare.contains(&closing)).then_some(closing)
}

/// Whether a program printed the line: it begins with a time, a log level or a file position.
fn is_log(bare: &str) -> bool {
    let first = bare.split_whitespace().next().unwrap_or_default();
    let digits = first.chars().filter(char::is_ascii_digit).count();
    let has_time = digits >= 6 && first.contains([':', '-']);
    let level = first.trim_matches(|letter: char| !letter.is_alphabetic());
    let is_place = first.ends_with(':') && first.contains('.') && digits > 0;
    has_time || LEVELS.contains(&level) || is_place
}

fn is_mostly_letters(bare: &str) -> bool {
    let is_letter = |letter: &char| letter.is_alphabetic() || *letter == ' ';
    let letters = bare.chars().filter(is_letter).count();
    letters * 100 >= bare.chars().count() * LETTERS_PERCENT
}

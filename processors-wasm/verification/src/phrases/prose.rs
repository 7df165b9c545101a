//! Finds prose in the words that a user typed.
//!
//! [`pasted`](crate::turns::pasted) has removed what the user did not type. Of the rest, code and
//! documents are not statements.

use std::ops::Range;

use super::mood;
use super::signs::RULE_FILES;
use super::words::{self, Word, is_one_of};
use crate::turns::{begins_item, is_prose};

/// A longer text is a document, possibly with a remark before it.
const DOCUMENT_BYTES: usize = 1_500;
/// Maximum length of such a remark.
const LEAD_BYTES: usize = 600;
/// A passage of prose, which consists of consecutive lines.
pub type Passage = Range<usize>;

/// The passages of prose in the typed ranges of a text, in order.
pub fn of(text: &str, typed: &[Range<usize>]) -> Vec<Passage> {
    let is_document = text.len() > DOCUMENT_BYTES;
    // Only the beginning of a document counts. A document can have many megabytes.
    let seen = match is_document {
        true => text.floor_char_boundary(2 * LEAD_BYTES),
        false => text.len(),
    };
    let mut passages = Passages::default();
    for range in typed {
        passages.close();
        let mut at = range.start;
        let end = range.end.min(seen);
        for line in text.get(at..end).unwrap_or_default().split_inclusive('\n') {
            let start = at;
            at += line.len();
            let bare = line.trim();
            if !bare.contains(char::is_alphanumeric) || !is_prose(line) {
                passages.close();
                continue;
            }
            if begins_item(bare) {
                passages.close();
            }
            passages.extend(start..at);
            if hands_over(bare) {
                break;
            }
        }
    }
    passages.close();
    let mut passages = passages.closed;
    if is_document {
        passages.truncate(1);
        passages.retain(|passage| passage.start < LEAD_BYTES && passage.len() <= LEAD_BYTES);
    }
    passages
}

/// Whether the text after this line is material that the user hands over: *add this to the page:*.
/// Rules for agents are the exception, because they are the user's own.
fn hands_over(bare: &str) -> bool {
    let words = words::of(bare);
    let points = |word: &Word| is_one_of(&word.text, "this these following below");
    let is_material = mood::is_order(&words)
        || words
            .iter()
            .any(|word| is_one_of(&word.text, "got received from draft translate"));
    bare.ends_with(':')
        && words.iter().any(points)
        && is_material
        && !words
            .iter()
            .any(|word| RULE_FILES.contains(&word.text.as_str()))
}

#[derive(Default)]
struct Passages {
    closed: Vec<Passage>,
    open: Option<Passage>,
}

impl Passages {
    fn extend(&mut self, line: Range<usize>) {
        let start = self.open.as_ref().map_or(line.start, |open| open.start);
        self.open = Some(start..line.end);
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take());
    }
}

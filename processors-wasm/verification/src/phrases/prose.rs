//! Finds prose in the words that a user typed.
//!
//! [`pasted`](crate::turns::pasted) has removed what the user did not type. Of the rest, code and
//! documents are not statements.

use std::ops::Range;

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

//! Finds the user's own prose in a text.
//!
//! People paste code, logs, reviews, plans and whole conversations. These are not their own
//! statements. If in doubt, a passage counts as pasted: a missed statement will be repeated one
//! day, but a wrong one misleads.

use std::ops::Range;

use super::lines::{begins_item, is_blank, is_heading, is_prose, opened_tag, speaks_for_another};
use super::words::is_one_of;

/// A longer text is a document, possibly with a remark before it.
const DOCUMENT_BYTES: usize = 1_500;
/// Maximum length of such a remark.
const LEAD_BYTES: usize = 600;
/// After a colon, a longer text is not a continuation of the sentence.
const ANNOUNCED_BYTES: usize = 600;

/// With one of these words before a colon, the text after it is a quotation.
const ANNOUNCING: &str = "\
    ci comment comments document email error errors feedback finding findings issue issues log \
    logs message output plan reply report response result results review reviewer run said says \
    spec suggestion suggestions summary ticket trace transcript warning warnings wrote";

/// A passage of prose, which consists of consecutive lines.
pub type Passage = Range<usize>;

/// The passages of the text that are the user's own prose, in order.
pub fn of(text: &str) -> Vec<Passage> {
    let is_document = text.len() > DOCUMENT_BYTES;
    // Only the beginning of a document counts. A document can have many megabytes.
    let seen = match is_document {
        true => &text[..text.floor_char_boundary(2 * LEAD_BYTES)],
        false => text,
    };
    let mut passages = Passages::default();
    let mut fence = None;
    let mut tag: Option<String> = None;
    let mut at = 0;
    for line in seen.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let bare = line.trim();
        if let Some(marks) = fence {
            if bare.starts_with(marks) {
                fence = None;
            }
            passages.close();
            continue;
        }
        if let Some(closing) = &tag {
            if line.contains(closing.as_str()) {
                tag = None;
            }
            passages.close();
            continue;
        }
        fence = ["```", "~~~"]
            .into_iter()
            .find(|marks| bare.starts_with(marks));
        tag =
            opened_tag(bare).filter(|closing| is_document || seen[at..].contains(closing.as_str()));
        if speaks_for_another(bare) || is_heading(bare) {
            passages.close();
            break;
        }
        if fence.is_some() || tag.is_some() || is_blank(bare) || !is_prose(line) {
            passages.close();
            continue;
        }
        if begins_item(bare) {
            passages.close();
        }
        passages.extend(start..at);
        if announces(bare, text.len() - at) {
            break;
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

/// Whether all text after this line is a quotation.
fn announces(bare: &str, bytes_behind: usize) -> bool {
    let first = bare.to_lowercase();
    if first.starts_with("implement the following") {
        return true;
    }
    let Some(before) = bare.trim_end_matches(['*', '"']).strip_suffix(':') else {
        // "i got this feedback, let me know what you think" announces a quotation without a colon.
        let words: Vec<&str> = first
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        return words.windows(3).any(|three| {
            three[0] == "got"
                && matches!(three[1], "this" | "these" | "some")
                && is_one_of(three[2], ANNOUNCING)
        });
    };
    let before = before.to_lowercase();
    let mut words = before.split(|letter: char| !letter.is_alphanumeric());
    bytes_behind > ANNOUNCED_BYTES || words.any(|word| is_one_of(word, ANNOUNCING))
}

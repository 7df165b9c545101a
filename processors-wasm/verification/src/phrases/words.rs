//! Splits a sentence into words with the punctuation after them.

/// A word and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word in lower case, with straight apostrophes. Contractions have their apostrophe.
    pub text: String,
    /// Its start in the sentence.
    pub start: usize,
    /// Its end in the sentence.
    pub end: usize,
    /// The first punctuation character between this word and the next.
    pub mark: Option<char>,
}

/// The words of a sentence. Words with punctuation inside (`true/false`, `v1.2`, `don't`) are not
/// split.
pub fn of(sentence: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut chars = sentence.char_indices().peekable();
    let mut open: Option<usize> = None;
    while let Some((at, letter)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let joins = |next: Option<char>| next.is_some_and(|next| next.is_alphanumeric());
        let is_within = letter.is_alphanumeric()
            || letter == '_'
            || (open.is_some() && "'’-./@:#+".contains(letter) && joins(next));
        match (is_within, open) {
            (true, None) => open = Some(at),
            (true, Some(_)) => {}
            (false, start) => {
                words.extend(start.map(|start| word(sentence, start, at)));
                open = None;
                if !letter.is_whitespace()
                    && let Some(last) = words.last_mut()
                {
                    last.mark.get_or_insert(letter);
                }
            }
        }
    }
    words.extend(open.map(|start| word(sentence, start, sentence.len())));
    words
}

/// Whether the word is in a space-separated list.
pub fn is_one_of(word: &str, list: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == word)
}

/// Contractions as they are typed in a hurry. Words that are also other words (`its`, `were`, `ill`)
/// are not in the list.
const HURRIED: &[(&str, &str)] = &[
    ("arent", "aren't"),
    ("cannot", "can't"),
    ("cant", "can't"),
    ("couldnt", "couldn't"),
    ("didnt", "didn't"),
    ("doesnt", "doesn't"),
    ("dont", "don't"),
    ("hasnt", "hasn't"),
    ("havent", "haven't"),
    ("im", "i'm"),
    ("isnt", "isn't"),
    ("ive", "i've"),
    ("lets", "let's"),
    ("shouldnt", "shouldn't"),
    ("thats", "that's"),
    ("theres", "there's"),
    ("theyre", "they're"),
    ("wasnt", "wasn't"),
    ("whats", "what's"),
    ("wont", "won't"),
    ("wouldnt", "wouldn't"),
    ("youre", "you're"),
];

fn word(sentence: &str, start: usize, end: usize) -> Word {
    let text = sentence[start..end].to_lowercase().replace('’', "'");
    let hurried = HURRIED.iter().find(|(typed, _)| *typed == text);
    Word {
        text: hurried.map_or(text, |(_, meant)| (*meant).to_owned()),
        start,
        end,
        mark: None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_know_what_stands_behind_them() {
        let words = super::of("No, don’t use true/false — (it's v1.2)!");
        let told: Vec<(&str, Option<char>)> = words
            .iter()
            .map(|word| (word.text.as_str(), word.mark))
            .collect();
        let expected = [
            ("no", Some(',')),
            ("don't", None),
            ("use", None),
            ("true/false", Some('—')),
            ("it's", None),
            ("v1.2", Some(')')),
        ];
        assert_eq!(told, expected);
        assert_eq!(super::of(" — …"), []);
    }

    #[test]
    fn contractions_without_an_apostrophe_are_read_with_one() {
        let words = super::of("Thats it, dont lets cannot its");
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["that's", "it", "don't", "let's", "can't", "its"]);
    }
}

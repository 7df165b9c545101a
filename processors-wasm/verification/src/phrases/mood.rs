//! Distinguishes statements from questions, doubts and errands.

use super::words::{Word, is_one_of};

/// Filler words at the beginning of a sentence.
const FILLERS: &str = "\
    ah ahh alright also and anyway but cool er great hey hi hm hmm just nice oh ok okay perfect \
    please right so sorry sure thanks then uh um well yeah yep yes";

/// Verbs that begin a question, before one of [`SUBJECTS`].
const ASKING: &str = "\
    am are aren't can can't could couldn't did didn't do does doesn't don't has hasn't have \
    haven't is isn't may might should shouldn't was wasn't were will won't would wouldn't";

const SUBJECTS: &str = "\
    a all an any anyone everything he i it my our she something that the there these they this \
    those we you your";

/// Phrases that express doubt.
const WONDERING: &[&[&str]] = &[
    &["i", "wonder"],
    &["i", "guess"],
    &["i", "don't", "know"],
    &["i", "am", "not", "sure"],
    &["i'm", "not", "sure"],
    &["not", "sure"],
    &["maybe"],
    &["perhaps"],
    &["might"],
    &["presumably"],
    &["apparently"],
    &["possibly"],
];

/// Verbs of errands, which are one-time tasks and not rules.
const ERRANDS: &str = "\
    analyze ask build check checkout cherry-pick clean click commit compare continue debug \
    deploy describe do execute explain fetch find finish fix forget git give go hold ignore \
    install investigate kill leave look merge open play proceed pull push read rebase redo rerun \
    restart retry revert review rollback run scan search see send show start stop summarize take \
    tell test try undo update verify wait";

/// Other verbs of instructions.
const ORDERS: &str = "\
    add allow always avoid bring call change copy create define delete document drop extract \
    generate get handle implement import include keep let let's lets list load log make move \
    name pass print provide put refactor remember remove rename replace return rewrite save set \
    simplify skip sort split store switch think turn use validate work write";

/// The number of filler words at the beginning of a sentence.
pub fn fillers(words: &[Word]) -> usize {
    let is_filler = |word: &&Word| is_one_of(&word.text, FILLERS);
    words.iter().take_while(is_filler).count()
}

/// Whether the sentence is a question, by its punctuation or its beginning.
pub fn is_question(words: &[Word], end: Option<char>) -> bool {
    if end == Some('?') {
        return true;
    }
    let mut rest = &words[fillers(words)..];
    if let [first, ..] = rest
        && matches!(first.text.as_str(), "no" | "q")
    {
        rest = &rest[1..];
    }
    let text = |at: usize| rest.get(at).map_or("", |word| word.text.as_str());
    match text(0) {
        "why" | "how" | "why's" | "how's" | "what's" | "who's" | "where's" => true,
        "what" => !matches!(text(1), "i" | "we" | "you"),
        "when" | "where" | "which" | "who" | "whom" => is_one_of(text(1), ASKING),
        first => is_one_of(first, ASKING) && is_one_of(text(1), SUBJECTS),
    }
}

/// Whether the sentence expresses doubt.
pub fn wonders(words: &[Word]) -> bool {
    WONDERING.iter().any(|phrase| {
        words.windows(phrase.len()).any(|window| {
            window
                .iter()
                .zip(phrase.iter())
                .all(|(word, part)| word.text == *part)
        })
    })
}

/// Whether the words are an errand.
pub fn is_errand(words: &[Word]) -> bool {
    first_verb(words).is_some_and(|verb| is_one_of(verb, ERRANDS))
}

/// Whether the words are an instruction, including errands.
pub fn is_order(words: &[Word]) -> bool {
    let is_order = |verb: &str| is_one_of(verb, ERRANDS) || is_one_of(verb, ORDERS);
    first_verb(words).is_some_and(is_order)
}

/// The first word that is not a filler. Also skips `let's` and `you can`.
fn first_verb(words: &[Word]) -> Option<&str> {
    let rest = &words[fillers(words)..];
    let texts: Vec<&str> = rest.iter().take(4).map(|word| word.text.as_str()).collect();
    let skipped = match texts.as_slice() {
        [
            "let's" | "lets" | "now" | "go",
            "just" | "please" | "also",
            ..,
        ] => 2,
        ["let's" | "lets" | "now" | "don't" | "never", ..] => 1,
        [
            "you" | "we" | "i",
            "can" | "could" | "need" | "want" | "should",
            "to",
            ..,
        ] => 3,
        ["you", "can" | "could", ..] => 2,
        _ => 0,
    };
    texts.get(skipped).copied()
}

/// Whether the words report what a person did, is doing or will do.
pub fn is_about_oneself(words: &[Word]) -> bool {
    let rest = &words[fillers(words)..];
    let text = |at: usize| rest.get(at).map_or("", |word| word.text.as_str());
    match text(0) {
        "i" => ![
            "mean", "meant", "want", "wanted", "need", "prefer", "expect", "expected", "said",
        ]
        .contains(&text(1)),
        "i'm" | "i'll" | "i've" | "i'd" => !matches!(text(1), "rather" | "like" | "prefer"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrases::words;

    #[test]
    fn questions_are_told_by_mark_and_beginning() {
        let is_question = |text: &str| is_question(&words::of(text), None);
        for text in [
            "why is it monthly",
            "ok, so how do we count",
            "can you use the other table instead of this one",
            "no, should we use the table",
            "don't you use the table",
            "what is the churn",
            "which is the table",
        ] {
            assert!(is_question(text), "{text}");
        }
        for text in [
            "don't use the table",
            "what we call churn is monthly",
            "should be monthly",
            "when a customer pauses, use the other table",
            "it is monthly",
            "do not use the table",
        ] {
            assert!(!is_question(text), "{text}");
        }
        assert!(super::is_question(&words::of("it is monthly"), Some('?')));
    }

    #[test]
    fn errands_orders_and_tales_are_told_apart() {
        assert!(is_errand(&words::of("please run it again")));
        assert!(is_errand(&words::of("let's just push it")));
        assert!(!is_errand(&words::of("use the other table")));
        assert!(is_order(&words::of("use the other table")));
        assert!(!is_order(&words::of("churn is monthly")));
        assert!(is_about_oneself(&words::of("ok i did that")));
        assert!(!is_about_oneself(&words::of("i meant the other one")));
        assert!(wonders(&words::of("i'm not sure that it is monthly")));
        assert!(!wonders(&words::of("it is monthly, I think")));
    }
}

//! Distinguishes statements from questions, doubts and errands.

use super::words::{Word, is_one_of};

/// Filler words at the beginning of a sentence.
const FILLERS: &str = "\
    ah ahh alright also and anyway but cool er great hey hi hm hmm hmmm just mh nice oh ok okay oops \
    perfect please pls so sorry sure thanks then uh um wait well yea yeah yep yes yup";

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

/// The rest of a sentence after its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// A request: `…, can you fix that?`
    Request,
    /// A question about the statement itself: `…, right?`
    Doubt,
}

/// Words that ask for agreement at the end of a sentence.
const TAGS: &str = "correct no ok okay or right yes";

/// The number of words before a request or a question at the end of a sentence, and what that is.
/// `None` if there is neither.
pub fn tail(words: &[Word], end: Option<char>) -> Option<(usize, Tail)> {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    let is_after_pause = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| words.get(before));
        before
            .is_some_and(|word| matches!(word.mark, Some(',' | ';' | ':' | '-' | '–' | '—' | '(')))
    };
    let asks = |at: usize| {
        let skipped = usize::from(is_one_of(text(at), "and but so then"));
        let (first, second) = (text(at + skipped), text(at + skipped + 1));
        let is_order = matches!(first, "please" | "pls" | "plz")
            || is_one_of(first, "can could would will")
                && is_one_of(second, "you we u this that it i");
        let is_question = end == Some('?')
            && (is_one_of(first, ASKING) && is_one_of(second, SUBJECTS)
                || is_one_of(first, "why how what where which who"));
        is_order || is_question
    };
    if end == Some('?') && words.len() > 1 {
        let last = words.len() - 1;
        if is_after_pause(last) && is_one_of(text(last), TAGS) {
            return Some((last, Tail::Doubt));
        }
        let pair = (text(last - 1), text(last));
        let is_tag = matches!(pair.1, "it" | "that" | "they" | "we" | "you" | "not")
            && (is_one_of(pair.0, ASKING) || pair.0 == "or");
        if is_tag && last > 1 && is_after_pause(last - 1) {
            return Some((last - 1, Tail::Doubt));
        }
    }
    let at = (1..words.len()).find(|at| is_after_pause(*at) && asks(*at))?;
    Some((at, Tail::Request))
}

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

/// Whether a word is a verb in the past, or a participle.
pub fn is_past(verb: &str) -> bool {
    const IRREGULAR: &str = "\
        became been began came did done forgot found gave gone got had kept knew made said saw sent \
        started thought told took was went were wrote";
    verb.len() > 4 && verb.ends_with("ed") || is_one_of(verb, IRREGULAR)
}

/// Whether the words report what someone did: a verb in the past directly after a person.
pub fn reports(words: &[Word]) -> bool {
    words.windows(2).any(|pair| {
        let (person, verb) = (pair[0].text.as_str(), pair[1].text.as_str());
        is_one_of(person, "i we you he she they") && is_past(verb)
    })
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
    fn a_request_or_a_doubt_at_the_end_is_not_part_of_the_statement() {
        for (text, end, expected) in [
            (
                "it is monthly, can you fix that",
                '?',
                Some((3, Tail::Request)),
            ),
            (
                "it is monthly, so please fix that",
                '.',
                Some((3, Tail::Request)),
            ),
            (
                "it is monthly - why do we count it",
                '?',
                Some((3, Tail::Request)),
            ),
            ("it is monthly, right", '?', Some((3, Tail::Doubt))),
            ("it is monthly, isn't it", '?', Some((3, Tail::Doubt))),
            ("it is monthly, right", '.', None),
            ("is it monthly", '?', None),
            ("it is monthly, which is fine", '.', None),
            ("so", '?', None),
        ] {
            assert_eq!(tail(&words::of(text), Some(end)), expected, "{text}");
        }
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

//! The grammatical form of a sentence: what its subject is, and the tense of its verb.
//!
//! A statement worth keeping says how things of a kind are (*a refund never reopens the order*). A
//! remark about the task says how a certain thing is at the moment (*this page is empty*). English
//! mostly shows the difference in the words before the verb. There is no dictionary, so a bare noun
//! is recognized by the verb that follows it.

use super::mood;
use super::words::{Word, is_one_of};

/// A verb after more words does not belong to the first words of the sentence.
const SUBJECT_WORDS: usize = 10;
/// A longer introduction (`In this project, …`) is not skipped.
const ADVERBIAL_WORDS: usize = 8;

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All things of a kind, or a thing with a name: *a refund*, *invoices*, *every user*, *NRR*.
    General,
    /// A certain thing: *the importer*.
    Certain,
    /// The team: *we*, *our pipeline*.
    Team,
    /// The user: *I*, *my machine*.
    Speaker,
    /// The agent, or anyone: *you*.
    Addressee,
    /// Something in another sentence, or in view: *it*, *this page*.
    Pronoun,
    /// The sentence is an instruction, or has no verb that was recognized.
    None,
}

/// The tense of the first verb, or its mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tense {
    /// *is*, *runs*, *can*, *does not*.
    Present,
    /// *must*, *should*, *needs*.
    Obligation,
    /// *was*, *did*.
    Past,
    /// *will*, *would*, *could*.
    Future,
    /// There is no verb that was recognized.
    None,
}

/// The form of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The subject.
    pub subject: Subject,
    /// The tense of the first verb.
    pub tense: Tense,
    /// The position of the first word of the subject.
    pub start: usize,
    /// The position of the first verb. The number of words if there is none.
    pub verb: usize,
}

const PRESENT: &str = "\
    is are isn't aren't has have hasn't haven't does do doesn't don't can can't it's that's \
    there's they're we're you're he's she's";
const OBLIGATION: &str = "must mustn't should shouldn't need needs may ought shall";
const PAST: &str = "was were wasn't weren't did didn't had hadn't";
const FUTURE: &str =
    "will won't would wouldn't could couldn't might gonna it'll we'll we'd they'll you'll";

/// Common verbs in their base form, as after *we* and after plurals.
const VERBS: &str = "\
    accept add agree allow apply ask assume avoid belong bill bring build call check close come \
    commit compare contain convert count create cut decide define delete depend deploy describe \
    differ document emit encode enforce exclude exist expect export fail fire follow forward get \
    give go handle hold ignore import include keep lead limit list live log maintain make mark \
    match mean measure merge name never always only offer own pay pick point prefer prepare \
    process produce promise provide publish put reach read receive record refer refuse reject \
    release remove rename render report require reserve resolve retry return review round run \
    save scale see send separate share ship show sign skip sort split squash start stay stop \
    store suggest support sync take test track treat trust try update use validate verify want \
    work wrap write";

/// Words that begin an adverbial before the subject.
const PREPOSITIONS: &str = "\
    after as at before by during except for from in inside like on outside per since under until \
    via while with within without";

const PRONOUNS: &str = "\
    it it's its this that that's these those they they're them he he's she she's there there's \
    which what who something anything everything nothing one same";
const KINDS: &str = "\
    a an all any anybody anyone both each either every everybody everyone neither no nobody none \
    only most";
const CERTAIN: &str = "the their his her";
const NO_NOUNS: &str = "\
    now still again here today currently yesterday then maybe perhaps even not yet ok good well \
    nice great more less much many and or but if when because so unless how why where to for \
    instead rather just also let's";

/// The form of a sentence, without its leading fillers.
pub fn of(words: &[Word]) -> Form {
    let start = subject_start(words, mood::fillers(words));
    let none = Form {
        subject: Subject::None,
        tense: Tense::None,
        start,
        verb: words.len(),
    };
    let Some(first) = words.get(start) else {
        return none;
    };
    let Some((verb, tense)) = first_verb(words, start) else {
        return none;
    };
    let head = words[start..verb].last().map_or("", |word| &word.text);
    let subject = match first.text.as_str() {
        "i" | "i'm" | "i've" | "i'd" | "i'll" | "my" | "me" | "mine" => Subject::Speaker,
        "you" | "you're" | "you've" | "you'd" | "you'll" | "your" | "u" => Subject::Addressee,
        "we" | "we're" | "we've" | "we'd" | "we'll" | "our" => Subject::Team,
        text if is_one_of(text, PRONOUNS) => Subject::Pronoun,
        text if is_one_of(text, KINDS) => Subject::General,
        text if is_one_of(text, CERTAIN) => Subject::Certain,
        text if is_one_of(text, NO_NOUNS) => Subject::None,
        _ if head.is_empty() => Subject::None,
        // `Run the tests when it is green` has a verb, but no subject.
        _ if verb > start + 1 && mood::is_order(&words[start..]) => Subject::None,
        _ => Subject::General,
    };
    Form {
        subject,
        tense,
        start,
        verb,
    }
}

/// The position after an adverbial at the beginning: `in this codebase we …`.
fn subject_start(words: &[Word], start: usize) -> usize {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    if !is_one_of(text(start), PREPOSITIONS) {
        return start;
    }
    let begins_subject = |at: usize| {
        let is_after_comma = words[at - 1].mark == Some(',');
        let is_person = is_one_of(text(at), "we i you it they nobody everyone everybody");
        let begins_noun = is_one_of(text(at), "the a an every all each no our")
            && at > start + 1
            && !is_one_of(text(at - 1), PREPOSITIONS)
            && !is_one_of(text(at - 1), "of to and or");
        is_after_comma || is_person || begins_noun
    };
    let end = words.len().min(start + ADVERBIAL_WORDS);
    let found = (start + 1..end).find(|at| begins_subject(*at));
    found.unwrap_or(start)
}

/// The position and the tense of the first verb after the beginning of the subject.
fn first_verb(words: &[Word], start: usize) -> Option<(usize, Tense)> {
    let end = words.len().min(start + SUBJECT_WORDS);
    (start..end).find_map(|at| Some((at, tense(words, start, at)?)))
}

fn tense(words: &[Word], start: usize, at: usize) -> Option<Tense> {
    let text = words.get(at)?.text.as_str();
    let next = words.get(at + 1).map_or("", |word| word.text.as_str());
    let is_obligation = is_one_of(text, OBLIGATION)
        || (matches!(text, "has" | "have") && next == "to" && at > start);
    if is_obligation {
        return Some(Tense::Obligation);
    }
    let is_perfect = is_one_of(text, "has have hasn't haven't")
        && (mood::is_past(next) || is_one_of(next, "become never already just"));
    if is_perfect && at > start {
        return Some(Tense::Past);
    }
    for (list, tense) in [
        (PRESENT, Tense::Present),
        (PAST, Tense::Past),
        (FUTURE, Tense::Future),
    ] {
        if is_one_of(text, list) {
            return Some(tense);
        }
    }
    let before = words[start..at].last()?;
    let is_noun_before = !is_one_of(&before.text, KINDS)
        && !is_one_of(&before.text, CERTAIN)
        && !is_one_of(&before.text, PREPOSITIONS)
        && !is_one_of(
            &before.text,
            "of our my your its this that these those to and or",
        );
    let is_plural = is_one_of(&before.text, "we they you i who") || is_plural(&before.text);
    let is_base = is_plural && is_one_of(text, VERBS);
    let is_third_person = is_noun_before
        && !is_plural
        && is_plural_or_verb(text)
        && !is_verb_of_be(next)
        && before.mark.is_none();
    (is_base || is_third_person).then_some(Tense::Present)
}

/// Whether a word ends like a plural.
fn is_plural(text: &str) -> bool {
    text.len() > 3
        && text.ends_with('s')
        && !text.ends_with("ss")
        && !text.ends_with("us")
        && !is_one_of(text, "always this")
}

/// Whether a word ends like a plural noun or like a verb of the third person.
fn is_plural_or_verb(text: &str) -> bool {
    is_plural(text) && !text.ends_with("is") && !text.contains('\'')
}

/// Whether the next word shows that the word before it is a noun.
fn is_verb_of_be(next: &str) -> bool {
    [PRESENT, OBLIGATION, PAST, FUTURE]
        .iter()
        .any(|list| is_one_of(next, list))
        || is_one_of(next, "always never only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrases::words;

    fn check(text: &str, subject: Subject, tense: Tense) {
        let form = of(&words::of(text));
        assert_eq!((form.subject, form.tense), (subject, tense), "{text}");
    }

    #[test]
    fn the_words_before_the_verb_show_what_a_sentence_is_about() {
        for (text, subject, tense) in [
            (
                "a refund never reopens the order",
                Subject::General,
                Tense::Present,
            ),
            (
                "invoices are sent on day three",
                Subject::General,
                Tense::Present,
            ),
            ("churn is monthly", Subject::General, Tense::Present),
            (
                "hooks get the event as json",
                Subject::General,
                Tense::Present,
            ),
            (
                "the importer drops rows without an id",
                Subject::Certain,
                Tense::Present,
            ),
            (
                "logs must not contain names",
                Subject::General,
                Tense::Obligation,
            ),
            ("ok so we only support linux", Subject::Team, Tense::Present),
            (
                "in this codebase we don't use exceptions",
                Subject::Team,
                Tense::Present,
            ),
            (
                "since v4 the plugin is loaded from a file",
                Subject::Certain,
                Tense::Present,
            ),
            ("gpt-5 has become available", Subject::General, Tense::Past),
            (
                "let's use the other one if it is there",
                Subject::None,
                Tense::Present,
            ),
            (
                "it always goes through the phone",
                Subject::Pronoun,
                Tense::Present,
            ),
            ("this page is empty", Subject::Pronoun, Tense::Present),
            (
                "I changed it and it is fine",
                Subject::Speaker,
                Tense::Present,
            ),
            ("you have to run it", Subject::Addressee, Tense::Obligation),
            ("the test was red", Subject::Certain, Tense::Past),
            ("the owner will be finance", Subject::Certain, Tense::Future),
            ("run the tests again", Subject::None, Tense::None),
            (
                "run the tests when it is green",
                Subject::None,
                Tense::Present,
            ),
            ("still the same error", Subject::None, Tense::None),
            ("", Subject::None, Tense::None),
        ] {
            check(text, subject, tense);
        }
    }
}

//! Scores a statement: how likely it is worth keeping.

use super::entities;
use super::matching::has;
use super::signs::{NO_SUBJECT, SIGNS, Sign, Test};
use super::words::Word;

/// The position, in words, up to which a verb belongs to the subject of the statement.
const SUBJECT_WORDS: usize = 8;

/// A statement with its turn, as the signs examine it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The words of the statement.
    pub words: &'a [Word],
    /// The statement as it was written.
    pub text: &'a str,
    /// What the user typed in the turn, in lower case.
    pub turn: &'a str,
}

/// The score of a statement whose phrase has the score `base`, from 0 to 100.
pub fn of(base: i32, subject: Subject<'_>) -> u32 {
    let signs = SIGNS.iter().filter(|sign| is_present(sign, subject));
    let score = base + signs.map(|sign| sign.effect).sum::<i32>();
    u32::try_from(score.clamp(0, 100)).unwrap_or_default()
}

fn is_present(sign: &Sign, subject: Subject<'_>) -> bool {
    let words = subject.words;
    let first = words.first().map_or("", |word| word.text.as_str());
    match sign.test {
        Test::Has(phrases) => phrases.iter().any(|phrase| has(words, phrase)),
        Test::Begins(list) => list.contains(&first),
        Test::Names => !entities::of(subject.text).is_empty(),
        Test::States(verbs) => {
            let mut early = words.iter().take(SUBJECT_WORDS).skip(1);
            !NO_SUBJECT.contains(&first) && early.any(|word| verbs.contains(&word.text.as_str()))
        }
        Test::Shorter(count) => words.len() < count,
        Test::Longer(count) => words.len() > count,
        Test::Asks => subject.turn.contains('?'),
        Test::Mentions(names) => names.iter().any(|name| subject.turn.contains(name)),
        Test::Stresses(stressed) => {
            let mut words = subject.text.split(|letter: char| !letter.is_alphanumeric());
            words.any(|word| stressed.contains(&word))
        }
        Test::Cites(documents) => {
            subject.text.contains("https://") || documents.iter().any(|word| has(words, word))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrases::words;

    fn score(text: &str) -> u32 {
        let subject = Subject {
            words: &words::of(text),
            text,
            turn: text,
        };
        of(50, subject)
    }

    #[test]
    fn lasting_facts_score_higher_than_remarks_about_the_task() {
        let fact = score("churn is counted per month by the finance team");
        assert!(fact > 50, "{fact}");
        for remark in [
            "it is counted per month by the script",
            "I counted churn per month in the script",
            "churn is counted per month in this branch",
            "please count churn per month in the script",
            "churn was counted per month by the script",
        ] {
            assert!(score(remark) < fact, "{remark}");
        }
    }
}

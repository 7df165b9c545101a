//! Scores a statement: how likely it is worth keeping.

use super::form::{self, Form, Subject, Tense};
use super::matching::{begins, has, has_not_before};
use super::signs::{SIGNS, Sign, Test};
use super::words::Word;
use super::{entities, mood};

/// A statement with its surroundings, as the signs examine it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The words of the statement.
    pub words: &'a [Word],
    /// The statement as it was written.
    pub text: &'a str,
    /// The words of the first sentence in its paragraph.
    pub paragraph: &'a [Word],
    /// What the user typed in the turn, in lower case.
    pub turn: &'a str,
}

/// The score of a statement whose phrase has the score `base`, from 0 to 100.
pub fn of(base: i32, candidate: Candidate<'_>) -> u32 {
    let form = form::of(candidate.words);
    let signs = SIGNS
        .iter()
        .filter(|sign| is_present(sign, candidate, form));
    let score = base + signs.map(|sign| sign.effect).sum::<i32>();
    u32::try_from(score.clamp(0, 100)).unwrap_or_default()
}

fn is_present(sign: &Sign, candidate: Candidate<'_>, form: Form) -> bool {
    let words = candidate.words;
    let has_one = |list: &[&str]| list.iter().any(|phrase| has(words, phrase));
    let first = words.get(mood::fillers(words));
    match sign.test {
        Test::Has(phrases) => has_one(phrases),
        Test::HasNotBefore(phrases, next) => phrases
            .iter()
            .any(|phrase| has_not_before(words, phrase, next)),
        Test::Begins(list) => first.is_some_and(|word| list.contains(&word.text.as_str())),
        Test::Names => !entities::of(candidate.text).is_empty(),
        Test::States => {
            form.tense == Tense::Present
                && matches!(
                    form.subject,
                    Subject::General | Subject::Certain | Subject::Team
                )
        }
        Test::IsGeneral => form.subject == Subject::General,
        Test::Orders(unless) => mood::is_order(words) && !has_one(unless),
        Test::Reports => mood::reports(words),
        Test::Shorter(count) => words.len() < count,
        Test::Longer(count) => words.len() > count,
        Test::ParagraphBegins(phrases) => phrases
            .iter()
            .any(|phrase| begins(candidate.paragraph, phrase)),
        Test::Mentions(names) => names.iter().any(|name| candidate.turn.contains(name)),
        Test::Stresses(stressed) => {
            let mut words = candidate
                .text
                .split(|letter: char| !letter.is_alphanumeric());
            words.any(|word| stressed.contains(&word))
        }
        Test::Cites(documents) => candidate.text.contains("https://") || has_one(documents),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrases::words;

    fn score(text: &str) -> u32 {
        let candidate = Candidate {
            words: &words::of(text),
            text,
            paragraph: &[],
            turn: text,
        };
        of(50, candidate)
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

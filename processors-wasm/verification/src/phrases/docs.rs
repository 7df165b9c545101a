//! The tables of the documentation, generated from [`RULES`] and [`SIGNS`].

use super::rule::{CONTINUING, Place, Unless};
use super::rules::RULES;
use super::signs::SIGNS;

/// The table of phrases, in Markdown.
pub fn phrases() -> String {
    let mut table = String::from(
        "| Kind | Phrase | Where it counts | Where it does not count | Score |\n|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let kind = rule.kind.name().trim_start_matches("unprompted_");
        let phrases = list(rule.phrases, ", ");
        let unless: Vec<String> = rule.unless.iter().map(unless).collect();
        let unless = unless.join(", ");
        table.push_str(&format!(
            "| {kind} | {phrases} | {} | {unless} | {} |\n",
            place(rule.place),
            rule.score
        ));
    }
    table
}

/// The table of signs, in Markdown.
pub fn signs() -> String {
    let mut table = String::from("| Sign of a statement | Score |\n|---|---|\n");
    for sign in SIGNS {
        table.push_str(&format!("| {} | {:+} |\n", sign.meaning, sign.effect));
    }
    table
}

fn place(place: Place) -> String {
    match place {
        Place::Opening => format!(
            "at the start, before a pause or {}; the statement follows",
            list(CONTINUING, ", ")
        ),
        Place::OpeningPause => "at the start, before a pause; the statement follows".to_owned(),
        Place::OpeningAnyway => "at the start; the statement follows".to_owned(),
        Place::Verdict => {
            "at the end of a clause; the statement follows, or is the sentence itself".to_owned()
        }
        Place::Start => "at the start".to_owned(),
        Place::Anywhere => "anywhere".to_owned(),
        Place::Clause => "anywhere; the statement begins with it".to_owned(),
        Place::Instruction => "in a sentence that says what to do".to_owned(),
        Place::Term => "after a term of one to six words".to_owned(),
        Place::Kind => "as the verb, after *a*, *all*, *every*, a plural or a name".to_owned(),
        Place::Fact => {
            "after the verb of a sentence in the present that is not about *I*".to_owned()
        }
    }
}

fn unless(unless: &Unless) -> String {
    match unless {
        Unless::After(words) => format!("after {}", list(words, ", ")),
        Unless::Before(words) => format!("before {}", list(words, ", ")),
        Unless::Behind(words) => format!("in a sentence that has {} before", list(words, ", ")),
        Unless::Condition => "in a condition".to_owned(),
        Unless::Past => "before a verb in the past".to_owned(),
    }
}

fn list(words: &[&str], separator: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("*{word}*")).collect();
    words.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../../docs/verification.md");

    #[test]
    fn the_documentation_has_the_tables_of_the_rules() {
        for (name, table) in [("phrases", phrases()), ("signs", signs())] {
            let begin = format!("<!-- generated: {name} -->\n");
            let end = "<!-- end of generated -->";
            let shown = DOCS
                .split_once(&begin)
                .and_then(|(_, rest)| rest.split_once(end));
            let (shown, _) = shown.expect(name);
            assert_eq!(
                shown.trim(),
                table.trim(),
                "replace the table in docs/verification.md"
            );
        }
    }
}

//! What people and models say.

use super::random::Random;
use super::scene::Scene;

/// Prompts after the first one.
const FOLLOW_UPS: &[&str] = &[
    "Looks good. Now add a test for `{symbol}`.",
    "run the tests again please",
    "Why does this fail only in CI?",
    "What happens if there is no {entity}?",
    "Can you do the same for {other}?",
    "commit this with a short message",
    "Open a pull request and mention {ticket} in the description.",
    "Is there a simpler way? This touches a lot of files.",
    "I tried it locally and still see the old {entity} in {component}. Here is what I did: opened the page, reloaded, waited a minute.",
    "go on",
    "Please explain the change in two sentences for the release notes.",
    "The reviewer asks why `{symbol}` takes the lock twice. Is that true?",
    "Rename it to something that a new colleague understands.",
    "undo the last change, it broke {file}",
    "ok, and what about existing data?",
    "Before we merge: which edge cases are not covered?",
    "now the same on the other branch",
    "make it configurable, with the current behavior as the default",
];

/// Short comments of a model before calls.
const BEFORE_CALLS: &[&str] = &[
    "Let me look at how `{symbol}` is used.",
    "I'll start with {file}.",
    "The failure comes from `{symbol}`. Let me check the callers.",
    "Now the test.",
    "Let me verify that with the checks.",
    "I'll check the history of {file} first.",
    "Two places need this change.",
    "That confirms it: the {entity} is loaded twice.",
];

/// Beginnings of final answers.
const OPENINGS: &[&str] = &[
    "Done. `{symbol}` now handles the same {entity} twice without an error.",
    "The cause was in `{file}`: the {entity} was read before it was written.",
    "The problem in {component} is fixed. Here is what I changed and why.",
    "I found two causes, and fixed the one that explains {ticket}.",
    "All checks pass. The change is small:",
    "Short answer: yes, but only for new data.",
    "This is what I found in {component}, and what I changed:",
];

/// Items of lists in final answers.
const ITEMS: &[&str] = &[
    "`{symbol}` checks the id of the {entity} before it books",
    "a test in `{other}` that fails without the change",
    "no migration is necessary, old rows keep their status",
    "the log names the {entity} and the ticket",
    "callers outside of {component} are unchanged",
    "**open question:** should we show the {entity} if it has no owner?",
    "the retry waits 200 ms, then 400 ms, then gives up",
    "the flag `{symbol}_v2` is off by default",
];

/// Ends of final answers.
const CLOSINGS: &[&str] = &[
    "Tell me if I should open a pull request.",
    "I left the old code path in place until {ticket} is verified.",
    "The remaining warning is older than this change.",
    "Next, I would remove the duplicate in `{other}`.",
    "",
];

/// Titles that people give their sessions.
const CUSTOM_TITLES: &[&str] = &[
    "{ticket} {component}",
    "{component}: do not close, waiting for review",
    "scratch {symbol}",
];

/// The first line of the summary that replaces a compacted conversation.
const SUMMARY: &str = "This session is being continued from a previous conversation that ran out of context. The conversation is summarized below:\n\n1. Primary request: {ticket}, {component}\n2. Files: {file}, {other}\n3. Errors and fixes: `{symbol}` returned the same {entity} twice\n4. Pending: run the checks, open a pull request";

/// A prompt that continues the conversation.
pub(super) fn follow_up(random: &mut Random, scene: &Scene) -> String {
    scene.fill(random.pick(FOLLOW_UPS))
}

/// A prompt in which a person corrects, defines or confirms something.
///
/// Some rules are said much more often than others.
pub(super) fn rule(random: &mut Random, scene: &Scene) -> String {
    let rules = scene.project.rules;
    let one = random.below(rules.len() as u64);
    let other = random.below(rules.len() as u64);
    let rule = rules[one.min(other) as usize];
    match random.below(4) {
        0 => format!(
            "{rule} {}",
            scene.fill("Please change `{symbol}` accordingly.")
        ),
        1 => format!("{rule}\n\n{}", follow_up(random, scene)),
        _ => rule.to_owned(),
    }
}

/// A comment before calls, or none.
pub(super) fn before_calls(random: &mut Random, scene: &Scene) -> Option<String> {
    let speaks = random.percent(24);
    speaks.then(|| scene.fill(random.pick(BEFORE_CALLS)))
}

/// The answer at the end of a turn, in Markdown.
pub(super) fn answer(random: &mut Random, scene: &Scene) -> String {
    let mut parts = vec![scene.fill(random.pick(OPENINGS))];
    if random.percent(55) {
        let first = random.below(ITEMS.len() as u64) as usize;
        let items = ITEMS.iter().cycle().skip(first);
        let items = items.take(random.between(2, 4) as usize);
        let items: Vec<String> = items
            .map(|item| format!("- {}", scene.fill(item)))
            .collect();
        parts.push(items.join("\n"));
    }
    if random.percent(28) {
        let (old, new) = random.pick(scene.project.edits);
        let minus = old.lines().map(|line| format!("-{line}"));
        let plus = new.lines().map(|line| format!("+{line}"));
        let lines: Vec<String> = minus.chain(plus).map(|line| scene.fill(&line)).collect();
        parts.push(format!("```diff\n{}\n```", lines.join("\n")));
    } else if random.percent(20) {
        let code = scene.project.code;
        let from = random.below(code.len() as u64 - 4) as usize;
        let lines: Vec<String> = code[from..from + 4]
            .iter()
            .map(|line| scene.fill(line))
            .collect();
        let language = scene.project.language;
        parts.push(format!("```{language}\n{}\n```", lines.join("\n")));
    }
    if random.percent(14) {
        parts.push(scene.output(
            random,
            "| Case | Before | After |\n|---|---:|---:|\n| new {entity} | {count} ms | {line} ms |\n| {entity} twice | error | ok |\n| no {entity} | {seconds} s | 0.01 s |",
        ));
    }
    let closing = scene.fill(random.pick(CLOSINGS));
    if !closing.is_empty() {
        parts.push(closing);
    }
    parts.join("\n\n")
}

/// The title that a person gives a session.
pub(super) fn custom_title(random: &mut Random, scene: &Scene) -> String {
    scene.fill(random.pick(CUSTOM_TITLES))
}

/// The summary that replaces a compacted conversation.
pub(super) fn summary(scene: &Scene) -> String {
    scene.fill(SUMMARY)
}

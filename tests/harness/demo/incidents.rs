//! What goes wrong: failing calls, retries, rejections, errors of the API, compactions.

use serde_json::json;

use super::plan::Setting;
use super::prose;
use super::recorder::{Call, Ending, Recorder};
use super::scene::Scene;
use super::steps;

/// Failures of edits and reads, as the agent words them.
const FILE_FAILURES: [(&str, &str); 5] = [
    (
        "Edit",
        "<tool_use_error>String to replace not found in file.</tool_use_error>",
    ),
    (
        "Edit",
        "<tool_use_error>File has not been read yet. Read it first before writing to it.</tool_use_error>",
    ),
    (
        "Read",
        "<tool_use_error>File does not exist. Note: your current working directory is the root of the repository.</tool_use_error>",
    ),
    (
        "Read",
        "File content (36872 tokens) exceeds maximum allowed tokens (25000). Use offset and limit parameters to read specific portions of the file.",
    ),
    (
        "Edit",
        "<tool_use_error>Found 3 matches of the string to replace, but replace_all is false.</tool_use_error>",
    ),
];

/// Failures of commands.
const COMMAND_FAILURES: [(&str, &str); 6] = [
    (
        "docker compose up -d --wait",
        "Exit code 1\nError response from daemon: driver failed programming external connectivity: Bind for 0.0.0.0:5432 failed: port is already allocated",
    ),
    (
        "git push origin HEAD",
        "Exit code 1\n ! [rejected]        HEAD -> HEAD (non-fast-forward)",
    ),
    (
        "kubectl -n staging logs deploy/api --since=1h",
        "Exit code 1\nerror: You must be logged in to the server (Unauthorized)",
    ),
    (
        "npm run e2e",
        "Exit code 143\nCommand timed out after 2m 0s\n\n> e2e\n> playwright test",
    ),
    (
        "rm -rf build && make release",
        "Permission to use Bash with command rm -rf build && make release has been denied.",
    ),
    (
        "git commit --no-verify -m wip",
        "PreToolUse:Bash hook error: [check-commit.sh]: commits without hooks are not allowed",
    ),
];

/// Lets an incident happen instead of a step, sometimes. Returns whether it did.
pub(super) fn happens(main: &mut Recorder, setting: &Setting) -> bool {
    let is_program = setting.person.is_program;
    match main.random.below(1_000) {
        0..7 => retry(main, &setting.scene),
        12..28 => reread(main, setting),
        28..38 if !is_program => reject(main, setting),
        38..62 => file_failure(main, setting),
        62..76 => {
            let (command, failure) = main.random.pick(&COMMAND_FAILURES);
            let call = command_failure(main, command, failure);
            main.call(None, &[call]);
        }
        76..80 => sibling_failure(main, setting),
        _ => return false,
    }
    true
}

/// Runs a check that fails, again and again without a change.
fn retry(main: &mut Recorder, scene: &Scene) {
    let call = match main.random.percent(70) {
        true => steps::check(&mut main.random, scene, &scene.project.test, false),
        false => {
            let (command, failure) = COMMAND_FAILURES[0];
            command_failure(main, command, failure)
        }
    };
    for _ in 0..main.random.between(2, 5) {
        main.call(None, std::slice::from_ref(&call));
    }
}

/// Reads the same part of a file again, which returns the same text.
fn reread(main: &mut Recorder, setting: &Setting) {
    let random = &mut main.random;
    let offset = 1 + 40 * random.below(4);
    let (scene, cwd) = (&setting.scene, &*setting.cwd);
    let call = steps::read_part(random, scene, cwd, scene.file, offset);
    for _ in 0..2 {
        main.call(None, std::slice::from_ref(&call));
    }
}

/// The person rejects a call, often with the reason.
fn reject(main: &mut Recorder, setting: &Setting) {
    let random = &mut main.random;
    let scene = &setting.scene;
    let mut call = match random.percent(60) {
        true => steps::edit(random, scene, &setting.cwd),
        false => steps::check(random, scene, &scene.project.test, true),
    };
    let refusal = "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit, the new_string was NOT written to the file).";
    let text = match random.percent(60) {
        true => format!(
            "{refusal} To tell you how to proceed, the user said:\n{}",
            prose::rule(random, scene)
        ),
        false => format!(
            "{refusal} STOP what you are doing and wait for the user to tell you how to proceed."
        ),
    };
    call.result = Err(text);
    call.seconds = random.between(3, 90);
    main.call(None, &[call]);
}

fn file_failure(main: &mut Recorder, setting: &Setting) {
    let (scene, cwd) = (&setting.scene, &*setting.cwd);
    let (tool, failure) = main.random.pick(&FILE_FAILURES);
    let mut call = match tool {
        "Edit" => steps::edit(&mut main.random, scene, cwd),
        _ => steps::read(&mut main.random, scene, cwd),
    };
    call.result = Err(failure.to_owned());
    call.tokens = 60;
    main.call(None, &[call]);
}

fn command_failure(main: &mut Recorder, command: &str, failure: &str) -> Call {
    let seconds = if failure.contains("timed out") {
        120
    } else {
        2
    };
    let result = Err(failure.to_owned());
    steps::bash(&mut main.random, command, "Run a command", result, seconds)
}

/// One of two parallel calls fails, so the other one is canceled.
fn sibling_failure(main: &mut Recorder, setting: &Setting) {
    let (scene, cwd) = (&setting.scene, &*setting.cwd);
    let failed = steps::check(&mut main.random, scene, &scene.project.lint, false);
    let mut sibling = steps::read(&mut main.random, scene, cwd);
    sibling.result = Err("<tool_use_error>Sibling tool call errored</tool_use_error>".to_owned());
    main.call(None, &[failed, sibling]);
}

/// Some requests to the API fail and are repeated.
pub(super) fn api_errors(main: &mut Recorder) {
    if !main.random.per_mille(5) {
        return;
    }
    let (status, kind, message) = main.random.pick(&[
        (529, "overloaded_error", "Overloaded"),
        (529, "overloaded_error", "Overloaded"),
        (
            429,
            "rate_limit_error",
            "This request would exceed your rate limit",
        ),
        (500, "api_error", "Internal server error"),
    ]);
    for attempt in 1..=main.random.between(1, 4) {
        main.wait(attempt * 3);
        main.add(|transcript| {
            let error = json!({
                "status": status, "message": message,
                "error": { "type": "error", "error": { "type": kind, "message": message } },
            });
            transcript.entry(
                "system",
                json!({
                    "subtype": "api_error", "level": "error", "error": error,
                    "retryInMs": 500 << attempt, "retryAttempt": attempt, "maxRetries": 10,
                }),
            )
        });
    }
}

/// The agent reports an error of the API instead of an answer.
pub(super) fn give_up(main: &mut Recorder) {
    let text = main.random.pick(&[
        "API Error: 529 {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
        "You've hit your session limit · resets 7pm",
        "Prompt is too long",
    ]);
    main.wait(20);
    main.add(|transcript| {
        transcript.assistant(|message| {
            message
                .model("<synthetic>")
                .tokens(0, 0)
                .text(text)
                .member("isApiErrorMessage", json!(true))
        })
    });
}

/// The person interrupts a response, which then has no final counts.
pub(super) fn interrupt(main: &mut Recorder, scene: &Scene) {
    let text = prose::answer(&mut main.random, scene);
    let text = text.lines().next().unwrap_or_default();
    main.say(text, Ending::Open);
    main.add(|transcript| transcript.user("[Request interrupted by user]"));
}

/// The agent replaces the conversation by a summary.
pub(super) fn compact(main: &mut Recorder, scene: &Scene, trigger: &str) {
    let before = main.context.size();
    main.wait(70);
    main.context.compact(&mut main.random);
    main.add(|transcript| {
        let boundary = json!({
            "subtype": "compact_boundary", "content": "Conversation compacted", "level": "info",
            "compactMetadata": { "trigger": trigger, "preTokens": before },
        });
        let message = json!({ "role": "user", "content": prose::summary(scene) });
        transcript.entry("system", boundary).entry(
            "user",
            json!({ "message": message, "isCompactSummary": true, "isVisibleInTranscriptOnly": true }),
        )
    });
}

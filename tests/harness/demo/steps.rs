//! Tool calls with plausible inputs and results.

use serde_json::{Value, json};

use super::projects::Check;
use super::random::{Random, Spread};
use super::recorder::Call;
use super::scene::Scene;

/// The tokens of the result of a search or a read.
const READ_TOKENS: Spread = [60, 180, 420, 1_000, 2_100, 4_400, 9_000, 18_000];
/// The tokens of the output of a command.
const OUTPUT_TOKENS: Spread = [20, 60, 150, 400, 1_000, 2_400, 6_000, 12_000];
/// The seconds of a command that checks the code.
const CHECK_SECONDS: Spread = [1, 3, 6, 14, 32, 70, 140, 290];

/// The lines that a read shows.
const READ_LINES: u64 = 8;

/// What an agent does to understand the code.
pub(super) fn explore(random: &mut Random, scene: &Scene, cwd: &str) -> Call {
    match random.weighted(&[44, 27, 14, 13, 2]) {
        0 => read(random, scene, cwd),
        1 => grep(random, scene),
        2 => glob(random, scene, cwd),
        3 => git(random, scene),
        _ => web(random, scene),
    }
}

/// Reads a part of a file. The same file and offset have the same text.
pub(super) fn read(random: &mut Random, scene: &Scene, cwd: &str) -> Call {
    let file = scene.any_file(random);
    let offset = 1 + 40 * random.below(12);
    read_part(random, scene, cwd, file, offset)
}

/// Reads this part of a file.
pub(super) fn read_part(
    random: &mut Random,
    scene: &Scene,
    cwd: &str,
    file: &str,
    offset: u64,
) -> Call {
    let code = scene.project.code;
    let lines = (0..READ_LINES).map(|line| {
        let at = (offset / 7 + line) as usize % code.len();
        format!("{:>6}\t{}", offset + line, scene.fill(code[at]))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let path = format!("{cwd}/{file}");
    Call {
        tool: "Read",
        input: json!({ "file_path": path, "offset": offset, "limit": READ_LINES }),
        details: json!({ "type": "text", "file": { "filePath": path, "startLine": offset, "numLines": READ_LINES } }),
        result: Ok(text),
        seconds: 0,
        tokens: random.spread(&READ_TOKENS),
    }
}

fn grep(random: &mut Random, scene: &Scene) -> Call {
    let hits = random.between(1, 6);
    let line = |random: &mut Random| {
        let file = scene.any_file(random);
        let code = scene.fill(random.pick(scene.project.code));
        format!("{file}:{}:{}", random.between(3, 400), code.trim())
    };
    let found: Vec<String> = (0..hits).map(|_| line(random)).collect();
    let pattern = scene.fill("{symbol}");
    Call {
        tool: "Grep",
        input: json!({ "pattern": pattern, "output_mode": "content", "-n": true }),
        details: json!({ "mode": "content", "numLines": hits }),
        result: Ok(found.join("\n")),
        seconds: 0,
        tokens: random.spread(&READ_TOKENS),
    }
}

fn glob(random: &mut Random, scene: &Scene, cwd: &str) -> Call {
    let file = scene.any_file(random);
    let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
    let ending = name.rsplit('.').next().unwrap_or_default();
    let inside = scene.project.files.iter();
    let found = inside.filter(|other| other.starts_with(folder));
    let found: Vec<String> = found.map(|other| format!("{cwd}/{other}")).collect();
    Call {
        tool: "Glob",
        input: json!({ "pattern": format!("{folder}/**/*.{ending}") }),
        details: json!({ "numFiles": found.len(), "truncated": false }),
        result: Ok(match found.is_empty() {
            true => "No files found".to_owned(),
            false => found.join("\n"),
        }),
        seconds: 0,
        tokens: random.between(40, 900),
    }
}

fn git(random: &mut Random, scene: &Scene) -> Call {
    let hash = |random: &mut Random| format!("{:07x}", random.below(1 << 28));
    let (command, output) = match random.below(3) {
        0 => (
            scene.fill("git log --oneline -5 -- {file}"),
            format!(
                "{} {}\n{} Address review comments\n{} {}",
                hash(random),
                scene.fill(scene.task.title),
                hash(random),
                hash(random),
                scene.fill("Extract {symbol}"),
            ),
        ),
        1 => (
            "git status --short".to_owned(),
            scene.fill(" M {file}\n M {other}"),
        ),
        _ => (
            scene.fill("git diff --stat main...HEAD"),
            scene.output(
                random,
                " {file} | {count} ++++++----\n 2 files changed, {count} insertions(+), {line} deletions(-)",
            ),
        ),
    };
    bash(random, &command, "Look at the history", Ok(output), 0)
}

fn web(random: &mut Random, scene: &Scene) -> Call {
    let query = scene.fill("{component} {symbol} best practice 2026");
    Call {
        tool: "WebSearch",
        details: json!({ "query": query, "searchCount": 1, "durationSeconds": 2.5 }),
        input: json!({ "query": query }),
        result: Ok(format!(
            "Web search results for query: \"{query}\"\n\n1. Official documentation\n2. A post about the migration of a large team\n3. An issue with the same symptom"
        )),
        seconds: random.between(2, 8),
        tokens: random.between(900, 4_500),
    }
}

/// Runs a command.
pub(super) fn bash(
    random: &mut Random,
    command: &str,
    description: &str,
    result: Result<String, String>,
    seconds: u64,
) -> Call {
    let (Ok(stdout) | Err(stdout)) = &result;
    Call {
        tool: "Bash",
        input: json!({ "command": command, "description": description }),
        details: json!({ "stdout": stdout, "stderr": "", "interrupted": false, "isImage": false }),
        result,
        seconds,
        tokens: random.spread(&OUTPUT_TOKENS),
    }
}

/// Runs a check of the project.
pub(super) fn check(random: &mut Random, scene: &Scene, check: &Check, passes: bool) -> Call {
    let command = scene.fill(check.command);
    let seconds = random.spread(&CHECK_SECONDS);
    let hundredths = random.below(100);
    let passed = check
        .passed
        .replace("{seconds}", &format!("{seconds}.{hundredths:02}"));
    let result = match passes {
        true => Ok(scene.output(random, &passed)),
        false => Err(format!(
            "Exit code 1\n{}",
            scene.output(random, check.failed)
        )),
    };
    bash(random, &command, "Run the checks", result, seconds)
}

/// Changes a file.
pub(super) fn edit(random: &mut Random, scene: &Scene, cwd: &str) -> Call {
    let (old, new) = random.pick(scene.project.edits);
    let (old, new) = (scene.fill(old), scene.fill(new));
    let file = match random.percent(60) {
        true => scene.file,
        false => scene.any_file(random),
    };
    let path = format!("{cwd}/{file}");
    let removed = old.lines().map(|line| format!("-{line}"));
    let added = new.lines().map(|line| format!("+{line}"));
    let lines: Vec<String> = removed.chain(added).collect();
    let start = random.between(5, 300);
    let patch = json!([{
        "oldStart": start, "oldLines": old.lines().count(),
        "newStart": start, "newLines": new.lines().count(), "lines": lines,
    }]);
    Call {
        tool: "Edit",
        details: json!({ "filePath": path, "structuredPatch": patch, "userModified": false }),
        input: json!({ "file_path": path, "old_string": old, "new_string": new }),
        result: Ok(format!("The file {path} has been updated successfully.")),
        seconds: 0,
        tokens: random.between(30, 600),
    }
}

/// Writes a new file.
pub(super) fn write(random: &mut Random, scene: &Scene, cwd: &str) -> Call {
    let from = random.below(scene.project.code.len() as u64) as usize;
    let code = scene.project.code.iter().cycle().skip(from).take(9);
    let content = code
        .map(|line| scene.fill(line))
        .collect::<Vec<_>>()
        .join("\n");
    let (folder, name) = scene.file.rsplit_once('/').unwrap_or((".", scene.file));
    let path = format!("{cwd}/{folder}/new_{name}");
    Call {
        tool: "Write",
        details: json!({ "type": "create", "filePath": path, "content": content, "structuredPatch": [] }),
        input: json!({ "file_path": path, "content": content }),
        result: Ok(format!("File created successfully at: {path}")),
        seconds: 0,
        tokens: random.between(30, 300),
    }
}

/// Plans the work.
pub(super) fn todos(random: &mut Random, scene: &Scene) -> Call {
    let steps = [
        "Reproduce the problem with a test",
        "Find where {symbol} is called",
        "Change {file}",
        "Run the checks",
    ];
    let todos: Vec<Value> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let status = if index == 0 { "in_progress" } else { "pending" };
            json!({ "content": scene.fill(step), "status": status, "activeForm": scene.fill(step) })
        })
        .collect();
    Call {
        tool: "TodoWrite",
        details: json!({ "newTodos": todos.len() }),
        input: json!({ "todos": todos }),
        result: Ok("Todos have been modified successfully.".to_owned()),
        seconds: 0,
        tokens: random.between(90, 200),
    }
}

/// Calls a tool of an MCP server, some of which fail.
pub(super) fn mcp(random: &mut Random, scene: &Scene) -> (&'static str, Call) {
    let ticket = scene.ticket.as_str();
    let number = scene.pull_request;
    let (server, tool, input, text) = match random.weighted(&[30, 18, 26, 10, 16]) {
        0 => (
            "github",
            "mcp__github__get_pull_request",
            json!({ "repo": scene.project.repository, "number": number }),
            scene.fill("{\"number\":{pr},\"state\":\"open\",\"title\":\"{ticket} {component}\",\"changed_files\":4}"),
        ),
        1 => (
            "github",
            "mcp__github__list_issues",
            json!({ "repo": scene.project.repository, "state": "open" }),
            scene.fill("[{\"number\":{pr},\"title\":\"{component}: {symbol} is slow\"}]"),
        ),
        2 => (
            "linear",
            "mcp__linear__get_issue",
            json!({ "id": ticket }),
            scene.fill("{\"id\":\"{ticket}\",\"state\":\"In Progress\",\"title\":\"{component}: wrong {entity}\"}"),
        ),
        3 => (
            "linear",
            "mcp__linear__update_issue",
            json!({ "id": ticket, "state": "In Review" }),
            scene.fill("{\"id\":\"{ticket}\",\"state\":\"In Review\"}"),
        ),
        _ => (
            "postgres",
            "mcp__postgres__query",
            json!({ "sql": scene.fill("select count(*) from orders where status = 'paid'") }),
            "[{\"count\":184203}]".to_owned(),
        ),
    };
    let (percent, failure) = match server {
        "postgres" => (24, "MCP error -32001: Request timed out"),
        "linear" => (11, "MCP server \"linear\" is not connected"),
        _ => (6, "Resource not accessible by integration"),
    };
    let fails = random.percent(percent);
    let seconds = if fails { 30 } else { random.between(0, 4) };
    let call = Call {
        tool,
        input,
        details: json!([{ "type": "text", "text": text }]),
        result: if fails {
            Err(failure.to_owned())
        } else {
            Ok(text)
        },
        seconds,
        tokens: random.spread(&READ_TOKENS),
    };
    (server, call)
}

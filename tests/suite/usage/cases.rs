//! Situations from public bug reports of other tools, over the whole pipeline: what a person
//! worked out by hand, and what the reports say.

use serde_json::{Value, json};
use session_pipeline_harness::session::AgentMessage;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::report::{ReportGrouping, UsageReport, UsageTotals};

use crate::guests::{usage, usage_dir};
use crate::report::{reported, tools_reported};

use super::{SONNET, extract};

/// The reports over one session of kim's.
struct Reports {
    pipeline: TestPipeline,
    _dir: DataDir,
}

impl Reports {
    fn of(session: impl AsRef<[u8]>) -> Self {
        let dir = usage_dir();
        dir.write("kim/s.jsonl", session);
        let pipeline = TestPipeline::open(&dir, &[usage()]);
        assert_eq!(pipeline.run("usage").stats.errors, 0);
        Self {
            pipeline,
            _dir: dir,
        }
    }

    fn by(&self, by: ReportGrouping) -> UsageReport {
        reported(&self.pipeline, by)
    }

    fn totals(&self) -> UsageTotals {
        self.by(ReportGrouping::Day).totals
    }

    /// Input, output, cache read, cache written, messages and dollars.
    fn sums(&self) -> String {
        show(&self.totals())
    }

    /// The same for each row of a report.
    fn rows(&self, by: ReportGrouping) -> Vec<String> {
        let rows = self.by(by).rows;
        let row = |row: &session_pipeline_pipeline::report::ReportRow| {
            format!(
                "{}: {}",
                row.key.as_deref().unwrap_or("-"),
                show(&row.totals)
            )
        };
        rows.iter().map(row).collect()
    }

    /// Tool, calls and errors, for each tool.
    fn tools(&self) -> Vec<String> {
        let rows = tools_reported(&self.pipeline).rows;
        rows.iter()
            .map(|row| {
                let totals = &row.totals;
                format!(
                    "{}: {} calls, {} errors, {} exit codes, {} rejected",
                    row.key.as_deref().unwrap_or("-"),
                    totals.calls,
                    totals.errors,
                    totals.exit_codes,
                    totals.rejected
                )
            })
            .collect()
    }
}

fn show(totals: &UsageTotals) -> String {
    let cost = totals
        .cost_usd
        .map_or("?".to_owned(), |cost| cost.to_string());
    format!(
        "{} in, {} out, {} read, {} written, {} messages, ${cost}",
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_read_tokens,
        totals.cache_creation_tokens,
        totals.messages
    )
}

/// A line of the assistant with this usage, as text: for figures that no builder writes.
fn answer(id: &str, model: &str, usage: &str) -> String {
    answer_at("2026-03-02T10:00:00Z", id, model, usage)
}

fn answer_at(time: &str, id: &str, model: &str, usage: &str) -> String {
    let line = json!({
        "type": "assistant", "uuid": format!("u-{id}"), "sessionId": "s1", "timestamp": time,
        "cwd": "/home/kim/shop", "requestId": format!("r-{id}"),
        "message": {
            "id": id, "role": "assistant", "model": model, "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "ok" }], "usage": "USAGE",
        },
    });
    line.to_string().replace("\"USAGE\"", usage) + "\n"
}

/// A line of the user.
fn typed(text: &str) -> String {
    user(json!(text))
}

fn user(content: Value) -> String {
    let line = json!({
        "type": "user", "sessionId": "s1", "timestamp": "2026-03-02T10:00:00Z",
        "cwd": "/home/kim/shop", "message": { "role": "user", "content": content },
    });
    line.to_string() + "\n"
}

/// Case 05.
#[test]
fn cache_writes_beyond_the_split_are_writes_for_five_minutes() {
    let split = r#"{"input_tokens":10,"output_tokens":10,"cache_creation_input_tokens":1000,
        "cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":600}}"#;
    let unsplit = r#"{"input_tokens":10,"output_tokens":10,"cache_creation_input_tokens":700,
        "cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}"#;
    let unsplit = unsplit.replace('\n', "");
    let split = split.replace('\n', "");
    let reports = Reports::of(answer("m1", SONNET, &split) + &answer("m2", SONNET, &unsplit));
    assert_eq!(
        reports.sums(),
        "20 in, 20 out, 0 read, 1700 written, 2 messages, $0.008085"
    );
    // A lifetime to come is part of the split, and what it leaves is still for five minutes.
    let new = r#"{"cache_creation_input_tokens":1000,"cache_creation":{"ephemeral_1d_input_tokens":300,"ephemeral_1h_input_tokens":600}}"#;
    let extracted = extract(answer("m1", SONNET, new));
    assert_eq!(
        extracted.rows(
            "messages",
            "cache_creation_5m_tokens cache_creation_1h_tokens"
        ),
        ["400 | 600"]
    );
}

/// Case 06.
#[test]
fn a_compaction_within_a_request_is_billed() {
    let usage = r#"{"input_tokens":23000,"output_tokens":1000,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},{"type":"message","input_tokens":23000,"output_tokens":1000}]}"#;
    let reports = Reports::of(answer("m1", "claude-sonnet-4-6", usage));
    assert_eq!(
        reports.sums(),
        "203000 in, 4500 out, 0 read, 0 written, 1 messages, $0.6765"
    );
    for by in [
        ReportGrouping::Session,
        ReportGrouping::Model,
        ReportGrouping::Project,
    ] {
        let rows = reports.by(by).rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(show(&rows[0].totals), reports.sums());
    }
    // Each step has a tier of its own, and the lines of one message repeat both.
    let reports = Reports::of(answer("m1", SONNET, usage).repeat(3));
    assert_eq!(
        reports.sums(),
        "203000 in, 4500 out, 0 read, 0 written, 1 messages, $0.6765"
    );
    let large = usage.replace("180000", "300000");
    let reports = Reports::of(answer("m1", SONNET, &large));
    // 300,000 at 6 and 3,500 at 22.50, 23,000 at 3 and 1,000 at 15.
    assert_eq!(
        reports.sums(),
        "323000 in, 4500 out, 0 read, 0 written, 1 messages, $1.96275"
    );
}

/// Case 07.
#[test]
fn a_whole_number_written_as_a_float_counts() {
    let whole = r#"{"input_tokens":512.0,"output_tokens":6.4e1,"cache_read_input_tokens":1024.0}"#;
    let part = r#"{"input_tokens":204.8,"output_tokens":30}"#;
    let reports = Reports::of(answer("m1", SONNET, whole) + &answer("m2", "glm-4.5", part));
    assert_eq!(
        reports.rows(ReportGrouping::Model),
        [
            format!("{SONNET}: 512 in, 64 out, 1024 read, 0 written, 1 messages, $0.0028032"),
            "glm-4.5: 205 in, 30 out, 0 read, 0 written, 1 messages, $?".to_owned(),
        ]
    );
    let totals = reports.totals();
    assert_eq!(totals.unknown_models, ["glm-4.5"]);
    assert!(
        !totals.output_is_lower_bound,
        "rounded up is no lower bound"
    );
    let extracted = extract(answer("m1", SONNET, whole) + &answer("m2", "glm-4.5", part));
    assert_eq!(
        extracted.rows("sessions", "lines bad_lines"),
        ["2 | 1"],
        "the fraction is noted"
    );
}

#[test]
fn a_figure_that_cannot_be_read_makes_the_totals_a_lower_bound() {
    for figure in [
        "-5",
        "-512.0",
        "NaN",
        "Infinity",
        "1e999",
        "100000001",
        "1e9",
        "\"12\"",
        "[]",
        "true",
    ] {
        let damaged = format!(r#"{{"input_tokens":{figure},"output_tokens":7}}"#);
        let good = r#"{"input_tokens":100,"output_tokens":10}"#;
        let reports = Reports::of(answer("m1", SONNET, &damaged) + &answer("m2", SONNET, good));
        assert_eq!(
            reports.sums(),
            "100 in, 17 out, 0 read, 0 written, 2 messages, $0.000555",
            "{figure}"
        );
        let totals = reports.totals();
        assert!(
            totals.output_is_lower_bound && totals.cost_is_lower_bound,
            "{figure}"
        );
    }
    let most = r#"{"input_tokens":100000000,"output_tokens":1}"#;
    assert_eq!(
        Reports::of(answer("m1", SONNET, most))
            .totals()
            .input_tokens,
        100_000_000
    );
}

/// Case 11.
#[test]
fn half_a_surrogate_pair_costs_nothing_but_itself() {
    let usage = r#"{"input_tokens":1000,"output_tokens":100}"#;
    let call = answer("m1", SONNET, usage).replace(
        r#"{"text":"ok","type":"text"}"#,
        r#"{"type":"text","text":"cut \ud83d"},{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"x"}}"#,
    );
    assert!(call.contains("toolu_1"));
    let result = user(json!([
        { "type": "tool_result", "tool_use_id": "toolu_1", "content": "Exit code 1 CUT", "is_error": true }
    ]));
    let other = answer("m2", SONNET, r#"{"input_tokens":2000,"output_tokens":200}"#);
    for cut in [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\x", r"\u12"] {
        let reports = Reports::of(
            [&call, &result.replace("CUT", cut), &other]
                .map(|it| &**it)
                .concat(),
        );
        assert_eq!(
            reports.sums(),
            "3000 in, 300 out, 0 read, 0 written, 2 messages, $0.0135",
            "{cut}"
        );
        assert_eq!(
            reports.tools(),
            ["Bash: 1 calls, 1 errors, 1 exit codes, 0 rejected"],
            "{cut}"
        );
    }
}

#[test]
fn an_unreadable_value_costs_only_that_value() {
    let usage = r#"{"input_tokens":1000,"output_tokens":100}"#;
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let line = answer("m1", SONNET, usage);
    let damages: [&[u8]; 9] = [
        deep.as_bytes(),
        b"NaN",
        b"1e999",
        b"\"\\ud83d\"",
        b"\"a\xff\xfeb\"",
        b"\"a\tb\"",
        b"7",
        b"null",
        b"{\"a\":[]}",
    ];
    for damage in damages {
        for (before, after) in [
            (r#""cwd":"#, r#""/home/kim/shop""#),
            (r#""uuid":"#, r#""u-m1""#),
            (r#""timestamp":"#, r#""2026-03-02T10:00:00Z""#),
            (r#""content":"#, r#"[{"text":"ok","type":"text"}]"#),
            (r#""role":"#, r#""assistant""#),
        ] {
            let whole = format!("{before}{after}");
            let (head, tail) = line.split_once(&whole).unwrap();
            let bytes = [head.as_bytes(), before.as_bytes(), damage, tail.as_bytes()].concat();
            let damage = String::from_utf8_lossy(&damage[..damage.len().min(20)]);
            let extracted = extract(bytes);
            assert_eq!(
                extracted.rows("messages", "input_tokens output_tokens model"),
                [format!("1000 | 100 | {SONNET}")],
                "{before} {damage}"
            );
        }
    }
}

/// Case 17.
#[test]
fn a_session_belongs_to_the_project_that_it_began_in() {
    let step = |m: AgentMessage, input, output| m.tokens(input, output).model(SONNET);
    let moving = |folders: [&str; 3]| {
        Transcript::new("s1")
            .cwd(folders[0])
            .user("go")
            .assistant(|m| step(m, 100, 10))
            .cwd(folders[1])
            .assistant(|m| step(m, 200, 20))
            .cwd(folders[2])
            .assistant(|m| step(m, 300, 30))
    };
    let projects = |folders| {
        let rows = Reports::of(moving(folders).bytes()).rows(ReportGrouping::Project);
        rows.join("; ")
    };
    let figures = "600 in, 60 out, 0 read, 0 written, 3 messages, $0.0027";
    assert_eq!(
        projects([
            "/home/kim/shop",
            "/home/kim/shop/web",
            "/home/kim/shop/web/src"
        ]),
        format!("/home/kim/shop: {figures}")
    );
    assert_eq!(
        projects(["/home/kim/shop", "/tmp", "/home/kim"]),
        format!("/home/kim/shop: {figures}")
    );
    assert_eq!(
        projects([
            "/home/kim/shop/.claude/worktrees/fix",
            "/home/kim/shop",
            "/tmp"
        ]),
        format!("/home/kim/shop: {figures}")
    );
    assert_eq!(
        projects([
            "/home/kim/shop/.git/worktrees/fix",
            "/home/kim/shop",
            "/tmp"
        ]),
        format!("/home/kim/shop: {figures}")
    );
    assert_eq!(
        projects([r"c:\kim\shop", r"C:\kim\shop\web", r"C:\kim\shop"]),
        format!(r"C:\kim\shop: {figures}")
    );
    // Events keep the folder of their line.
    let moved = moving(["/a", "/b", "/c"]).assistant(|m| step(m, 1, 1).tool("Bash"));
    assert_eq!(extract(moved.bytes()).rows("events", "cwd"), ["/c"]);
}

#[test]
fn the_letter_of_a_drive_makes_no_other_project() {
    let dir = usage_dir();
    for (name, folder) in [
        ("a", r"c:\kim\shop"),
        ("b", r"C:\kim\shop"),
        ("c", r"C:\kim\shop\"),
    ] {
        let session = Transcript::new(name)
            .cwd(folder)
            .assistant(|m| m.tokens(1, 1));
        dir.write(&format!("kim/{name}.jsonl"), session);
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let rows = reported(&pipeline, ReportGrouping::Project).rows;
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref().unwrap()).collect();
    assert_eq!(keys, [r"C:\kim\shop"]);
}

/// Case 21.
#[test]
fn a_long_context_costs_what_it_cost_on_that_day() {
    let usage = r#"{"input_tokens":10,"output_tokens":1000,"cache_read_input_tokens":300000}"#;
    let cost = |model: &str, day: &str| {
        let line = answer_at(&format!("{day}T10:00:00Z"), "m1", model, usage);
        Reports::of(line)
            .totals()
            .cost_usd
            .map_or("?".to_owned(), |cost| cost.to_string())
    };
    for (model, day, expected) in [
        ("claude-opus-4-6", "2026-02-10", "0.3376"),
        ("claude-opus-4-6", "2026-04-10", "0.17505"),
        ("claude-opus-4-6", "2026-03-12", "0.3376"),
        ("claude-opus-4-6", "2026-03-13", "0.17505"),
        ("claude-4.6-opus-20260205", "2026-02-10", "0.3376"),
        ("claude-sonnet-4-6", "2026-02-20", "0.20256"),
        ("claude-sonnet-4-6", "2026-03-13", "0.10503"),
        ("claude-sonnet-4-5", "2026-04-10", "0.20256"),
    ] {
        assert_eq!(cost(model, day), expected, "{model} on {day}");
    }
}

/// Case 24.
#[test]
fn the_name_of_a_command_can_hold_dots_and_slashes() {
    let command = |name: &str| {
        typed(&format!(
            "<command-message>{name}</command-message>\n<command-name>/{name}</command-name>"
        ))
    };
    let names = [
        "speckit.plan",
        "speckit.agent-context.update",
        "clear",
        "team/review",
        "plug:a.b/c_1",
    ];
    let extracted = extract(names.map(command).concat());
    assert_eq!(
        extracted.rows("events", "event_type command_name"),
        names.map(|name| format!("slash_command | {name}"))
    );
    assert_eq!(
        extracted.rows("sessions", "slash_commands prompts"),
        ["5 | 0"]
    );
}

/// Case 25.
#[test]
fn a_tag_in_the_arguments_of_a_command_is_prose() {
    let command = typed(
        "<command-message>review</command-message>\n<command-name>/review</command-name>\n\
         <command-args>why does the log say <command-name>/deploy</command-name> twice? Array<T> too</command-args>",
    );
    let prose = typed("what is <command-name>/clear</command-name>?");
    let extracted = extract(command + &prose);
    assert_eq!(extracted.rows("events", "command_name"), ["review"]);
    assert_eq!(
        extracted.rows("sessions", "slash_commands prompts"),
        ["1 | 1"]
    );
}

/// Case 26.
#[test]
fn notices_of_other_agents_are_no_prompts() {
    let lines = [
        "ship it",
        "Another Claude session sent a message:\n<teammate-message teammate_id=\"builder\" color=\"blue\">\n{}\n</teammate-message>",
        "Another Claude session sent a message:\n<agent-message agent_id=\"a1\">No, we never retry payments more than three times per order.</agent-message>",
        "<agent-message agent_id=\"a1\">\nNo, we never retry payments more than three times per order.\n</agent-message>",
        "<cross-session-message from=\"s-9\">\nActually, we always bill the customer on the first of the month.\n</cross-session-message>",
        "Stop hook feedback:\n- run the tests",
        "<task-notification>\n<task-id>b1</task-id>\n</task-notification>",
        "<ide_opened_file>The user opened /home/kim/shop/a.rs</ide_opened_file>",
        "<ide_selection>lines 1 to 9</ide_selection>\nand this one",
    ];
    let extracted = extract(lines.map(typed).concat());
    assert_eq!(
        extracted.rows("sessions", "prompts user_messages"),
        ["2 | 9"]
    );
}

#[test]
fn a_prompt_that_waited_in_the_queue_counts_once() {
    let queued = |operation: &str, text: &str| {
        json!({ "type": "queue-operation", "operation": operation, "sessionId": "s1", "content": text })
            .to_string()
            + "\n"
    };
    let attached = |text: &str| {
        let attachment =
            json!({ "type": "queued_command", "commandMode": "prompt", "prompt": text });
        json!({ "type": "attachment", "sessionId": "s1", "attachment": attachment }).to_string()
            + "\n"
    };
    let transcript = [
        typed("go"),
        queued("enqueue", "and the tests"),
        queued("remove", ""),
        attached("and the tests"),
        queued("enqueue", "then stop"),
        queued("dequeue", ""),
        typed("then stop"),
        queued("enqueue", "never sent"),
        attached("only attached"),
        attached("<task-notification>\n<task-id>b1</task-id>"),
        queued("enqueue", "/clear"),
    ];
    let extracted = extract(transcript.concat());
    assert_eq!(extracted.rows("sessions", "prompts"), ["5"]);
}

/// Case 42.
#[test]
fn what_the_agent_wrote_for_an_error_is_no_message() {
    let zero = r#"{"input_tokens":0,"output_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}"#;
    let answered = answer("m1", SONNET, r#"{"input_tokens":100,"output_tokens":10}"#);
    let made_up = answer("d5ac-local", "<synthetic>", zero);
    let error = answer("d5ac-local2", "claude-opus-5", zero).replacen(
        '{',
        r#"{"isApiErrorMessage":true,"#,
        1,
    );
    let odd = answer("d5ac-local3", "<synthetic>", r#"{"input_tokens":"none"}"#);
    let reports = Reports::of([answered, made_up, error, odd].concat());
    let expected = "100 in, 10 out, 0 read, 0 written, 1 messages, $0.00045";
    assert_eq!(reports.sums(), expected);
    assert_eq!(
        reports.rows(ReportGrouping::Model),
        [format!("{SONNET}: {expected}")]
    );
    assert!(!reports.totals().output_is_lower_bound);
    let session = &reports.by(ReportGrouping::Session).rows[0];
    assert_eq!(session.totals.messages, 1);
}

#[test]
fn a_denied_permission_is_a_rejection() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool("Bash"))
        .tool_result(Err(
            "Permission for this tool use was denied. The tool use was rejected.\nThe user said: use make",
        ));
    assert_eq!(
        Reports::of(session.bytes()).tools(),
        ["Bash: 1 calls, 1 errors, 0 exit codes, 1 rejected"]
    );
}

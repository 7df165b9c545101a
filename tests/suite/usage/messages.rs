//! Messages and their tokens; time and place of rows.

use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_harness::Transcript;
use session_pipeline_harness::session::MONDAY_MORNING;

use super::{HAIKU, OPUS, SONNET, extract};

/// A message of one key.
fn keyed(session: Transcript, input: u64, output: u64) -> Transcript {
    session.assistant(|m| m.id("msg_1").request("req_1").tokens(input, output))
}

#[test]
fn the_lines_of_a_streamed_message_are_one_with_the_final_count() {
    let session = Transcript::new("s1")
        .user("go on")
        .assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 2)
                .streaming()
                .text("I")
        })
        .assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 2)
                .streaming()
                .text("see")
        })
        .assistant(|m| m.id("msg_1").request("req_1").tokens(10, 200).tool("Bash"));
    assert_eq!(
        extract(session).rows(
            "messages",
            "line occurred_at message_id request_id input_tokens output_tokens is_final"
        ),
        ["2 | 2026-01-05T09:00:01Z | msg_1 | req_1 | 10 | 200 | true"]
    );
}

#[test]
fn the_largest_record_of_a_message_wins_wherever_it_stands() {
    for (first, second) in [(2, 200), (200, 2)] {
        let session = keyed(keyed(Transcript::new("s1"), 10, first), 10, second);
        assert_eq!(
            extract(session).rows("messages", "line output_tokens"),
            ["1 | 200"]
        );
    }
}

#[test]
fn a_replay_in_a_sub_agent_loses_against_the_original_however_large() {
    let original = keyed(Transcript::new("s1"), 10, 20);
    let replay = keyed(Transcript::new("s1").sidechain("a1"), 10, 5_000);
    for order in [[&original, &replay], [&replay, &original]] {
        let transcript = order.map(Transcript::bytes).concat();
        assert_eq!(
            extract(transcript).rows("messages", "output_tokens is_sidechain"),
            ["20 | false"]
        );
    }
}

#[test]
fn another_request_is_another_message() {
    let session = Transcript::new("s1")
        .assistant(|m| m.id("msg_1").request("req_1"))
        .assistant(|m| m.id("msg_1").request("req_2"));
    assert_eq!(
        extract(session).rows("messages", "message_id request_id"),
        ["msg_1 | req_1", "msg_1 | req_2"]
    );
}

#[test]
fn without_a_request_a_message_is_known_by_its_id_and_its_figures() {
    let session = |id| Transcript::new(id).assistant(|m| m.id("msg_1").without_request());
    let other = Transcript::new("s2").assistant(|m| m.id("msg_1").without_request().tokens(11, 5));
    let transcript = [session("s1"), session("s1"), other]
        .map(|session| session.bytes().to_vec())
        .concat();
    assert_eq!(
        extract(transcript).rows("messages", "session_id message_id request_id"),
        ["s1 | msg_1 | -", "s2 | msg_1 | -"]
    );
}

#[test]
fn a_line_that_names_no_session_is_of_the_one_that_the_file_names() {
    let message = json!({ "id": "msg_1", "usage": { "input_tokens": 1, "output_tokens": 2 } });
    let unnamed = json!({ "type": "assistant", "message": message });
    let session = Transcript::new("s1")
        .line(&unnamed)
        .line(&unnamed)
        .assistant(|m| m.id("msg_1").without_request().tokens(1, 7))
        .line(&unnamed);
    assert_eq!(
        extract(session).rows("messages", "line session_id message_id output_tokens"),
        ["1 | s1 | msg_1 | 7"]
    );
}

#[test]
fn a_line_without_an_id_stands_for_itself() {
    let session = Transcript::new("s1")
        .assistant(|m| m.without_id())
        .assistant(|m| m.without_id());
    assert_eq!(
        extract(session).rows("messages", "line message_id"),
        ["1 | -", "2 | -"]
    );
}

#[test]
fn an_advisor_is_a_message_of_its_own_model() {
    let iterations = json!([
        { "type": "message", "input_tokens": 10, "output_tokens": 20 },
        { "type": "advisor_message", "model": HAIKU, "input_tokens": 1_000, "output_tokens": 100,
          "cache_read_input_tokens": 7 },
        { "type": "compaction", "input_tokens": 5, "output_tokens": 5 },
    ]);
    let line = |session: Transcript| {
        let iterations = iterations.clone();
        session.assistant(|m| {
            m.id("msg_1")
                .request("req_1")
                .tokens(10, 20)
                .usage("iterations", iterations)
        })
    };
    // Twice: a streamed message repeats its advisors too.
    let extracted = extract(line(line(Transcript::new("s1"))));
    let mut rows = extracted.rows(
        "messages",
        "message_id model input_tokens output_tokens cache_read_tokens",
    );
    rows.sort();
    assert_eq!(
        rows,
        [
            format!("msg_1 | {OPUS} | 10 | 20 | 0"),
            format!("msg_1:advisor:0 | {HAIKU} | 1000 | 100 | 7"),
            format!("msg_1:compaction:0 | {OPUS} | 5 | 5 | 0"),
        ]
    );
    assert_eq!(
        extracted.rows("sessions", "messages input_tokens output_tokens"),
        ["2 | 1015 | 125"],
        "a compaction is no message"
    );
}

#[test]
fn cache_writes_are_told_apart_and_an_unsplit_one_counts_for_five_minutes() {
    let split = |flat: Value, split: Value| {
        let session = Transcript::new("s1").assistant(|m| {
            m.usage("cache_creation_input_tokens", flat)
                .usage("cache_creation", split)
        });
        extract(session).text(
            "messages",
            "cache_creation_5m_tokens cache_creation_1h_tokens",
        )
    };
    assert_eq!(split(json!(100), Value::Null), "100 | 0", "unsplit");
    let both = json!({ "ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40 });
    assert_eq!(split(json!(0), both), "60 | 40", "the split is larger");
    let nothing = json!({ "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 });
    assert_eq!(
        split(json!(100), nothing),
        "100 | 0",
        "the flat figure is larger"
    );
}

#[test]
fn thinking_and_speed_are_kept_where_the_transcript_tells() {
    let session = Transcript::new("s1")
        .assistant(|m| {
            m.usage("speed", json!("fast"))
                .usage("output_tokens_details", json!({ "thinking_tokens": 3 }))
        })
        .assistant(|m| m);
    assert_eq!(
        extract(session).rows("messages", "speed thinking_tokens"),
        ["fast | 3", "- | -"]
    );
}

#[test]
fn usage_counts_in_a_line_of_any_type_and_of_none() {
    let message = |id: &str| json!({ "id": id, "model": OPUS, "usage": { "input_tokens": 1, "output_tokens": 2 } });
    let session = Transcript::new("s1")
        .entry(
            "user",
            json!({ "message": message("msg_1"), "requestId": "r" }),
        )
        .entry(
            "never-heard-of",
            json!({ "message": message("msg_2"), "requestId": "r" }),
        )
        .line(&json!({ "message": message("msg_3") }));
    let extracted = extract(session);
    assert_eq!(
        extracted.rows("messages", "message_id input_tokens output_tokens"),
        ["msg_1 | 1 | 2", "msg_2 | 1 | 2", "msg_3 | 1 | 2"]
    );
    assert_eq!(
        extracted.rows("sessions", "unknown_types bad_lines"),
        ["2 | 0"]
    );
}

#[test]
fn what_a_sub_agent_reports_while_it_runs_counts_as_its_own() {
    let session = Transcript::new("s1")
        .assistant(|m| m.tool("Task").id("msg_1").request("req_1"))
        .progress(|m| {
            m.tool("Grep")
                .id("msg_2")
                .request("req_2")
                .model(HAIKU)
                .tokens(3, 4)
        });
    let extracted = extract(session);
    assert_eq!(
        extracted.rows("messages", "line message_id request_id model is_sidechain"),
        [
            format!("1 | msg_1 | req_1 | {OPUS} | false"),
            format!("2 | msg_2 | req_2 | {HAIKU} | true")
        ]
    );
    assert_eq!(
        extracted.rows("events", "tool_name model is_sidechain"),
        [
            format!("Task | {OPUS} | false"),
            format!("Grep | {HAIKU} | true")
        ]
    );
    // The whole file is not a sub-agent's for that.
    assert_eq!(extracted.rows("sessions", "is_sidechain"), ["false"]);
}

#[test]
fn progress_of_another_kind_is_no_message() {
    let inner =
        json!({ "type": "assistant", "message": { "id": "m", "usage": { "input_tokens": 1 } } });
    let session = Transcript::new("s1").entry(
        "progress",
        json!({ "data": { "type": "bash_progress", "message": inner } }),
    );
    assert!(extract(session).rows("messages", "line").is_empty());
}

#[test]
fn the_sum_that_a_finished_sub_agent_reports_counts_nothing_twice() {
    let usage = json!({ "input_tokens": 1_000, "output_tokens": 1_000 });
    let session = Transcript::new("s1").assistant(|m| m.tool("Task")).entry(
        "user",
        json!({
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "done" }] },
            "toolUseResult": { "status": "completed", "totalTokens": 2_000, "usage": usage },
        }),
    );
    assert_eq!(
        extract(session).rows("sessions", "messages input_tokens"),
        ["1 | 10"]
    );
}

#[test]
fn output_is_a_lower_bound_where_no_line_of_a_message_says_how_it_ended() {
    let session = |last: bool| {
        let session = Transcript::new("s1")
            .assistant(|m| m.id("msg_1").request("req_1").streaming())
            .assistant(|m| m.id("msg_2").request("req_2"));
        if last {
            session.assistant(|m| m.id("msg_1").request("req_1"))
        } else {
            session
        }
    };
    let bound = |last| extract(session(last)).text("sessions", "output_is_lower_bound");
    assert_eq!(
        (bound(false), bound(true)),
        ("true".to_owned(), "false".to_owned())
    );
}

#[test]
fn a_line_without_a_readable_time_takes_the_one_before_or_else_the_first() {
    let untimed = |time: Value| json!({ "message": { "model": OPUS, "usage": { "input_tokens": 1 } }, "timestamp": time });
    let session = Transcript::new("s1")
        .entry("assistant", untimed(Value::Null))
        .entry("assistant", untimed(json!("yesterday")))
        .user("at nine and two seconds")
        .entry("assistant", untimed(json!(12)))
        .entry("assistant", untimed(json!("2026-01-05T10:00:04+01:00")));
    assert_eq!(
        extract(session).rows("messages", "occurred_at"),
        [
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:02Z",
            "2026-01-05T09:00:04Z"
        ]
    );
}

#[test]
fn without_any_time_there_is_none() {
    let line =
        json!({ "type": "assistant", "message": { "id": "m", "usage": { "input_tokens": 1 } } });
    let extracted = extract(Transcript::new("s1").line(&line));
    assert_eq!(
        extracted.rows("messages", "occurred_at session_id"),
        ["- | ada/one.jsonl"]
    );
    assert_eq!(
        extracted.rows(
            "sessions",
            "started_at ended_at active_seconds wall_seconds session_id"
        ),
        ["- | - | 0 | 0 | ada/one.jsonl"]
    );
}

/// Active and wall seconds of a session with entries at these seconds.
fn seconds(offsets: &[u64]) -> String {
    let session = offsets
        .iter()
        .fold(Transcript::new("s1"), |session, offset| {
            session
                .at(MONDAY_MORNING.plus(Duration::from_secs(*offset)))
                .user("here I am")
        });
    extract(session).text("sessions", "active_seconds wall_seconds")
}

#[test]
fn only_a_silence_of_more_than_ten_minutes_is_no_work() {
    assert_eq!(seconds(&[0, 300, 1500, 1560]), "360 | 1560");
    assert_eq!(seconds(&[0, 600, 1200]), "1200 | 1200");
    assert_eq!(seconds(&[0, 601]), "0 | 601");
    assert_eq!(seconds(&[5]), "0 | 0");
    assert_eq!(seconds(&[]), "0 | 0");
    assert_eq!(
        seconds(&[1200, 0, 600]),
        "1200 | 1200",
        "lines go back in time"
    );
}

#[test]
fn an_empty_file_has_a_row_of_zeros() {
    let extracted = extract("");
    assert_eq!(extracted.items, 0);
    assert_eq!(
        extracted.rows(
            "sessions",
            "session_id username lines messages prompts output_is_lower_bound primary_model"
        ),
        ["ada/one.jsonl | ada | 0 | 0 | 0 | false | -"]
    );
}

#[test]
fn the_model_of_most_messages_is_the_primary_one_and_of_equals_the_first() {
    let primary = |models: &[&str]| {
        let session = models.iter().fold(Transcript::new("s1"), |session, model| {
            session.assistant(|m| m.model(model))
        });
        extract(session).text("sessions", "primary_model")
    };
    assert_eq!(primary(&[OPUS, SONNET, SONNET]), SONNET);
    assert_eq!(primary(&[OPUS, SONNET, SONNET, OPUS]), OPUS);
    // What the agent wrote itself, for instance that the API failed, is of no model.
    let synthetic = "<synthetic>";
    assert_eq!(primary(&[synthetic, synthetic, SONNET]), SONNET);
    assert_eq!(primary(&[synthetic]), "-");
}

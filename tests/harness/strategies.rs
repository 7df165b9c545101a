//! Proptest strategies for transcripts, data directories and sequences of actions.

mod files;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::session::Transcript;

pub use files::{FILES, FolderAction, GeneratedFolder, ModifiedAt, actions, data_dir};

/// The number of cases per property: the value that `cargo xtask` sets, or 32. Expensive properties
/// check a fraction of it, and cheap ones a multiple.
///
/// xtask sets `SESSION_PIPELINE_CASES` from `PROPTEST_CASES`. In `proptest!`, the variable
/// `PROPTEST_CASES` takes precedence over the number in the configuration of a property, so
/// expensive properties would run as many cases as cheap ones.
///
/// ```
/// use proptest::prelude::*;
/// use session_pipeline_harness::cases;
///
/// proptest! {
///     #![proptest_config(ProptestConfig::with_cases(cases()))]
///     fn invariant_sums_commute(a: u32, b: u32) {
///         prop_assert_eq!(u64::from(a) + u64::from(b), u64::from(b) + u64::from(a));
///     }
/// }
/// invariant_sums_commute();
/// ```
#[expect(
    clippy::disallowed_methods,
    reason = "the developer chooses the number of cases; the result of a case does not depend on it"
)]
pub fn cases() -> u32 {
    let cases =
        std::env::var("SESSION_PIPELINE_CASES").or_else(|_| std::env::var("PROPTEST_CASES"));
    let cases = cases.ok().and_then(|cases| cases.parse().ok());
    cases.unwrap_or(32)
}

/// The seed in the environment variable `PROPTEST_RNG_SEED`, which proptest reads as well.
#[expect(
    clippy::disallowed_methods,
    reason = "the developer chooses the seed to reproduce a failure"
)]
pub fn seed() -> Option<u64> {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok();
    seed.and_then(|seed| seed.parse().ok())
}

/// A transcript as agents write it. Each line is an entry of a known type.
pub fn valid_transcript() -> impl Strategy<Value = Vec<u8>> {
    vec(turn(), 0..8).prop_map(|turns| transcript_of(&turns).bytes().to_vec())
}

/// A transcript with at least one entry of an unknown type, as a new version of an agent might
/// write it.
pub fn unknown_event_transcript() -> impl Strategy<Value = Vec<u8>> {
    let turns = vec(
        prop_oneof![turn(), unknown_event_line().prop_map(ConversationStep::Raw)],
        0..8,
    );
    (unknown_event_line(), turns).prop_map(|(first, mut turns)| {
        turns.insert(0, ConversationStep::Raw(first));
        transcript_of(&turns).bytes().to_vec()
    })
}

/// The transcripts of two different sessions, as agents write them.
pub fn two_transcripts() -> impl Strategy<Value = [Vec<u8>; 2]> {
    (vec(turn(), 0..8), vec(turn(), 0..8)).prop_map(|(one, other)| {
        [("s1", one), ("s2", other)]
            .map(|(id, turns)| transcript_with_id(id, &turns).bytes().to_vec())
    })
}

/// A transcript with unusual lines: values that are not objects, blank lines, old formats, several
/// values on one line.
pub fn odd_transcript() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![turn(), odd_line().prop_map(ConversationStep::Raw)],
        0..8,
    )
    .prop_map(|turns| transcript_of(&turns).bytes().to_vec())
}

/// A damaged transcript: truncated anywhere, with overwritten bytes, partial lines or binary lines.
pub fn damaged_transcript() -> impl Strategy<Value = Vec<u8>> {
    let turns = vec(
        prop_oneof![2 => turn(), 1 => odd_line().prop_map(ConversationStep::Raw), 2 => broken_line().prop_map(ConversationStep::Raw)],
        0..8,
    );
    // A power failure leaves NUL bytes. A bad copy leaves arbitrary bytes.
    let overwrites = vec(
        (
            any::<prop::sample::Index>(),
            prop_oneof![Just(0_u8), any::<u8>()],
        ),
        0..4,
    );
    let cut = prop::option::of(any::<prop::sample::Index>());
    (turns, overwrites, cut).prop_map(|(turns, overwrites, cut)| {
        let mut bytes = transcript_of(&turns).bytes().to_vec();
        if !bytes.is_empty() {
            for (index, byte) in overwrites {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        bytes
    })
}

/// A valid, unusual or damaged transcript.
pub fn transcript() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        valid_transcript().boxed(),
        odd_transcript().boxed(),
        damaged_transcript().boxed()
    ]
}

/// Several versions of a growing transcript, each longer than the previous one. Most versions end
/// within a line.
pub fn growing_transcript() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cuts = vec(any::<prop::sample::Index>(), 0..4);
    (odd_transcript(), cuts).prop_map(|(bytes, cuts)| {
        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        lengths.dedup();
        lengths
            .iter()
            .map(|&length| bytes[..length].to_vec())
            .collect()
    })
}

/// A step of a conversation.
#[derive(Clone, Debug)]
pub enum ConversationStep {
    /// The user types a prompt.
    User(String),
    /// The model answers with text. Contains the input and output tokens.
    Answer(u64, u64),
    /// The model calls a tool. Contains the name of the tool and whether it succeeds.
    ToolCall(&'static str, bool),
    /// A sub-agent answers. Contains the output tokens.
    SubagentAnswer(u64),
    /// The user runs a slash command.
    Command(&'static str),
    /// This many seconds pass.
    Wait(u64),
    /// A line with any bytes.
    Raw(Vec<u8>),
}

/// One step of a conversation as agents write it.
pub fn turn() -> impl Strategy<Value = ConversationStep> {
    prop_oneof![
        // Any text, including quotes, control characters and non-Latin scripts.
        any::<String>().prop_map(ConversationStep::User),
        (0..2_000_000_u64, 0..100_000_u64)
            .prop_map(|(input, output)| ConversationStep::Answer(input, output)),
        (
            prop::sample::select(vec!["Bash", "Read", "Task", "Skill", "mcp__github__search"]),
            any::<bool>()
        )
            .prop_map(|(tool, is_ok)| ConversationStep::ToolCall(tool, is_ok)),
        (0..100_000_u64).prop_map(ConversationStep::SubagentAnswer),
        prop::sample::select(vec!["/clear", "/plugin:run now"]).prop_map(ConversationStep::Command),
        (1..7200_u64).prop_map(ConversationStep::Wait),
    ]
}

/// The transcript of these steps, with the session id `s1`.
pub fn transcript_of(turns: &[ConversationStep]) -> Transcript {
    transcript_with_id("s1", turns)
}

/// The transcript of these steps, with this session id.
pub fn transcript_with_id(id: &str, turns: &[ConversationStep]) -> Transcript {
    turns
        .iter()
        .fold(Transcript::new(id), |session, turn| match turn {
            ConversationStep::User(text) => session.user(text),
            ConversationStep::Answer(input, output) => {
                session.assistant(|m| m.tokens(*input, *output))
            }
            ConversationStep::ToolCall(tool, is_ok) => {
                let result = if *is_ok {
                    Ok("done")
                } else {
                    Err("exit code 1")
                };
                session.assistant(|m| m.tool(tool)).tool_result(result)
            }
            ConversationStep::SubagentAnswer(output) => session.progress(|m| m.tokens(1, *output)),
            ConversationStep::Command(command) => session.slash_command(command),
            ConversationStep::Wait(seconds) => session.wait(Duration::from_secs(*seconds)),
            ConversationStep::Raw(line) => session.raw_line(line),
        })
}

/// An entry of an unknown type, with any content.
fn unknown_event_line() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec!["never-heard-of", "telemetry", "USER", ""];
    (prop::sample::select(kinds), any_json()).prop_map(|(kind, payload)| {
        json!({ "type": kind, "message": payload, "sessionId": "s1" })
            .to_string()
            .into_bytes()
    })
}

/// A line that some agent or some version of an agent might write.
fn odd_line() -> impl Strategy<Value = Vec<u8>> {
    let fixed = vec![
        "",
        "   ",
        "\r",
        "null",
        "3",
        "[]",
        "\"text\"",
        "{}",
        "{\"type\":\"never-heard-of\"}",
        "{\"role\":\"user\",\"content\":\"a flat line\"}",
        "{\"type\":\"user\",\"type\":\"assistant\"}",
        "{\"type\":\"user\",\"message\":{\"content\":null}}",
        "{\"a\":1}{\"b\":2}",
        "\u{feff}{\"type\":\"user\"}",
        "{\"type\":\"assistant\",\"message\":{\"usage\":{\"input_tokens\":-1}}}",
        "{\"type\":\"assistant\",\"message\":{\"usage\":{\"input_tokens\":1e400}}}",
    ];
    prop_oneof![
        prop::sample::select(fixed).prop_map(|line| line.as_bytes().to_vec()),
        any_json().prop_map(|value| value.to_string().into_bytes()),
    ]
}

/// A line that is not valid JSON, or is nested too deeply.
fn broken_line() -> impl Strategy<Value = Vec<u8>> {
    let fixed: Vec<&[u8]> = vec![
        b"{",
        b"{\"type\":\"us",
        b"}",
        b"\xff\xfe{}",
        b"\0\0\0\0",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":NaN}",
        b"{\"x\":\"abc{\"y\":1}",
    ];
    prop_oneof![
        prop::sample::select(fixed).prop_map(<[u8]>::to_vec),
        // Any bytes except a newline.
        vec(
            any::<u8>().prop_filter("not a newline", |byte| *byte != b'\n'),
            0..80
        ),
        // Deeper than the nesting limit of all parsers in this project.
        (129..400_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

/// Any JSON value of limited size.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((member_name(), inner), 0..4).prop_map(|members| {
                let mut object = json!({});
                for (name, value) in members {
                    object[name] = value;
                }
                object
            }),
        ]
    })
}

fn member_name() -> impl Strategy<Value = String> {
    let known = vec!["type", "message", "usage", "content", "timestamp", "uuid"];
    prop_oneof![
        prop::sample::select(known).prop_map(ToOwned::to_owned),
        any::<String>(),
    ]
}

/// One line of a file about a message of the API.
///
/// Files, messages and sessions are small numbers, so that messages recur: in one file during
/// streaming, and in other files because of forks, resumed sessions, replays and sub-agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// The index of the file in [`FILES`].
    pub file: usize,
    /// The number of the message. It determines the model, the speed and the input tokens.
    pub message: u64,
    /// Whether the line has a request id.
    pub has_request: bool,
    /// The number of the session in the line.
    pub session: usize,
    /// The output tokens so far.
    pub output: i64,
    /// Whether the message belongs to a sub-agent.
    pub is_sidechain: bool,
    /// Whether this is a `progress` line. Such messages always belong to a sub-agent.
    pub is_progress: bool,
    /// Whether the line has a stop reason.
    pub is_final: bool,
    /// Hours since Monday morning.
    pub hour: u32,
    /// The number of the working directory.
    pub place: usize,
}

/// The message records of a folder of transcripts, in the order of their lines.
pub fn message_records() -> impl Strategy<Value = Vec<MessageRecord>> {
    let record = (
        (
            0..FILES.len(),
            0..8_u64,
            prop::bool::weighted(0.8),
            0..3_usize,
        ),
        (
            0..40_i64,
            prop::bool::weighted(0.3),
            prop::bool::weighted(0.2),
            any::<bool>(),
        ),
        // Hours of the first morning, or of two months.
        (prop_oneof![0..4_u32, 0..1_400_u32], 0..4_usize),
    );
    let record = record.prop_map(
        |(
            (file, message, has_request, session),
            (output, is_sidechain, is_progress, is_final),
            (hour, place),
        )| MessageRecord {
            file,
            message,
            has_request,
            session,
            output,
            is_sidechain: is_sidechain || is_progress,
            is_progress,
            is_final,
            hour,
            place,
        },
    );
    vec(record, 0..24)
}

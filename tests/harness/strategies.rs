//! What properties are tried on: transcripts of all kinds, and what happens to a data dir.

mod files;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::session::Transcript;

pub use files::{FILES, FolderAction, GeneratedFolder, ModifiedAt, actions, data_dir};

/// How many cases every property is tried with, more or less by its cost: what `cargo xtask` says,
/// or 32.
///
/// Under a name of our own, which xtask sets from `PROPTEST_CASES`: `proptest!` puts that variable
/// above the number that a property asks for, so that one whose case is a dozen processes would be
/// tried as often as one whose case is a comparison.
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
    reason = "how long to search is the developer's affair; what is found does not depend on it"
)]
pub fn cases() -> u32 {
    let cases =
        std::env::var("SESSION_PIPELINE_CASES").or_else(|_| std::env::var("PROPTEST_CASES"));
    let cases = cases.ok().and_then(|cases| cases.parse().ok());
    cases.unwrap_or(32)
}

/// The seed by which chance goes this time, where one was asked for: `PROPTEST_RNG_SEED`, which
/// proptest heeds by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "what to search again is the developer's affair"
)]
pub fn seed() -> Option<u64> {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok();
    seed.and_then(|seed| seed.parse().ok())
}

/// A transcript as agents write it: every line an entry of a known type.
pub fn valid_transcript() -> impl Strategy<Value = Vec<u8>> {
    vec(turn(), 0..8).prop_map(|turns| session_of(&turns).bytes().to_vec())
}

/// A transcript in which entries of types that nobody has heard of stand among the others, as a new
/// version of an agent writes them.
pub fn unheard_of_transcript() -> impl Strategy<Value = Vec<u8>> {
    let turns = vec(
        prop_oneof![turn(), unheard_of_line().prop_map(ConversationStep::Raw)],
        0..8,
    );
    (unheard_of_line(), turns).prop_map(|(first, mut turns)| {
        turns.insert(0, ConversationStep::Raw(first));
        session_of(&turns).bytes().to_vec()
    })
}

/// Two transcripts of different sessions, as agents write them.
pub fn two_transcripts() -> impl Strategy<Value = [Vec<u8>; 2]> {
    (vec(turn(), 0..8), vec(turn(), 0..8)).prop_map(|(one, other)| {
        [("s1", one), ("s2", other)].map(|(id, turns)| session_named(id, &turns).bytes().to_vec())
    })
}

/// A transcript with lines that are odd, but lines: other values than objects, blank ones, old
/// shapes, several values on one line.
pub fn odd_transcript() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![turn(), odd_line().prop_map(ConversationStep::Raw)],
        0..8,
    )
    .prop_map(|turns| session_of(&turns).bytes().to_vec())
}

/// A transcript that something happened to: cut anywhere, bytes overwritten, half lines, binary
/// lines. Nothing in it can be relied upon.
pub fn damaged_transcript() -> impl Strategy<Value = Vec<u8>> {
    let turns = vec(
        prop_oneof![2 => turn(), 1 => odd_line().prop_map(ConversationStep::Raw), 2 => broken_line().prop_map(ConversationStep::Raw)],
        0..8,
    );
    // A power cut leaves NULs, a bad copy leaves anything.
    let wounds = vec(
        (
            any::<prop::sample::Index>(),
            prop_oneof![Just(0_u8), any::<u8>()],
        ),
        0..4,
    );
    let cut = prop::option::of(any::<prop::sample::Index>());
    (turns, wounds, cut).prop_map(|(turns, wounds, cut)| {
        let mut bytes = session_of(&turns).bytes().to_vec();
        if !bytes.is_empty() {
            for (place, byte) in wounds {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        bytes
    })
}

/// Any transcript.
pub fn transcript() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        valid_transcript().boxed(),
        odd_transcript().boxed(),
        damaged_transcript().boxed()
    ]
}

/// A transcript at several moments of its life, each longer than the one before; most moments
/// fall within a line.
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

/// What happens next in a conversation.
#[derive(Clone, Debug)]
pub enum ConversationStep {
    /// A person types.
    User(String),
    /// The model answers with text, at this cost.
    Says(u64, u64),
    /// The model calls a tool, which answers, well or not.
    Calls(&'static str, bool),
    /// A sub-agent reports.
    Reports(u64),
    /// A command.
    Command(&'static str),
    /// An hour or so passes.
    Wait(u64),
    /// Any bytes as a line.
    Raw(Vec<u8>),
}

/// One turn of a conversation as agents write it.
pub fn turn() -> impl Strategy<Value = ConversationStep> {
    prop_oneof![
        // Any text at all, quotes, control characters and other scripts included.
        any::<String>().prop_map(ConversationStep::User),
        (0..2_000_000_u64, 0..100_000_u64)
            .prop_map(|(input, output)| ConversationStep::Says(input, output)),
        (
            prop::sample::select(vec!["Bash", "Read", "Task", "Skill", "mcp__github__search"]),
            any::<bool>()
        )
            .prop_map(|(tool, is_ok)| ConversationStep::Calls(tool, is_ok)),
        (0..100_000_u64).prop_map(ConversationStep::Reports),
        prop::sample::select(vec!["/clear", "/plugin:run now"]).prop_map(ConversationStep::Command),
        (1..7200_u64).prop_map(ConversationStep::Wait),
    ]
}

/// A transcript of these turns.
pub fn session_of(turns: &[ConversationStep]) -> Transcript {
    session_named("s1", turns)
}

/// A transcript of these turns, of the session of this id.
pub fn session_named(id: &str, turns: &[ConversationStep]) -> Transcript {
    turns
        .iter()
        .fold(Transcript::new(id), |session, turn| match turn {
            ConversationStep::User(text) => session.user(text),
            ConversationStep::Says(input, output) => {
                session.assistant(|m| m.tokens(*input, *output))
            }
            ConversationStep::Calls(tool, is_ok) => {
                let result = if *is_ok {
                    Ok("done")
                } else {
                    Err("exit code 1")
                };
                session.assistant(|m| m.tool(tool)).tool_result(result)
            }
            ConversationStep::Reports(output) => session.progress(|m| m.tokens(1, *output)),
            ConversationStep::Command(command) => session.slash_command(command),
            ConversationStep::Wait(seconds) => session.wait(Duration::from_secs(*seconds)),
            ConversationStep::Raw(line) => session.raw_line(line),
        })
}

/// An entry of a type that nobody has heard of, with anything in it.
fn unheard_of_line() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec!["never-heard-of", "telemetry", "USER", ""];
    (prop::sample::select(kinds), any_json()).prop_map(|(kind, payload)| {
        json!({ "type": kind, "message": payload, "sessionId": "s1" })
            .to_string()
            .into_bytes()
    })
}

/// A line that some agent, or some version of one, might write.
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

/// A line that is none.
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
        // Anything but the newline that would end it.
        vec(
            any::<u8>().prop_filter("a line", |byte| *byte != b'\n'),
            0..80
        ),
        // Deeper than any parser of ours goes.
        (129..400_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

/// Any JSON value, not too large.
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

/// What one line of some file says about a message of the API.
///
/// Files, messages and all else are named by small numbers, so that messages recur: in one file
/// while they are streamed, in others as forks, resumed sessions, replays and sub-agents' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Which of [`FILES`].
    pub file: usize,
    /// Which message; its model, speed and input follow from it.
    pub message: u64,
    /// Whether the line names the request.
    pub has_request: bool,
    /// Which session the line names.
    pub session: usize,
    /// Output as counted so far.
    pub output: i64,
    /// Whether it is a sub-agent's.
    pub is_sidechain: bool,
    /// Whether it is told in a `progress` line, as a sub-agent's always.
    pub is_progress: bool,
    /// Whether it says how the message ended.
    pub is_final: bool,
    /// Hours since Monday morning.
    pub hour: u32,
    /// Where the agent worked, of a few folders.
    pub place: usize,
}

/// The sightings in a folder of transcripts, in the order of their lines.
pub fn sightings() -> impl Strategy<Value = Vec<MessageRecord>> {
    let sighting = (
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
        // Two months, few of whose hours are the same.
        (prop_oneof![0..4_u32, 0..1_400_u32], 0..4_usize),
    );
    let sighting = sighting.prop_map(
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
    vec(sighting, 0..24)
}

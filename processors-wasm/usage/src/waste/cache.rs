//! Prompt prefixes that are no longer in the cache.
//!
//! After a response, the cache contains the tokens that it read from the cache and those that it
//! wrote: the *prefix*. The next response of the same agent and model should read the prefix. If it
//! reads less, the rest was paid again as input or cache writes. The lost tokens are
//! `min(prefix − cache read, input + cache writes)`.
//!
//! If a response consists of several requests, its first one is compared with the last one of the
//! previous response.
//!
//! A response is not compared with one before a compaction, or on a branch that the user left by
//! going back, because its prompt does not begin with that prefix. Small differences are normal, so
//! the loss must exceed [`LOSS_MIN`] tokens and a tenth of the prefix.
//!
//! A loss is `expired` if more time passed since the previous response than the cache keeps the
//! prefix: five minutes, or one hour if the last write was for one hour only. Else the prompt
//! `changed`, for example its tools or its system prompt.

use std::collections::BTreeMap;

use session_pipeline_processor::Timestamp;

use crate::agents::{Agent, Agents};
use crate::messages::Messages;
use crate::strings::{Span, Strings};
use crate::waste::{TokenCounts, WasteFinding, WasteKind, WasteOrigin, WasteSubject};

/// The largest loss that is normal, in tokens.
const LOSS_MIN: i64 = 1_024;

/// Five minutes, in microseconds.
const SHORT_LIFETIME: i64 = 300 * 1_000_000;

/// One hour, in microseconds.
const LONG_LIFETIME: i64 = 3_600 * 1_000_000;

/// The cache after a response.
#[derive(Clone, Copy)]
struct CacheState {
    /// The number of the response.
    at: usize,
    compactions: u32,
    used_at: Option<Timestamp>,
    prefix: i64,
    lifetime: i64,
}

pub(super) fn findings(
    strings: &Strings,
    agents: &Agents,
    messages: &Messages,
) -> Vec<WasteFinding> {
    let mut caches: BTreeMap<(Agent, Option<Span>), CacheState> = BTreeMap::new();
    let mut findings = Vec::new();
    for response in agents.responses() {
        let (Some(agent), Some(figures)) = (response.agent, messages.figures(response.at)) else {
            continue;
        };
        let requests = figures.by_request(strings);
        let (Some(first), Some(tokens)) = (requests.first(), requests.last()) else {
            continue;
        };
        // The counts of an interrupted response can be missing.
        if tokens.input_side() == 0 {
            continue;
        }
        let key = (agent, figures.model);
        let previous = caches.get(&key);
        let used_at = figures.place.occurred_at;
        let comparable = previous.filter(|previous| {
            previous.compactions == response.compactions && agents.continues(response, previous.at)
        });
        let loss = comparable.and_then(|previous| Some((previous, loss(previous.prefix, first)?)));
        if let Some((previous, loss)) = loss {
            let is_expired = previous.used_at.zip(used_at).is_some_and(|(before, now)| {
                now.micros().saturating_sub(before.micros()) > previous.lifetime
            });
            findings.push(WasteFinding {
                kind: WasteKind::CacheMiss,
                origin: WasteOrigin::Message(response.at),
                line: figures.place.line,
                occurred_at: used_at,
                agent: Some(agent),
                tool: None,
                subject: WasteSubject::Name(if is_expired { "expired" } else { "changed" }),
                instances: 1,
                tokens: loss,
            });
        }
        let lifetime = match (tokens.written(), tokens.cache_write_5m) {
            (0, _) => previous.map_or(SHORT_LIFETIME, |previous| previous.lifetime),
            (_, 0) => LONG_LIFETIME,
            _ => SHORT_LIFETIME,
        };
        let cache = CacheState {
            at: response.at,
            compactions: response.compactions,
            used_at,
            prefix: tokens.cached(),
            lifetime,
        };
        caches.insert(key, cache);
    }
    findings
}

/// The tokens of a response that were paid again, in the classes in which they were paid. A prompt
/// begins with what is cached for one hour, then for five minutes, then not at all.
fn loss(prefix: i64, tokens: &TokenCounts) -> Option<TokenCounts> {
    let missing = prefix.saturating_sub(tokens.cache_read);
    if missing <= LOSS_MIN || missing.saturating_mul(10) <= prefix {
        return None;
    }
    let lost = missing.min(tokens.input.saturating_add(tokens.written()));
    let cache_write_1h = lost.min(tokens.cache_write_1h);
    let cache_write_5m = (lost - cache_write_1h).min(tokens.cache_write_5m);
    (lost > 0).then_some(TokenCounts {
        input: lost - cache_write_1h - cache_write_5m,
        output: 0,
        cache_read: -lost,
        cache_write_5m,
        cache_write_1h,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waste::tests::{check, response};

    /// Two responses with a time in seconds and `[cache read, 5m write, 1h write]`.
    fn check_pair(
        [before, after]: [(u32, [u32; 3]); 2],
        between: &[&str],
        fields: &str,
        expected: &[&str],
    ) {
        let side = |(second, [read, short, long]): (u32, [u32; 3]), id: &str, fields: &str| {
            response(id, second, [0, 1, read, short, long], fields)
        };
        let mut lines = vec![side(before, "a0000", "")];
        lines.extend(between.iter().map(|line| (*line).to_owned()));
        lines.push(side(after, "a0001", fields));
        check(&lines, expected);
    }

    #[test]
    fn a_prefix_expires_when_its_lifetime_has_passed() {
        let whole = [0, 50_000, 0];
        let key = "cache_miss:msg-of-sixteen-a0001";
        let expired = format!("2 cache_miss expired - 1 0 0 -50000 50000 0 {key}");
        let changed = format!("2 cache_miss changed - 1 0 0 -50000 50000 0 {key}");
        check_pair([(0, whole), (301, whole)], &[], "", &[&expired]);
        check_pair([(0, whole), (300, whole)], &[], "", &[&changed]);
        let whole = [0, 0, 50_000];
        let expired = format!("2 cache_miss expired - 1 0 0 -50000 0 50000 {key}");
        let changed = format!("2 cache_miss changed - 1 0 0 -50000 0 50000 {key}");
        check_pair([(0, whole), (3_601, whole)], &[], "", &[&expired]);
        check_pair([(0, whole), (3_600, whole)], &[], "", &[&changed]);
        // The prefix is what was read and written: 30,000 + 20,000.
        let [before, after] = [[30_000, 20_000, 0], [10_000, 45_000, 0]];
        let partly = format!("2 cache_miss changed - 1 0 0 -40000 40000 0 {key}");
        check_pair([(0, before), (1, after)], &[], "", &[&partly]);
        check_pair([(0, before), (1, [50_000, 9, 0])], &[], "", &[]);
    }

    #[test]
    fn a_lifetime_lasts_until_the_next_write() {
        let lines = [
            response("a0000", 0, [0, 1, 0, 0, 50_000], ""),
            response("a0001", 10, [5, 1, 50_000, 0, 0], ""),
            response("a0002", 610, [0, 1, 0, 50_000, 0], ""),
            response("a0003", 1_210, [0, 1, 0, 50_000, 0], ""),
        ];
        check(
            &lines,
            &[
                "3 cache_miss changed - 1 0 0 -50000 50000 0 cache_miss:msg-of-sixteen-a0002",
                "4 cache_miss expired - 1 0 0 -50000 50000 0 cache_miss:msg-of-sixteen-a0003",
            ],
        );
    }

    #[test]
    fn only_responses_of_one_conversation_are_compared() {
        let pair = [(0, [0, 50_000, 0]), (1, [0, 50_000, 0])];
        let boundary =
            r#"{"type":"system","subtype":"compact_boundary","uuid":"b","isMeta":false}"#;
        let compaction = "2 compaction - - 1 0 0 0 0 0 compaction:line:b";
        check_pair(pair, &[boundary], "", &[compaction]);
        let summary = r#"{"type":"user","uuid":"b","isCompactSummary":true}"#;
        check_pair(pair, &[summary], "", &[]);
        // A sub-agent, and a response on another branch.
        check_pair(pair, &[], r#","agentId":"a1""#, &[]);
        check_pair(pair, &[], r#","isSidechain":true"#, &[]);
        let first = r#"{"type":"user","uuid":"p","parentUuid":"o"}"#;
        let back = r#"{"type":"user","uuid":"q","parentUuid":null}"#;
        check_pair(pair, &[first, back], r#","parentUuid":"q""#, &[]);
        let missing = "3 cache_miss changed - 1 0 0 -50000 50000 0 cache_miss:msg-of-sixteen-a0001";
        let forward = r#"{"type":"user","uuid":"q","parentUuid":"u-a0000"}"#;
        check_pair(pair, &[forward], r#","parentUuid":"q""#, &[missing]);
    }

    #[test]
    fn other_models_and_placeholders_in_between_change_nothing() {
        let lines = [
            response("a0000", 0, [0, 1, 0, 50_000, 0], ""),
            response("a0001", 1, [0, 1, 0, 50_000, 0], "")
                .replace(r#""model":"m""#, r#""model":"n""#),
            response("a0002", 2, [0, 1, 0, 0, 0], ""),
            // A placeholder, then the counts.
            response("a0003", 3, [0, 1, 0, 0, 0], ""),
            response("a0003", 3, [0, 9, 40_000, 12_000, 0], ""),
            // The same response again.
            response("a0003", 9, [0, 9, 40_000, 12_000, 0], ""),
        ];
        check(
            &lines,
            &["4 cache_miss changed - 1 0 0 -10000 10000 0 cache_miss:msg-of-sixteen-a0003"],
        );
    }

    #[test]
    fn sub_agents_in_progress_lines_have_their_own_cache() {
        let line = |agent: &str, id: &str| {
            format!(
                r#"{{"type":"progress","data":{{"type":"agent_progress"{agent},"message":{{"message":{{"id":"msg-of-sixteen-{id}","model":"m","usage":{{"input_tokens":0,"cache_creation_input_tokens":50000}}}}}}}}}}"#
            )
        };
        let lines = [
            line(r#","agentId":"x""#, "a0000"),
            line(r#","agentId":"y""#, "a0001"),
            // Without an id, sub-agents cannot be distinguished.
            line("", "a0002"),
            line("", "a0003"),
            line(r#","agentId":"x""#, "a0004"),
        ];
        check(
            &lines,
            &["5 cache_miss changed - 1 0 0 -50000 50000 0 cache_miss:msg-of-sixteen-a0004"],
        );
    }

    #[test]
    fn lost_tokens_have_the_class_in_which_they_were_paid() {
        let check =
            |prefix: i64, [input, read, short, long]: [i64; 4], expected: Option<[i64; 4]>| {
                let tokens = TokenCounts {
                    input,
                    output: 9,
                    cache_read: read,
                    cache_write_5m: short,
                    cache_write_1h: long,
                };
                let expected = expected.map(|[input, read, short, long]| TokenCounts {
                    input,
                    output: 0,
                    cache_read: read,
                    cache_write_5m: short,
                    cache_write_1h: long,
                });
                assert_eq!(loss(prefix, &tokens), expected, "{prefix} {tokens:?}");
            };
        // All is lost, and more was written than before.
        check(50_000, [10, 0, 51_000, 0], Some([0, -50_000, 50_000, 0]));
        check(50_000, [10, 0, 0, 51_000], Some([0, -50_000, 0, 50_000]));
        // A part is lost: 50,000 − 20,000.
        check(
            50_000,
            [10, 20_000, 31_000, 0],
            Some([0, -30_000, 30_000, 0]),
        );
        // One hour first, then five minutes, then input.
        check(
            50_000,
            [40_000, 0, 7_000, 8_000],
            Some([35_000, -50_000, 7_000, 8_000]),
        );
        // The prompt is shorter than the prefix.
        check(50_000, [10, 0, 4_000, 0], Some([10, -4_010, 4_000, 0]));
        // At the limits: 1,024 tokens, and a tenth.
        check(5_000, [5_000, 3_976, 0, 0], None);
        check(5_000, [5_000, 3_975, 0, 0], Some([1_025, -1_025, 0, 0]));
        check(50_000, [9_000, 45_000, 0, 0], None);
        check(50_000, [9_000, 44_999, 0, 0], Some([5_001, -5_001, 0, 0]));
        check(50_000, [10, 60_000, 0, 0], None);
    }
}

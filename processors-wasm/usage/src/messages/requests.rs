//! Divides the usage of a message into the requests that are billed.
//!
//! The usage of a message can list its steps in `iterations`. The documentation of the API
//! (compaction, advisor tool, refusals and fallback) says which of them the counts at the top level
//! include:
//!
//! - `message` steps add up to the top level. Each is a request of its own, and the price tier for
//!   long contexts is decided for each request.
//! - `advisor_message` and `compaction` steps are billed in addition.
//! - If a model declines a request and a fallback answers, each attempt is a step, billed at the
//!   rates of its model. "The top-level `usage` counts describe only the attempt that produced the
//!   returned message. Tokens from different models are never summed into one field." A declined
//!   attempt is a `message` step with its model, and the attempt that answered is a
//!   `fallback_message` step.
//!
//! Gateways do not always follow this, so the counts decide: tokens of another model are taken out
//! of the message if the top level includes them, and no count is lost if the top level has more.

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::Text;
use session_pipeline_processor::transcript::{Iteration, IterationKind, Tokens, Usage};

/// Tokens by the classes that have a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Input tokens, without the cache.
    pub input: i64,
    /// Output tokens.
    pub output: i64,
    /// Tokens read from the cache.
    pub cache_read: i64,
    /// Tokens written to the cache for five minutes or an unknown lifetime.
    pub cache_write_5m: i64,
    /// Tokens written to the cache for one hour.
    pub cache_write_1h: i64,
}

impl TokenCounts {
    /// Tokens that are in the cache after the response.
    pub fn cached(&self) -> i64 {
        self.cache_read.saturating_add(self.written())
    }

    /// Tokens written to the cache.
    pub fn written(&self) -> i64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// Tokens of the context.
    pub fn input_side(&self) -> i64 {
        self.input.saturating_add(self.cached())
    }

    /// The counts of a message or a step.
    pub fn of(tokens: &Tokens) -> Self {
        Self {
            input: tokens.input.unwrap_or(0),
            output: tokens.output.unwrap_or(0),
            cache_read: tokens.cache_read.unwrap_or(0),
            cache_write_5m: tokens.cache_creation_5m(),
            cache_write_1h: tokens.cache_creation_1h(),
        }
    }

    /// All tokens.
    pub fn total(self) -> i64 {
        self.classes().into_iter().fold(0, i64::saturating_add)
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }

    fn classes(self) -> [i64; 5] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        ]
    }

    fn combine(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            input: combine(self.input, other.input),
            output: combine(self.output, other.output),
            cache_read: combine(self.cache_read, other.cache_read),
            cache_write_5m: combine(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: combine(self.cache_write_1h, other.cache_write_1h),
        }
    }

    fn add(self, other: Self) -> Self {
        self.combine(other, i64::saturating_add)
    }

    fn max(self, other: Self) -> Self {
        self.combine(other, i64::max)
    }

    /// What the other counts lack.
    fn beyond(self, other: Self) -> Self {
        self.combine(other, |own, other| (own - other).max(0))
    }
}

/// The usage of a message, by the requests that are billed.
pub struct MessageBill<'e, 'a> {
    /// The tokens of the message's own model.
    pub counts: TokenCounts,
    /// The model that answered, if it differs from the message's model.
    pub model: Option<Text<'a>>,
    /// The requests to the message's model, if there are several: a JSON list of
    /// `[input, output, cache_read, cache_write_5m, cache_write_1h]`.
    pub requests: Option<String>,
    /// The requests to other models.
    pub others: Vec<&'e Iteration<'a>>,
    /// Whether one of them answered, so that the message's own model declined.
    pub is_declined: bool,
}

impl<'e, 'a> MessageBill<'e, 'a> {
    /// Divides the usage of a message with this model.
    pub fn new(usage: &'e Usage<'a>, model: Option<Text<'a>>) -> Self {
        let top = TokenCounts::of(&usage.tokens);
        let is_request = |step: &&Iteration<'_>| {
            matches!(step.kind, IterationKind::Message | IterationKind::Fallback)
        };
        let steps = || usage.iterations.iter().filter(is_request);
        let is_own = |step: &&Iteration<'_>| match (step.model, model) {
            (None, _) => true,
            (Some(step), Some(own)) => step.decode() == own.decode(),
            (Some(_), None) => false,
        };
        let mut bill = Self {
            counts: top,
            model: None,
            requests: None,
            others: Vec::new(),
            is_declined: false,
        };
        let mut first_steps = steps();
        match (first_steps.next(), first_steps.next()) {
            (None, _) => return bill,
            // The only attempt. The name of its model can be another alias, unless it is a
            // fallback.
            (Some(step), None) => {
                let counts = own_counts(&[step], top)[0];
                if is_own(&step) || counts == top || counts.is_zero() {
                    bill.counts = top.max(counts);
                    let is_other = step.kind == IterationKind::Fallback && !is_own(&step);
                    bill.model = step.model.filter(|_| is_other);
                    return bill;
                }
            }
            _ => {}
        }
        let own: Vec<&Iteration<'_>> = steps().filter(is_own).collect();
        bill.others = steps().filter(|step| !is_own(step)).collect();
        bill.is_declined = bill
            .others
            .iter()
            .any(|step| step.kind == IterationKind::Fallback);
        let mut own = own_counts(&own, top);
        let sum = own
            .iter()
            .copied()
            .fold(TokenCounts::default(), TokenCounts::add);
        let other_counts = bill.others.iter().map(|step| TokenCounts::of(&step.tokens));
        let others = other_counts
            .clone()
            .fold(TokenCounts::default(), TokenCounts::add);
        // The top level sums all attempts, or is the attempt of another model, or of this one.
        let is_covered = top == sum.add(others)
            || top == others
            || other_counts.clone().any(|counts| counts == top);
        if !bill.others.is_empty() && is_covered {
            bill.counts = sum;
        } else {
            bill.counts = top.max(sum);
            let rest = top.beyond(sum);
            if !rest.is_zero() && own.len() > 1 {
                own.push(rest);
            }
        }
        bill.requests = (own.len() > 1).then(|| list(&own));
        bill
    }

    /// Whether tokens of other models are not part of the counts.
    pub fn is_divided(&self) -> bool {
        !self.others.is_empty()
    }
}

/// The counts of a message's own steps. A step does not always have the lifetimes of its cache
/// writes. They are then those of the top level, one hour first.
fn own_counts(steps: &[&Iteration<'_>], top: TokenCounts) -> Vec<TokenCounts> {
    let has_lifetimes = |tokens: &Tokens| {
        tokens.cache_creation_5m_split.is_some()
            || tokens.cache_creation_1h_split.is_some()
            || tokens.cache_creation_other_split.is_some()
    };
    let known = steps.iter().map(|step| step.tokens.cache_creation_1h());
    let mut one_hour = known.fold(top.cache_write_1h, i64::saturating_sub).max(0);
    let counts = steps.iter().map(|step| {
        let mut counts = TokenCounts::of(&step.tokens);
        if !has_lifetimes(&step.tokens) {
            let moved = counts.cache_write_5m.min(one_hour);
            one_hour -= moved;
            counts.cache_write_5m -= moved;
            counts.cache_write_1h += moved;
        }
        counts
    });
    counts.collect()
}

fn list(requests: &[TokenCounts]) -> String {
    let requests = requests.iter().map(|counts| {
        let classes = counts.classes().map(|count| count.to_string());
        format!("[{}]", classes.join(","))
    });
    format!("[{}]", requests.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::transcript::{Entry, Message};

    use super::*;

    /// The message, with `usage` as in `input/output/read/5m/1h`.
    fn with_bill(model: &str, usage: &str, check: impl FnOnce(MessageBill<'_, '_>, &Message<'_>)) {
        let line = format!(r#"{{"message":{{"model":"{model}","usage":{usage}}}}}"#);
        let message = Entry::parse(&line).unwrap().message.unwrap();
        let usage = message.usage.as_ref().unwrap();
        check(MessageBill::new(usage, message.model), &message);
    }

    /// Checks the counts, the requests and the requests to other models.
    fn check(usage: &str, counts: [i64; 5], requests: Option<&str>, others: &[&str]) {
        with_bill("large", usage, |bill, _| {
            assert_eq!(bill.counts.classes(), counts, "{usage}");
            assert_eq!(bill.requests.as_deref(), requests, "{usage}");
            let found: Vec<_> = bill
                .others
                .iter()
                .map(|step| step.model.unwrap().decode())
                .collect();
            assert_eq!(found, others, "{usage}");
        });
    }

    const ONE: &str = r#"{"type":"message","input_tokens":10,"output_tokens":2}"#;
    const TWO: &str = r#"{"type":"message","model":"large","input_tokens":30,"output_tokens":5}"#;
    const DECLINED: &str =
        r#"{"type":"message","model":"strict","input_tokens":10,"output_tokens":1}"#;
    const ANSWERED: &str =
        r#"{"type":"fallback_message","model":"large","input_tokens":12,"output_tokens":7}"#;

    fn usage(input: i64, output: i64, steps: &[&str]) -> String {
        let steps = steps.join(",");
        format!(r#"{{"input_tokens":{input},"output_tokens":{output},"iterations":[{steps}]}}"#)
    }

    #[test]
    fn several_requests_are_listed_and_one_is_not() {
        check(&usage(10, 2, &[]), [10, 2, 0, 0, 0], None, &[]);
        check(&usage(10, 2, &[ONE]), [10, 2, 0, 0, 0], None, &[]);
        let both = Some("[[10,2,0,0,0],[30,5,0,0,0]]");
        check(&usage(40, 7, &[ONE, TWO]), [40, 7, 0, 0, 0], both, &[]);
        // The top level lacks a request.
        check(&usage(10, 2, &[ONE, TWO]), [40, 7, 0, 0, 0], both, &[]);
        // The top level has more: the rest is another request.
        check(
            &usage(41, 9, &[ONE, TWO]),
            [41, 9, 0, 0, 0],
            Some("[[10,2,0,0,0],[30,5,0,0,0],[1,2,0,0,0]]"),
            &[],
        );
        check(&usage(12, 1, &[ONE]), [12, 2, 0, 0, 0], None, &[]);
    }

    #[test]
    fn steps_without_lifetimes_have_those_of_the_top_level() {
        let flat = r#"{"type":"message","input_tokens":1,"cache_creation_input_tokens":60}"#;
        let split = r#"{"type":"message","input_tokens":1,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_1h_input_tokens":30}}"#;
        let usage = |steps: &str| {
            format!(
                r#"{{"input_tokens":3,"cache_creation_input_tokens":150,"cache_creation":{{"ephemeral_5m_input_tokens":50,"ephemeral_1h_input_tokens":100}},"iterations":[{steps}]}}"#
            )
        };
        check(
            &usage(&format!("{flat},{split},{flat}")),
            [3, 0, 0, 50, 100],
            Some("[[1,0,0,0,60],[1,0,0,0,30],[1,0,0,50,10]]"),
            &[],
        );
    }

    #[test]
    fn attempts_of_other_models_are_no_tokens_of_the_message() {
        // As documented: the top level is the attempt that answered.
        let documented = usage(12, 7, &[DECLINED, ANSWERED]);
        check(&documented, [12, 7, 0, 0, 0], None, &["strict"]);
        // The top level sums all attempts.
        let summed = usage(22, 8, &[DECLINED, ANSWERED]);
        check(&summed, [12, 7, 0, 0, 0], None, &["strict"]);
        // It has more than the attempt that answered, and not the sum.
        let more = usage(15, 7, &[DECLINED, ANSWERED]);
        check(&more, [15, 7, 0, 0, 0], None, &["strict"]);
        with_bill("large", &documented, |bill, _| {
            assert!(!bill.is_declined && bill.is_divided());
        });
        // The message has the model that was asked, and the top level is that of the fallback.
        with_bill("strict", &documented, |bill, _| {
            assert_eq!(bill.counts.classes(), [10, 1, 0, 0, 0]);
            assert!(bill.is_declined && bill.others.len() == 1);
        });
    }

    #[test]
    fn the_only_attempt_is_the_message_whatever_its_model_is_called() {
        let only = |kind: &str| {
            usage(
                12,
                7,
                &[&format!(
                    r#"{{"type":"{kind}","model":"large-20260101","input_tokens":12,"output_tokens":7}}"#
                )],
            )
        };
        for (kind, model) in [
            ("message", None),
            ("fallback_message", Some("large-20260101")),
        ] {
            with_bill("large", &only(kind), |bill, _| {
                assert_eq!(bill.counts.classes(), [12, 7, 0, 0, 0], "{kind}");
                assert!(bill.others.is_empty(), "{kind}");
                let found = bill.model.map(|model| model.decode().into_owned());
                assert_eq!(found.as_deref(), model, "{kind}");
            });
        }
    }
}

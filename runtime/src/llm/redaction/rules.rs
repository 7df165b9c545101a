//! Secrets that are known by their form.
//!
//! Nearly all of them begin with a mark of whoever issues them. Turns come JSON-encoded, so that a
//! secret may stand right behind the `n` of a `\n`: no rule asks for the beginning of a word.

use std::sync::LazyLock;

use regex::Regex;

use super::{Find, MARKER_START};

/// A kind of secret.
struct Rule {
    kind: &'static str,
    /// What is taken out is the group `secret`, or all of it where there is none.
    pattern: &'static str,
    /// Whether a digit must be in it, so that it is no word.
    has_digit: bool,
}

const fn rule(kind: &'static str, pattern: &'static str) -> Rule {
    Rule {
        kind,
        pattern,
        has_digit: false,
    }
}

const fn with_digit(kind: &'static str, pattern: &'static str) -> Rule {
    Rule {
        kind,
        pattern,
        has_digit: true,
    }
}

const RULES: &[Rule] = &[
    // One that is cut off goes up to where the text ends.
    rule(
        "private-key",
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|\z)",
    ),
    rule("aws-key", r"(AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}"),
    rule(
        "github-token",
        r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}",
    ),
    rule(
        "gitlab-token",
        r"gl(pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_.-]{20,}",
    ),
    rule(
        "slack-token",
        r"xox[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}",
    ),
    rule(
        "slack-webhook",
        r"hooks\.slack\.com/(services|workflows)/[A-Za-z0-9_/-]{20,}",
    ),
    rule("api-key", r"sk-ant-[A-Za-z0-9_-]{8,}"),
    with_digit("api-key", r"sk-(proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}"),
    rule(
        "google-key",
        r"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}",
    ),
    rule(
        "stripe-key",
        r"[sr]k_(live|test)_[0-9A-Za-z]{10,}|whsec_[0-9A-Za-z+/=]{20,}",
    ),
    rule(
        "package-token",
        r"npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}|rubygems_[a-f0-9]{40,}|dckr_pat_[A-Za-z0-9_-]{20,}",
    ),
    with_digit("huggingface-token", r"hf_[A-Za-z0-9]{30,}"),
    rule(
        "sendgrid-key",
        r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    ),
    rule(
        "cloud-token",
        r"dop_v1_[a-f0-9]{40,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|AGE-SECRET-KEY-1[0-9A-Z]{50,}|shp(at|ca|pa|ss)_[a-fA-F0-9]{32}|glsa_[A-Za-z0-9_]{30,}|lin_api_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{30,}",
    ),
    rule("telegram-token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    rule(
        "azure-key",
        r"AccountKey=(?<secret>[A-Za-z0-9+/]{40,}=*)|[?&]sig=(?<secret2>[A-Za-z0-9%+/]{30,})",
    ),
    rule(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?",
    ),
    with_digit(
        "credentials",
        r"(?i)(bearer|basic|token)\s+(?<secret>[A-Za-z0-9+/._~-]{16,}=*)",
    ),
    rule(
        "password",
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\x22'\\]*:(?<secret>[^\s/@\x22'\\]{3,})@",
    ),
    with_digit(
        "password",
        r#"(?i)(passw(or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key|credentials?)[A-Za-z0-9_-]{0,20}(\\{0,7}["'])?\s{0,3}(=>|:=|=|:)\s{0,3}(\\{0,7}["'])?(?<secret>[^\s"'\\,;<>(){}\[\]$]{8,})"#,
    ),
];

struct Compiled {
    rule: &'static Rule,
    regex: Regex,
}

static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let compiled = RULES.iter().map(|rule| Compiled {
        rule,
        #[expect(
            clippy::expect_used,
            reason = "the patterns are part of the program, and tests use every one"
        )]
        regex: Regex::new(rule.pattern).expect("the pattern can be read"),
    });
    compiled.collect()
});

/// All that is known by its form.
pub(super) fn finds(text: &str) -> Vec<Find> {
    let mut finds = Vec::new();
    for Compiled { rule, regex } in COMPILED.iter() {
        for captures in regex.captures_iter(text) {
            let named = || captures.name("secret").or_else(|| captures.name("secret2"));
            let Some(secret) = named().or_else(|| captures.get(0)) else {
                continue;
            };
            let found = secret.as_str();
            let is_word = rule.has_digit && !found.bytes().any(|byte| byte.is_ascii_digit());
            if !is_word && !found.starts_with(MARKER_START) {
                finds.push(Find {
                    start: secret.start(),
                    end: secret.end(),
                    kind: rule.kind,
                });
            }
        }
    }
    finds
}

//! Secrets in transcripts must not be sent to a provider.

use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_host::model::{LlmErrorClass, LlmRequest};
use session_pipeline_pipeline::config::Provider;
use session_pipeline_pipeline::llm::redact;

use super::{PROVIDERS, Rig, plain};

/// Returns one fake secret of every kind, each with a text that contains it.
fn canaries() -> Vec<(String, String)> {
    let run = "R4nd0mL00k1ngV4lu3Th4tNob0dyUs3s";
    let secret = |before: &str, secret: &str, after: &str| {
        (secret.to_owned(), format!("{before}{secret}{after}"))
    };
    vec![
        secret("", "AKIAIOSFODNN7EXAMPLE", ""),
        secret(
            "aws_secret_access_key = ",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "",
        ),
        secret("", &format!("ghp_{run}1234"), ""),
        secret("", &format!("github_pat_{run}"), ""),
        secret("", &format!("glpat-{run}"), ""),
        secret("", &format!("xoxb-123456789012-{run}"), ""),
        secret("", &format!("sk-ant-api03-{run}"), ""),
        secret("", &format!("sk-proj-{run}"), ""),
        secret("", &format!("AIza{run}abc"), ""),
        secret("", &format!("sk_{}_{run}", "live"), ""),
        secret("", &format!("npm_{run}abcd"), ""),
        secret("", &format!("hf_{run}abcd"), ""),
        secret(
            "",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
            "",
        ),
        secret("Authorization: Bearer ", "abcdef0123456789abcdef", ""),
        secret("postgres://ada:", "hunter2!", "@db.example.com/app"),
        secret("DB_PASSWORD=", "correct-horse-9", ""),
        secret("{\"client_secret\": \"", "p4ssw0rd-of-4-client", "\"}"),
        secret(
            "",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
            "",
        ),
        secret(
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA",
            "",
        ),
        secret(
            "nothing says what ",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            " is",
        ),
        secret(
            "nothing says what ",
            "Zk3Jx0aQpL9vT2mWcY7rBn5sHd8gKf4e",
            " is",
        ),
        secret(
            "nothing says what ",
            "Zk3/x0aQpL9+T2mWcY7rBn5/Hd8gKf4eQw1Zu6Yo==",
            " is",
        ),
    ]
}

fn redacted(prompt: &str) -> String {
    redact(&plain(prompt), None).unwrap().request.prompt
}

#[test]
fn every_kind_of_secret_is_removed_in_every_notation() {
    for (secret, text) in canaries() {
        for prompt in [
            text.clone(),
            format!("before {text} after"),
            format!("before\n{text}\nafter"),
            format!("`{text}`, ({text})"),
            // JSON, as in the turns of a session.
            serde_json::json!([{"role": "user", "content": format!("before\n{text}\nafter\t{text}")}]).to_string(),
            serde_json::json!(serde_json::json!({"content": format!("\n{text}")}).to_string()).to_string(),
        ] {
            let result = redacted(&prompt);
            let whole = result.replace("\\n", "\n");
            assert!(!whole.contains(&secret), "{prompt:?} became {result:?}");
            // No long part of the secret may remain either.
            let middle = secret.get(secret.len() / 3..secret.len() * 2 / 3).unwrap();
            assert!(middle.len() < 6 || !result.contains(middle), "{prompt:?} became {result:?}");
            assert!(result.contains("[removed: "), "{prompt:?} became {result:?}");
        }
    }
}

#[test]
fn ordinary_text_is_not_redacted() {
    for text in [
        "",
        "No, that's wrong: churn is counted monthly, never weekly.",
        "Please fix the password reset form; the token is refreshed by the middleware.",
        "const token = await getAccessTokenFromCredentialsProvider(request);",
        "let password: String = config.password.clone();",
        "see /home/ada/projects/session-pipeline/runtime/src/sandbox/records.rs:120",
        "https://docs.example.com/guides/authentication/oauth2-authorization-code-flow",
        "session 8e2d3c4b-1f2a-4b3c-9d8e-7f6a5b4c3d2e of 2026-11-25T07:40:16.123Z",
        "claude-haiku-4-5-20251001, gpt-4o-mini-2024-07-18, toolu_01A09q90qw90lq917835lq9",
        "SELECT count(*) FROM usage_session_summary_by_project_and_month WHERE year = 2026",
        "task-force-of-the-infrastructure-department and disk-encryption-configuration-file",
        "ExponentialBackoffWithJitterAndMaximumNumberOfRetriesConfigurationBuilder",
        "1234567890123456789012345678901234567890",
        "Überprüfung der Größenänderung – 日本語のテキストもそのまま",
        "basic authentication is off; bearer tokens are on",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn no_secret_reaches_the_server() {
    for provider in PROVIDERS {
        let rig = Rig::new(provider);
        rig.server.enqueue_answer("noted");
        let texts: Vec<String> = canaries().into_iter().map(|(_, text)| text).collect();
        let request = LlmRequest {
            system: Some(texts.join("\n")),
            prompt: serde_json::json!(texts).to_string(),
            max_tokens: 10,
            json_schema: None,
        };
        rig.complete(&request).unwrap();
        let sent = rig.server.requests()[0].text.replace("\\n", "\n");
        for (secret, _) in canaries() {
            assert!(!sent.contains(&secret), "{secret}");
        }
        assert!(sent.contains("[removed: private-key]"));
    }
}

#[test]
fn a_request_that_cannot_be_redacted_is_not_sent() {
    let rig = Rig::new(Provider::Anthropic);
    let request = LlmRequest {
        json_schema: Some("{\"description\": \"AKIAIOSFODNN7EXAMPLE\"}".to_owned()),
        ..plain("Find")
    };
    let error = rig.complete(&request).unwrap_err();
    assert_eq!(error.class, LlmErrorClass::Failed);
    assert!(error.reason.contains("request not sent"), "{error}");
    assert!(!error.reason.contains("AKIA"), "{error}");
    assert_eq!(
        rig.error_class(&plain(&"x ".repeat(9 << 20))),
        (LlmErrorClass::Failed, 0)
    );
    assert_eq!(rig.store.llm_use("run-1").unwrap().calls, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 4))]

    /// Redaction is idempotent.
    #[test]
    fn invariant_redaction_is_idempotent(
        parts in prop::collection::vec(prop_oneof![
            "\\PC{0,40}",
            "[A-Za-z0-9+/=_.-]{0,60}",
            prop::sample::select(canaries()).prop_map(|(_, text)| text),
        ], 0..6),
    ) {
        let text = parts.join(" ");
        // If a secret remained, the request is rejected, which is acceptable.
        if let Ok(once) = redact(&plain(&text), None) {
            let twice = redact(&once.request, None).unwrap();
            prop_assert_eq!(twice.found, 0);
            prop_assert_eq!(twice.request, once.request);
        }
    }

    /// A secret that is separated from the surrounding text is removed.
    #[test]
    fn invariant_a_secret_is_removed_from_any_surrounding_text(
        before in "(\\PC{0,30}[ \n,;])?",
        (secret, text) in prop::sample::select(canaries()),
        after in "([ \n,;]\\PC{0,30})?",
    ) {
        if let Ok(clean) = redact(&plain(&format!("{before}{text}{after}")), None) {
            prop_assert!(!clean.request.prompt.contains(&secret));
        }
    }
}

//! Counts errors of the API by their class.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::json::{Json, JsonText, Text};
use session_pipeline_processor::transcript::{Entry, Kind};

use crate::strings::hash;

/// Number of bytes of a message that are read. The cause is at its beginning.
const BEGINNING_BYTES: usize = 512;

/// The class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorClass {
    /// The credentials are missing or rejected (401, 403).
    Authentication,
    /// The conversation does not fit into the context window.
    ContextTooLong,
    /// Any other error.
    Other,
    /// The API has too much load (529).
    Overloaded,
    /// A rate limit or a usage limit (429).
    RateLimit,
    /// The API failed (5xx).
    ServerError,
}

/// The classes in the order of their names.
const CLASSES: [(ApiErrorClass, &str); 6] = [
    (ApiErrorClass::Authentication, "authentication"),
    (ApiErrorClass::ContextTooLong, "context_too_long"),
    (ApiErrorClass::Other, "other"),
    (ApiErrorClass::Overloaded, "overloaded"),
    (ApiErrorClass::RateLimit, "rate_limit"),
    (ApiErrorClass::ServerError, "server_error"),
];

/// The errors of a transcript.
#[derive(Default, Serialize, Deserialize)]
pub struct ApiErrors {
    /// By the position in [`CLASSES`].
    counts: [u64; CLASSES.len()],
    /// Hashes of the `uuid`s of the lines. A copy in the same file is ignored.
    seen: BTreeSet<u64>,
}

impl ApiErrors {
    /// Processes an entry. The agent reports an attempt that it repeats as a system entry, and a
    /// request that it gives up as an assistant entry.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let is_retry = || {
            let subtype = entry.subtype;
            entry.kind == Kind::System && subtype.is_some_and(|subtype| subtype == "api_error")
        };
        if !entry.is_api_error && !is_retry() {
            return;
        }
        if let Some(uuid) = entry.uuid.filter(|uuid| !uuid.is_empty())
            && !self.seen.insert(hash(&*uuid.decode()))
        {
            return;
        }
        let class = ApiErrorClass::of(entry);
        let at = CLASSES.iter().position(|(known, _)| *known == class);
        if let Some(count) = at.and_then(|at| self.counts.get_mut(at)) {
            *count += 1;
        }
    }

    /// The number of errors.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of errors by class, as a JSON object without zeros.
    pub fn by_class(&self) -> Option<JsonText> {
        let counts = CLASSES.iter().zip(self.counts);
        let fields = counts.filter(|(_, count)| *count > 0);
        let fields: Vec<_> = fields
            .map(|((_, name), count)| format!("\"{name}\":{count}"))
            .collect();
        JsonText::new(format!("{{{}}}", fields.join(",")))
    }
}

impl ApiErrorClass {
    /// Classifies an error by its status, its name and its message, whichever is known.
    fn of(entry: &Entry<'_>) -> Self {
        let details = |field: &str| entry.error.and_then(|error| error.field(field));
        let status = number(entry.api_error_status).or_else(|| number(details("status")));
        let said = entry.says().texts().next();
        let formatted = || details("formatted").and_then(|text| text.text());
        let message = || details("message").and_then(|text| text.text());
        let message = said.or_else(formatted).or_else(message);
        let message = message.map(|text: Text<'_>| text.beginning(BEGINNING_BYTES));
        let message = message.unwrap_or_default().to_ascii_lowercase();
        let contains = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        if contains(&[
            "prompt is too long",
            "exceed context limit",
            "exceeds the context window",
            "request_too_large",
        ]) {
            return Self::ContextTooLong;
        }
        let status = status.or_else(|| {
            let (_, code) = message.split_once("api error: ")?;
            code.get(..3)?.parse().ok()
        });
        if let Some(class) = status.and_then(Self::of_status) {
            return class;
        }
        let name = entry.error.and_then(|error| error.text());
        if let Some(class) = name.and_then(|name| Self::of_name(&name.decode())) {
            return class;
        }
        if contains(&["overloaded"]) {
            Self::Overloaded
        } else if contains(&["rate limit", "usage limit", "session limit", "weekly limit"]) {
            Self::RateLimit
        } else if contains(&["invalid api key", "authentication", "oauth", "/login"]) {
            Self::Authentication
        } else {
            Self::Other
        }
    }

    fn of_status(status: i64) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::Authentication),
            413 => Some(Self::ContextTooLong),
            429 => Some(Self::RateLimit),
            529 => Some(Self::Overloaded),
            500..=599 => Some(Self::ServerError),
            _ => None,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        match name {
            "authentication_error"
            | "authentication_failed"
            | "cloud_credential_error"
            | "invalid_grant"
            | "oauth_org_not_allowed"
            | "permission_error" => Some(Self::Authentication),
            "overloaded" | "overloaded_error" => Some(Self::Overloaded),
            "rate_limit" | "rate_limit_error" => Some(Self::RateLimit),
            "api_error" | "server_error" | "timeout_error" => Some(Self::ServerError),
            _ => None,
        }
    }
}

/// A status, which can be written as text.
fn number(json: Option<Json<'_>>) -> Option<i64> {
    let json = json?;
    let text = || json.text()?.decode().parse().ok();
    json.s64().or_else(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &str, expected: &str) {
        let line = format!(r#"{{"type":"assistant","isApiErrorMessage":true,{fields}}}"#);
        let mut errors = ApiErrors::default();
        errors.add(&Entry::parse(&line).unwrap());
        let expected = format!(r#"{{"{expected}":1}}"#);
        assert_eq!(errors.by_class().unwrap().raw(), expected, "{line}");
    }

    #[test]
    fn status_name_and_message_determine_the_class() {
        check(r#""apiErrorStatus":429"#, "rate_limit");
        check(
            r#""apiErrorStatus":"529","error":"server_error""#,
            "overloaded",
        );
        check(r#""apiErrorStatus":503"#, "server_error");
        check(r#""apiErrorStatus":401"#, "authentication");
        check(r#""apiErrorStatus":404,"error":"model_not_found""#, "other");
        check(r#""error":"rate_limit""#, "rate_limit");
        check(r#""error":"server_error""#, "server_error");
        check(r#""error":"authentication_failed""#, "authentication");
        check(r#""error":"unknown""#, "other");
        check(r#""error":{"status":500}"#, "server_error");
        check(r#""error":{}"#, "other");
        let text =
            |text: &str| format!(r#""message":{{"content":[{{"type":"text","text":"{text}"}}]}}"#);
        for (message, expected) in [
            ("Prompt is too long", "context_too_long"),
            ("API Error: 529 {}", "overloaded"),
            ("API Error: 500 Internal server error", "server_error"),
            ("API Error: Overloaded", "overloaded"),
            ("Claude AI usage limit reached|1", "rate_limit"),
            ("You've hit your session limit", "rate_limit"),
            ("Invalid API key · Please run /login", "authentication"),
            ("API Error: é", "other"),
            ("", "other"),
        ] {
            check(&text(message), expected);
        }
        let both = format!(
            r#""apiErrorStatus":400,{}"#,
            text("API Error: 400 prompt is too long: 9")
        );
        check(&both, "context_too_long");
    }

    #[test]
    fn attempts_and_final_errors_count_once_each() {
        let mut errors = ApiErrors::default();
        for line in [
            r#"{"type":"system","subtype":"api_error","uuid":"1","error":{"status":529}}"#,
            r#"{"type":"system","subtype":"api_error","uuid":"2","error":{"status":529}}"#,
            r#"{"type":"system","subtype":"api_error","uuid":"2","error":{"status":529}}"#,
            r#"{"type":"assistant","isApiErrorMessage":true,"uuid":"3","apiErrorStatus":500}"#,
            r#"{"type":"assistant","isApiErrorMessage":true,"apiErrorStatus":500}"#,
            r#"{"type":"assistant","isApiErrorMessage":false,"uuid":"4"}"#,
            r#"{"type":"system","subtype":"turn_duration","uuid":"5"}"#,
        ] {
            errors.add(&Entry::parse(line).unwrap());
        }
        assert_eq!(errors.count(), 4);
        let by_class = errors.by_class().unwrap();
        assert_eq!(by_class.raw(), r#"{"overloaded":2,"server_error":2}"#);
        let none = ApiErrors::default();
        assert_eq!((none.count(), none.by_class().unwrap().raw()), (0, "{}"));
    }
}

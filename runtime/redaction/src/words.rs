//! Word lists that decide whether a name refers to a secret and whether a value is one.

/// How strongly a name indicates that its value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// `token`, `auth`: often followed by something else.
    Weak,
    /// `secret`, `api_key`.
    Medium,
    /// `password`.
    Strong,
}

/// Suffixes that do not change the meaning of a name, as in `PASSWORD_PROD`.
const SUFFIXES: &[&str] = &[
    "value",
    "val",
    "str",
    "text",
    "plain",
    "plaintext",
    "cleartext",
    "clear",
    "b64",
    "base64",
    "raw",
    "current",
    "old",
    "new",
    "prod",
    "production",
    "dev",
    "test",
    "staging",
    "stage",
    "live",
    "sandbox",
    "default",
    "main",
    "primary",
    "secondary",
    "backup",
    "local",
    "admin",
    "root",
    "user",
    "db",
    "again",
    "confirm",
    "confirmation",
    "env",
];

const STRONG: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "pass",
    "pwd",
    "pw",
    "psw",
    "pswd",
    "pword",
    "passwrd",
    "passwords",
    "kennwort",
    "motdepasse",
    "contrasena",
    "senha",
    "pgpassword",
    "sshpass",
    "userpass",
    "rootpass",
];

const MEDIUM: &[&str] = &[
    "secret",
    "secrets",
    "credential",
    "credentials",
    "creds",
    "cred",
    "apikey",
    "appsecret",
];

const WEAK: &[&str] = &[
    "token",
    "auth",
    "authorization",
    "pat",
    "sid",
    "jwt",
    "bearer",
    "otp",
    "totp",
    "pin",
    "seed",
    "mnemonic",
];

/// Words before `key` in the name of a secret key.
const KEYS: &[&str] = &[
    "api",
    "access",
    "private",
    "secret",
    "auth",
    "account",
    "encryption",
    "encrypt",
    "signing",
    "sign",
    "master",
    "license",
    "storage",
    "service",
    "subscription",
    "instrumentation",
    "shared",
    "app",
    "application",
    "consumer",
    "client",
    "session",
    "admin",
    "root",
    "server",
    "deploy",
    "deployment",
    "webhook",
    "integration",
    "management",
    "functions",
    "function",
    "host",
    "write",
    "read",
    "ingest",
    "user",
    "functional",
    "setup",
    "otp",
    "totp",
    "mfa",
    "2fa",
    "authenticator",
    "hmac",
    "aes",
    "jwt",
    "cookie",
    "data",
    "connection",
    "routing",
    "security",
    "authentication",
    "authorization",
];

/// Words that mark a name as public.
const PUBLIC: &[&str] = &[
    "public",
    "forgot",
    "reset",
    "no",
    "has",
    "is",
    "min",
    "max",
    "show",
    "hide",
    "toggle",
    "next",
    "page",
    "csrf",
    "xsrf",
    "cancellation",
    "cancel",
    "continuation",
    "error",
    "invalid",
    "missing",
    "require",
    "requires",
    "required",
    "enable",
    "use",
];

/// Endings of names that are written as one word, such as `dbpassword`.
const ENDINGS: &[(&str, Strength)] = &[
    ("password", Strength::Strong),
    ("passwd", Strength::Strong),
    ("passphrase", Strength::Strong),
    ("pwd", Strength::Strong),
    ("passwort", Strength::Strong),
    ("pass", Strength::Strong),
    ("secret", Strength::Medium),
    ("apikey", Strength::Medium),
    ("accesskey", Strength::Medium),
    ("secretkey", Strength::Medium),
    ("privatekey", Strength::Medium),
    ("accountkey", Strength::Medium),
    ("authkey", Strength::Medium),
    ("token", Strength::Weak),
];

/// Words with such an ending that are not names of secrets.
const OTHERS: &[&str] = &[
    "bypass",
    "compass",
    "encompass",
    "trespass",
    "overpass",
    "underpass",
    "surpass",
    "multipass",
    "onepass",
];

/// Splits a name at punctuation and camel-case humps into lower-case words.
pub(super) fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = name.chars().peekable();
    let mut last: Option<char> = None;
    while let Some(letter) = chars.next() {
        let begins = match last {
            Some(last) if letter.is_ascii_uppercase() => {
                last.is_ascii_lowercase()
                    || last.is_ascii_uppercase()
                        && chars.peek().is_some_and(char::is_ascii_lowercase)
                    || last.is_ascii_digit()
            }
            _ => false,
        };
        if (begins || !letter.is_ascii_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_ascii_alphanumeric() {
            word.push(letter.to_ascii_lowercase());
        }
        last = Some(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// How strongly a name indicates a secret. `None` if it does not.
pub(super) fn strength(name: &str) -> Option<Strength> {
    let mut words = words_of(name);
    while words.len() > 1 {
        let last = words.last()?;
        if !SUFFIXES.contains(&last.as_str()) && !last.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        words.pop();
    }
    let (last, before) = words.split_last()?;
    if before.iter().any(|word| PUBLIC.contains(&word.as_str())) {
        return None;
    }
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    if last == "key" {
        let word = before.last()?;
        return KEYS.contains(&word.as_str()).then_some(Strength::Medium);
    }
    // `pass phrase`, `pass_word`.
    if matches!(last, "word" | "phrase" | "code")
        && before
            .last()
            .is_some_and(|word| word == "pass" || word == "seed")
    {
        return Some(Strength::Strong);
    }
    let of = [
        (STRONG, Strength::Strong),
        (MEDIUM, Strength::Medium),
        (WEAK, Strength::Weak),
    ];
    let known = of.iter().find(|(words, _)| words.contains(&last));
    known.map(|(_, strength)| *strength).or_else(|| {
        let ending = ENDINGS.iter().find(|(ending, _)| last.ends_with(ending));
        ending
            .filter(|_| !OTHERS.contains(&last))
            .map(|(_, strength)| *strength)
    })
}

/// Whether a text contains the name of a secret, as labels and variables do.
pub(super) fn names_a_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "passphrase",
        "passwort",
        "pwd",
        "secret",
        "token",
        "credential",
        "api_key",
        "apikey",
        "api-key",
        "api key",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// Words that often follow the name of a secret but are not secrets.
pub(super) fn is_common(word: &str) -> bool {
    let word = word
        .trim_matches(|c: char| !c.is_alphanumeric())
        .to_ascii_lowercase();
    let ends = ["ed", "ing", "able", "ible", "ory", "ly", "tion", "ment"];
    word.chars().count() < 2
        || COMMON.contains(&word.as_str())
        || word.len() >= 6
            && word.bytes().all(|byte| byte.is_ascii_lowercase())
            && ends.iter().any(|end| word.ends_with(end))
}

const COMMON: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "all",
    "already",
    "also",
    "always",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "auto",
    "back",
    "bad",
    "base",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "best",
    "better",
    "between",
    "blank",
    "bool",
    "boolean",
    "both",
    "but",
    "by",
    "byte",
    "bytes",
    "can",
    "cannot",
    "char",
    "check",
    "clear",
    "code",
    "com",
    "const",
    "content",
    "correct",
    "could",
    "current",
    "data",
    "date",
    "default",
    "different",
    "direct",
    "disabled",
    "do",
    "does",
    "done",
    "down",
    "each",
    "else",
    "email",
    "empty",
    "enabled",
    "end",
    "enter",
    "env",
    "error",
    "errors",
    "every",
    "exact",
    "expired",
    "fail",
    "failed",
    "false",
    "field",
    "file",
    "fine",
    "first",
    "flag",
    "float",
    "for",
    "form",
    "found",
    "from",
    "function",
    "get",
    "give",
    "given",
    "go",
    "good",
    "had",
    "handling",
    "has",
    "hash",
    "have",
    "here",
    "hidden",
    "how",
    "id",
    "if",
    "in",
    "incorrect",
    "info",
    "input",
    "instead",
    "int",
    "integer",
    "invalid",
    "is",
    "issue",
    "it",
    "its",
    "json",
    "just",
    "key",
    "last",
    "left",
    "len",
    "length",
    "less",
    "let",
    "like",
    "list",
    "local",
    "login",
    "long",
    "make",
    "match",
    "may",
    "me",
    "message",
    "method",
    "missing",
    "model",
    "more",
    "most",
    "must",
    "my",
    "n/a",
    "na",
    "name",
    "never",
    "new",
    "next",
    "nil",
    "no",
    "none",
    "normal",
    "not",
    "nothing",
    "now",
    "null",
    "nullptr",
    "number",
    "object",
    "of",
    "off",
    "ok",
    "okay",
    "old",
    "on",
    "once",
    "one",
    "only",
    "open",
    "option",
    "optional",
    "or",
    "other",
    "our",
    "out",
    "over",
    "pass",
    "pending",
    "per",
    "plain",
    "please",
    "private",
    "prompt",
    "public",
    "random",
    "read",
    "ready",
    "request",
    "required",
    "reset",
    "result",
    "right",
    "root",
    "safe",
    "same",
    "save",
    "see",
    "self",
    "server",
    "set",
    "short",
    "should",
    "show",
    "simple",
    "skip",
    "so",
    "some",
    "still",
    "str",
    "string",
    "strong",
    "super",
    "sure",
    "test",
    "tests",
    "text",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "todo",
    "too",
    "true",
    "try",
    "two",
    "type",
    "undefined",
    "unknown",
    "unset",
    "until",
    "up",
    "update",
    "us",
    "use",
    "used",
    "user",
    "username",
    "uses",
    "using",
    "valid",
    "value",
    "values",
    "var",
    "very",
    "via",
    "void",
    "wait",
    "warning",
    "was",
    "we",
    "weak",
    "well",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "why",
    "will",
    "with",
    "within",
    "without",
    "works",
    "would",
    "write",
    "wrong",
    "yes",
    "yet",
    "you",
    "your",
    "zero",
    "i64",
    "u64",
    "i32",
    "u32",
    "u8",
    "f64",
    "usize",
    "varchar",
    "uuid",
    "await",
    "async",
    "return",
    "import",
    "export",
    "class",
    "def",
    "new",
    "super",
    "state",
    "props",
    "args",
    "kwargs",
    "config",
    "options",
    "params",
    "req",
    "res",
    "ctx",
    "context",
    "event",
    "secretstr",
    "vec",
    "cow",
    "arc",
    "rc",
    "box",
    "some",
    "err",
    "any",
    "readonly",
];

/// Whether a value is a placeholder, such as `<password>`, `$PASSWORD` or `********`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let inner = |start: &str, end: &str| {
        value
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-. :/|?!@>".contains(&byte))
    };
    // A generated value can contain brackets anywhere, but rarely around a word of letters.
    let is_word = |name: &str| {
        name.len() >= 2
            && is_name(name)
            && !name.bytes().any(|byte| byte.is_ascii_digit())
            && !has_humps(name)
    };
    let is_variable = |name: &str| {
        let starts = name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let upper = name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        let lower = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.');
        starts && name.len() >= 2 && (upper && name.len() >= 3 || lower || names_a_secret(name))
    };
    let distinct = value
        .chars()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let letters: String = value.to_ascii_lowercase();
    distinct == 1
        || value.chars().all(|c| !c.is_alphanumeric()) && distinct <= 2
        || value.contains("****")
        || letters.contains("xxx")
        || letters.contains("your_")
        || value.contains("••")
        || value.contains('…')
        || value.ends_with("...")
        || letters
            .trim_matches(|c: char| !c.is_ascii_alphanumeric())
            .bytes()
            .all(|byte| byte == b'x')
        || inner("${", "}").is_some_and(is_name)
        || value.starts_with("${{")
        || inner("{{", "}}").is_some()
        || value.starts_with("{{")
        || inner("$(", ")").is_some_and(|inner| inner.contains(' ') || is_word(inner))
        || value.starts_with("$(") && !value.ends_with(')')
        || inner("{", "}").is_some_and(|name| name.is_empty() || is_word(name))
        || inner("<", ">").is_some_and(is_word)
        || inner("[", "]").is_some_and(is_word)
        || inner("(", ")").is_some_and(is_word)
        || inner("%", "%").is_some_and(is_variable)
        || inner("@", "@").is_some_and(is_variable)
        || value.strip_prefix("$env:").is_some()
        || value.strip_prefix('$').is_some_and(is_variable)
        || value.strip_prefix("\\$").is_some_and(is_variable)
        || [
            "your-",
            "your_",
            "your ",
            "my-",
            "<your",
            "insert",
            "enter ",
            "todo",
            "redacted",
            "[redacted",
            "<redacted",
            "[hidden",
            "(hidden",
            "[masked",
            "[filtered",
            "env(",
            "vault:",
            "secret://",
            "op://",
            "ref+",
        ]
        .iter()
        .any(|start| letters.starts_with(start) && letters.len() < 64)
}

/// Whether lower and upper case are mixed, which no word does.
fn has_humps(text: &str) -> bool {
    let has_lower = text.bytes().any(|byte| byte.is_ascii_lowercase());
    let has_upper = text.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    has_lower && has_upper
}

/// Whether a value looks like code: a call, a field, a path of names.
pub(super) fn is_code(value: &str) -> bool {
    let value = value
        .trim_start_matches(['&', '*', '!', '@'])
        .trim_start_matches("mut ");
    let name = value
        .bytes()
        .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        .count();
    let (Some(first), Some(rest)) = (value.get(..name), value.get(name..)) else {
        return false;
    };
    if rest.is_empty() {
        return false;
    }
    let is_word = is_word_like(first);
    let code_bytes = |text: &str| {
        let odd = text
            .bytes()
            .filter(|byte| {
                !byte.is_ascii_alphanumeric() && !b"_.()[]<>{}:?&,;!'\"=$ |".contains(byte)
            })
            .count();
        odd == 0
    };
    let continues = rest.starts_with("::") || rest.starts_with("->") || rest.starts_with("?.");
    if continues {
        return true;
    }
    // `name.name`, `name(…`, `name[…`, `Name<Name>`: another name or the end follows the
    // punctuation.
    let Some(mark) = rest
        .chars()
        .next()
        .filter(|mark| matches!(mark, '.' | '(' | '[' | '<'))
    else {
        return false;
    };
    let behind = rest.get(mark.len_utf8()..).unwrap_or_default();
    let next = behind
        .bytes()
        .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        .count();
    let follows = behind.get(next..).unwrap_or_default();
    if name == 1 {
        return mark == '.' && next >= 3 && follows.starts_with('(');
    }
    let next_is_word = behind
        .get(..next)
        .is_some_and(|next| next.len() >= 2 && is_word_like(next))
        && !follows.starts_with(|c: char| c.is_ascii_digit())
        || behind.is_empty()
        || behind.starts_with([')', '"', '\'', ']', '&', '/', '$', '{']) && rest.len() <= 3;
    is_word && code_bytes(rest) && next_is_word && (name >= 3 || mark == '.')
}

/// Whether letters look like a word or a name of words: vowels, and humps only where words begin.
pub(super) fn is_word_like(text: &str) -> bool {
    let words = words_of(text);
    !words.is_empty()
        && words.iter().all(|word| {
            let vowels = word.bytes().filter(|byte| b"aeiouy".contains(byte)).count();
            word.bytes().all(|byte| byte.is_ascii_alphabetic())
                && (word.len() >= 2 || words.len() == 1)
                && (word.len() <= 3 || vowels * 6 >= word.len())
        })
}

/// Whether a text contains digits, punctuation or humps that no word has.
pub(super) fn is_odd(value: &str) -> bool {
    let inner = value.trim_matches(|c: char| {
        matches!(
            c,
            '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | ')' | '('
        )
    });
    let has_digit = inner.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = inner.chars().any(char::is_alphabetic);
    let marks = inner
        .chars()
        .filter(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | '/' | '\'' | '’' | ':'))
        .count();
    let is_mixed = [has_digit, has_letter, marks > 0]
        .into_iter()
        .filter(|has| *has)
        .count()
        > 1;
    is_mixed
        || !is_word_like(inner)
            && has_letter
            && inner.is_ascii()
            && !inner.contains(['-', '_', '/', '.'])
        || has_humps(inner) && !inner.contains(['-', '_', '/', '.']) && inner.len() < 10
}

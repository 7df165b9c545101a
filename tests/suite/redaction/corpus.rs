//! A corpus of forms in which secrets occur. The secrets are generated.

/// A small random number generator. The same seed produces the same corpus.
pub struct Random(u64);

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const MARKS: &str = "$,;()<>{}[]!#%&*+-./:=?@^_|~";

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn one_of<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }

    pub fn of(&mut self, letters: &str, count: usize) -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..count)
            .map(|_| letters[self.below(letters.len())])
            .collect()
    }

    pub fn word(&mut self, min: usize, max: usize) -> String {
        let count = min + self.below(max - min + 1);
        self.of(&format!("{LOWER}{UPPER}{DIGITS}"), count)
    }

    /// A word of letters and digits, with at least one of each.
    fn mixed(&mut self, min: usize, max: usize) -> String {
        loop {
            let word = self.word(min, max);
            let has = |test: fn(&char) -> bool| word.chars().any(|c| test(&c));
            if has(char::is_ascii_digit) && has(char::is_ascii_alphabetic) {
                return word;
            }
        }
    }

    /// A typical password: letters, digits and a punctuation mark.
    fn password(&mut self) -> String {
        let mut word = self.mixed(6, 14);
        let mark = self.of("!#%*+-.?@^_~", 1);
        let at = 1 + self.below(word.len() - 1);
        word.insert_str(at, &mark);
        word
    }

    /// A word with one to three of the marks. Most formats end a value at such a mark.
    fn with_mark(&mut self, marks: &str) -> String {
        let mut word = self.mixed(7, 12);
        for _ in 0..1 + self.below(3) {
            let mark = self.of(marks, 1);
            let at = 1 + self.below(word.len() - 2);
            word.insert_str(at, &mark);
        }
        word
    }

    fn hex(&mut self, count: usize) -> String {
        self.of("0123456789abcdef", count)
    }

    fn base64(&mut self, count: usize) -> String {
        self.of(&format!("{LOWER}{UPPER}{DIGITS}+/"), count)
    }

    fn base32(&mut self, count: usize) -> String {
        self.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", count)
    }

    fn uuid(&mut self) -> String {
        let parts = [8, 4, 4, 4, 12].map(|count| self.hex(count));
        parts.join("-")
    }
}

/// A text with a secret.
pub struct Case {
    /// The secret, or its parts. No part may be left in the redacted text.
    pub secrets: Vec<String>,
    pub text: String,
}

fn case(secret: &str, text: String) -> Case {
    Case {
        secrets: vec![secret.to_owned()],
        text,
    }
}

/// A form in which a secret occurs. `case` generates a text.
pub struct Form {
    pub group: &'static str,
    pub name: &'static str,
    pub case: fn(&mut Random) -> Case,
}

macro_rules! forms {
    ($($group:literal $name:literal: |$random:ident| $make:expr;)*) => {
        &[$(Form {
            group: $group,
            name: $name,
            case: |$random| {
                let (secret, text): (String, String) = $make;
                case(&secret, text)
            },
        }),*]
    };
}

macro_rules! put {
    ($secret:expr, $text:literal $(, $more:expr)*) => {{
        let secret = $secret;
        let text = format!($text, $($more,)* s = secret);
        (secret, text)
    }};
}

fn base64_of(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bytes = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ];
        let whole = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        for index in 0..4 {
            match index <= chunk.len() {
                true => out.push(LETTERS[(whole >> (18 - 6 * index) & 63) as usize] as char),
                false => out.push('='),
            }
        }
    }
    out
}

fn token(random: &mut Random) -> String {
    let (prefix, count) = *[
        ("ghp_", 36),
        ("glpat-", 20),
        ("npm_", 36),
        ("hf_", 34),
        ("xoxb-123456789012-", 24),
        ("AKIA", 0),
        ("dop_v1_", 0),
    ]
    .get(random.below(7))
    .unwrap();
    let rest = match prefix {
        "AKIA" => random.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
        "dop_v1_" => random.hex(64),
        _ => random.word(count, count),
    };
    format!("{prefix}{rest}")
}

/// A token that is split at a random position. The secrets are the two parts.
fn broken(random: &mut Random, by: &str, before: &str, after: &str) -> Case {
    let token = token(random);
    let at = 5 + random.below(token.len() - 8);
    let (head, tail) = token.split_at(at);
    Case {
        // A short part could also occur elsewhere in the text.
        secrets: [head, tail]
            .into_iter()
            .filter(|piece| piece.len() > 7)
            .map(str::to_owned)
            .collect(),
        text: format!("{before}{head}{by}{tail}{after}"),
    }
}

fn escaped(random: &mut Random) -> Case {
    let token = token(random);
    let at = 5 + random.below(token.len() - 8);
    let letter = token.as_bytes()[at];
    let code = match random.below(5) {
        0 => format!("\\u{letter:04x}"),
        1 => format!("\\u{letter:04X}"),
        2 => format!("\\x{letter:02x}"),
        3 => format!("\\\\u{letter:04x}"),
        _ => format!("\\u{{{letter:x}}}"),
    };
    let (head, tail) = (&token[..at], &token[at + 1..]);
    Case {
        secrets: [head, tail]
            .into_iter()
            .filter(|piece| piece.len() > 7)
            .map(str::to_owned)
            .collect(),
        text: format!("{{\"text\": \"use {head}{code}{tail} here\"}}"),
    }
}

const ZERO_WIDTH: &[&str] = &[
    "\u{200b}", "\u{200c}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{ad}", "\\u200b", "\\u200d",
    "\\ufeff",
];
const CONTINUED: &[&str] = &["\\\n", "\\\r\n", "\\\\\\n", "\\\n    ", "`\n", "^\n"];

/// Forms with several secrets, or with secrets that are split. `docs/llm.md` reports the groups.
pub const FORMS: &[Form] = &[
    Form {
        group: "broken secrets",
        name: "escape",
        case: escaped,
    },
    Form {
        group: "broken secrets",
        name: "zero-width",
        case: |random| {
            let by = random.one_of(ZERO_WIDTH);
            broken(random, by, "the key ", " is old")
        },
    },
    Form {
        group: "broken secrets",
        name: "line continuation",
        case: |random| {
            let by = random.one_of(CONTINUED);
            broken(random, by, "export GH=", "\nls")
        },
    },
    Form {
        group: "broken secrets",
        name: "password with zero-width",
        case: |random| {
            let secret = random.mixed(8, 12);
            let by = random.one_of(ZERO_WIDTH);
            let (head, tail) = secret.split_at(4);
            Case {
                secrets: vec![tail.to_owned()],
                text: format!("password={head}{by}{tail}\n"),
            }
        },
    },
    Form {
        group: "private keys",
        name: "PEM",
        case: |random| {
            let lines: Vec<String> = (0..5).map(|_| random.base64(64)).collect();
            let kind = random.one_of(&["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "]);
            Case {
                text: format!(
                    "key:\n-----BEGIN {kind}PRIVATE KEY-----\n{}\n-----END {kind}PRIVATE KEY-----\nthen",
                    lines.join("\n")
                ),
                secrets: lines,
            }
        },
    },
    Form {
        group: "private keys",
        name: "PEM in JSON",
        case: |random| {
            let lines: Vec<String> = (0..5).map(|_| random.base64(64)).collect();
            Case {
                text: format!(
                    "{{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n\"}}",
                    lines.join("\\n")
                ),
                secrets: lines,
            }
        },
    },
    Form {
        group: "private keys",
        name: "cut at its end",
        case: |random| {
            let lines: Vec<String> = (0..4).map(|_| random.base64(64)).collect();
            let last = random.base64(23);
            Case {
                text: format!(
                    "-----BEGIN RSA PRIVATE KEY-----\n{}\n{last}",
                    lines.join("\n")
                ),
                secrets: lines.into_iter().chain([last]).collect(),
            }
        },
    },
    Form {
        group: "private keys",
        name: "cut at its beginning",
        case: |random| {
            let lines: Vec<String> = (0..4).map(|_| random.base64(64)).collect();
            Case {
                text: format!("{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n")),
                secrets: lines,
            }
        },
    },
    Form {
        group: "private keys",
        name: "PuTTY",
        case: |random| {
            let lines: Vec<String> = (0..3).map(|_| random.base64(64)).collect();
            let mac = random.hex(40);
            Case {
                text: format!(
                    "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nPrivate-Lines: 3\n{}\nPrivate-MAC: {mac}\n",
                    lines.join("\n")
                ),
                secrets: lines.into_iter().chain([mac]).collect(),
            }
        },
    },
    Form {
        group: "cookies",
        name: "Cookie",
        case: |random| {
            let values = [random.word(8, 20), random.word(6, 12)];
            Case {
                text: format!("Cookie: sid={}; theme={}\n", values[0], values[1]),
                secrets: values.into(),
            }
        },
    },
];

/// Forms with one secret.
pub const SIMPLE: &[Form] = forms! {
    "values with marks" "one of $,;()<>{}[]": |random| put!(random.with_mark("$,;()<>{}[]"), "DB_PASSWORD={s}\n");
    "values with marks" "YAML": |random| put!(random.with_mark("$,;()<>{}[]"), "  password: {s}\n  host: db\n");
    "values with marks" "single quotes": |random| put!(random.with_mark(MARKS), "password = '{s}'\n");
    "values with marks" "JSON": |random| put!(random.with_mark(MARKS), "{{\"user\": \"ada\", \"password\": \"{s}\"}}");
    "values with marks" "JSON in JSON": |random| put!(random.with_mark(MARKS), r#"{{"content": "{{\"password\": \"{s}\"}}"}}"#);
    "values with marks" "quoted with spaces": |random| put!(format!("{} {}", random.mixed(4, 7), random.mixed(4, 7)), "password=\"{s}\"\n");
    "values with marks" "unquoted with spaces": |random| put!(format!("{} {}", random.mixed(4, 7), random.mixed(4, 7)), "password = {s}\nhost = x");
    "values with marks" "passphrase of words": |random| put!(format!("{} {} {} {}", random.one_of(&["correct", "purple", "silent"]), random.one_of(&["horse", "monkey", "river"]), random.one_of(&["battery", "piano", "candle"]), random.one_of(&["staple", "anchor", "violet"])), "passphrase: \"{s}\"");
    "short values" "4 to 7 characters, env": |random| put!(random.word(4, 7), "DB_PASS={s}\n");
    "short values" "4 to 7 characters, quoted": |random| put!(random.word(4, 7), "password: \"{s}\"");
    "short values" "4 to 7 characters, INI": |random| put!(random.mixed(4, 7), "password = {s}\n");
    "short values" "4 to 7 digits": |random| put!({ let count = 4 + random.below(4); random.of(DIGITS, count) }, "password: {s}\n");
    "names" "DB_PASS": |random| put!(random.password(), "DB_PASS={s}\n");
    "names" "SMTP_PASS": |random| put!(random.password(), "SMTP_PASS={s}\n");
    "names" "pass=": |random| put!(random.password(), "host=db user=ada pass={s} port=5");
    "names" "any case, prefix and suffix": |random| {
        let name = random.one_of(&["smtpPassword", "DbPassword", "MYSQL_ROOT_PASSWORD", "PGPASSWORD", "client_secret", "clientSecret", "ADMIN_PWD", "db.password", "spring.datasource.password", "redis-password", "PASSWORD_PROD", "JWT_SECRET", "SECRET_KEY", "userPassword", "dbpassword", "app_pw", "passwd", "Passphrase", "db_passwd"]);
        let separator = random.one_of(&["=", ": ", " = ", ":", " := ", "=\"", ": '", " => \""]);
        put!(random.password(), "{}{}{s}", name, separator)
    };
    "names" "JSON keys": |random| {
        let name = random.one_of(&["api-key", "X-Api-Key", "apiKey", "access_token", "refreshToken", "auth_token", "AccountKey", "secretAccessKey", "private_key_id_secret", "webhookSecret"]);
        put!(random.mixed(16, 24), "{{\"{}\": \"{s}\"}}", name)
    };
    "names" "AWS secret": |random| put!(random.base64(40), "AWS_SECRET_ACCESS_KEY={s}\n");
    "names" "headers": |random| { let name = random.one_of(&["X-Api-Key", "x-auth-token", "X-Vault-Token", "PRIVATE-TOKEN", "Api-Key"]); put!(random.mixed(16, 30), "{}: {s}\r\nAccept: */*", name) };
    "names" "assignments in code": |random| { let name = random.one_of(&["const password = ", "let dbPassword: &str = ", "String password = ", "password := ", "self.password = ", "password: str = ", "$password = ", "var secret = "]); put!(random.password(), "{}\"{s}\";", name) };
    "names" "arguments in code": |random| { let call = random.one_of(&["connect(host, password=", "setPassword(", "os.environ['DB_PASS'] = ", "define('DB_PASSWORD', ", "put(\"password\", ", "Some_password(", "config[\"password\"] = "]); put!(random.password(), "{}\"{s}\")", call) };
    "names" "Kubernetes": |random| put!(random.password(), "- name: DB_PASSWORD\n  value: \"{s}\"\n");
    "names" "Dockerfile": |random| put!(random.password(), "ENV DB_PASSWORD {s}\n");
    "names" "docker -e": |random| put!(random.password(), "docker run -e MYSQL_ROOT_PASSWORD={s} mysql");
    "names" "PowerShell": |random| { let form = random.one_of(&["$env:DB_PASSWORD = ", "ConvertTo-SecureString ", "$Password = "]); put!(random.password(), "{}'{s}'", form) };
    "names" "Markdown": |random| { let form = random.one_of(&["**Password:** ", "- Password: `", "| password | "]); put!(random.password(), "{}{s}` |", form) };
    "command lines" "--password": |random| put!(random.password(), "tool --password {s} --host x");
    "command lines" "--password=": |random| put!(random.password(), "tool --password={s} --host x");
    "command lines" "--password, quoted": |random| put!(random.with_mark(MARKS), "tool --db-password '{s}' --host x");
    "command lines" "--token": |random| put!(random.mixed(12, 30), "tool --api-token {s}");
    "command lines" "mysql -p": |random| put!(random.password(), "mysql -u root -p{s} shop");
    "command lines" "mysqldump -p, quoted": |random| put!(random.with_mark(MARKS), "mysqldump -h db -u root -p'{s}' shop > x");
    "command lines" "sshpass -p": |random| put!(random.password(), "sshpass -p {s} ssh ada@host");
    "command lines" "sshpass -p, quoted": |random| put!(random.with_mark(MARKS), "sshpass -p \"{s}\" ssh ada@host");
    "command lines" "7z -p": |random| put!(random.password(), "7z a -p{s} out.7z dir");
    "command lines" "curl -u": |random| put!(random.password(), "curl -s -u ada:{s} https://x.example/");
    "command lines" "curl --user, quoted": |random| put!(random.with_mark(MARKS), "curl --user 'ada:{s}' https://x.example/");
    "command lines" "httpie": |random| put!(random.password(), "http -a ada:{s} GET x.example");
    "command lines" "redis-cli, sqlcmd, docker": |random| { let form = random.one_of(&["redis-cli -h x -a ", "sqlcmd -S x -U sa -P ", "docker login -u ada -p ", "ldapsearch -D cn=x -w ", "ssh-keygen -t rsa -N ", "openssl enc -k ", "keytool -list -storepass "]); put!(random.password(), "{}{s} ", form) };
    "command lines" "PowerShell -Password": |random| put!(random.password(), "New-User -Name ada -Password {s}");
    "command lines" "piped": |random| put!(random.password(), "echo {s} | sudo -S ls");
    "files" ".netrc": |random| put!(random.password(), "machine api.example.com login ada password {s}\n");
    "files" ".netrc, lines": |random| put!(random.password(), "machine api.example.com\n  login ada\n  password {s}\n");
    "files" ".pgpass": |random| put!(random.password().replace(':', "x"), "db.example.com:5432:shop:ada:{s}\n");
    "files" "htpasswd": |random| put!(format!("$apr1${}${}", random.word(8, 8), random.word(22, 22)), "ada:{s}\n");
    "files" "shadow": |random| put!(format!("$6${}${}", random.word(12, 12), random.word(86, 86)), "root:{s}:19000:0:99999:7:::\n");
    "files" "XML": |random| { let tag = random.one_of(&["password", "Password", "db-password", "ns:password", "apiSecret"]); put!(random.password(), "<{0}>{s}</{0}>", tag) };
    "files" "XML attribute": |random| put!(random.password(), "<user name=\"ada\" password=\"{s}\"/>");
    "files" "XML pair": |random| { let form = random.one_of(&["<property name=\"password\" value=\"", "<add key=\"DbPassword\" value=\""]); put!(random.password(), "{}{s}\"/>", form) };
    "files" "plist": |random| put!(random.password(), "<key>Password</key>\n<string>{s}</string>");
    "files" "SQL": |random| { let form = random.one_of(&["CREATE USER ada IDENTIFIED BY ", "ALTER USER ada WITH PASSWORD ", "ALTER ROLE ada PASSWORD ", "SET PASSWORD = ", "create user x identified with mysql_native_password by ", "CREATE LOGIN x WITH PASSWORD = "]); put!(random.with_mark(MARKS), "{}'{s}';", form) };
    "addresses" "password": |random| { let scheme = random.one_of(&["postgres", "mysql", "mongodb+srv", "redis", "https", "amqp", "ftp", "smb"]); put!(random.password().replace(['@', '#', '?'], "x"), "{}://ada:{s}@db.example.com:5/x", scheme) };
    "addresses" "password with /": |random| put!(format!("{}/{}", random.mixed(4, 8), random.word(4, 8)), "postgres://ada:{s}@db.example.com/x");
    "addresses" "no user": |random| put!(random.mixed(8, 12), "redis://:{s}@cache:6379/0");
    "addresses" "token as user": |random| put!(random.mixed(20, 40), "git clone https://{s}@git.example.com/x.git");
    "addresses" "token as user, x-oauth-basic": |random| put!(random.mixed(20, 40), "https://{s}:x-oauth-basic@github.com/x.git");
    "addresses" "ADO": |random| { let name = random.one_of(&["Password", "Pwd", "password"]); put!(random.password().replace('=', "x"), "Server=db;User Id=ada;{}={s};Database=shop;", name) };
    "addresses" "JDBC": |random| put!(random.password().replace('=', "x"), "jdbc:mysql://db/shop?user=ada&password={s}&useSSL=false");
    "addresses" "query": |random| { let name = random.one_of(&["api_key", "access_token", "apikey", "token", "client_secret"]); put!(random.mixed(16, 30), "GET https://x.example/a?{}={s}&page=2", name) };
    "prose" "the password is": |random| { let form = random.one_of(&["the password is ", "Password is: ", "our password for the staging db is ", "the passphrase was ", "set the password to ", "pw is ", "my password (old one) is "]); put!(random.password(), "{}{s}, try it", form) };
    "prose" "pw:": |random| { let form = random.one_of(&["pw: ", "passphrase: ", "Password: ", "pwd: ", "user ada, password: "]); put!(random.password(), "log in with {}{s}", form) };
    "prose" "quoted": |random| { let form = random.one_of(&["the password is ", "use the password ", "change the password to ", "password: "]); put!(random.word(6, 10), "{}`{s}` please", form) };
    "prose" "short": |random| put!(random.mixed(4, 7), "the password is {s}.");
    "prose" "plain word": |random| put!(random.of(LOWER, 8), "password is {s}");
    "headers" "Bearer": |random| put!(random.mixed(20, 40), "Authorization: Bearer {s}");
    "headers" "Basic, short": |random| put!(base64_of(&format!("{}:{}", random.of(LOWER, 2), random.word(3, 6))), "Authorization: Basic {s}");
    "headers" "Basic, without a header": |random| put!(base64_of(&format!("{}:{}", random.of(LOWER, 4), random.word(6, 12))), "send Basic {s} along");
    "headers" "Set-Cookie": |random| put!(random.word(12, 24), "Set-Cookie: sid={s}; Path=/; HttpOnly");
    "headers" "cookie in code": |random| { let form = random.one_of(&["curl -b 'session=", "curl --cookie 'session=", "{'Cookie': 'session="]); put!(random.word(12, 24), "{}{s}' https://x.example", form) };
    "vendors" "AWS": |random| put!(format!("{}{}", random.one_of(&["AKIA", "ASIA"]), random.base32(16)), "id {s} here");
    "vendors" "GitHub": |random| put!(format!("{}{}", random.one_of(&["ghp_", "gho_", "ghs_", "github_pat_"]), random.word(36, 36)), "x{s}\n");
    "vendors" "GitLab": |random| put!(format!("glpat-{}", random.word(20, 20)), "({s})");
    "vendors" "Slack": |random| put!(format!("xox{}-{}-{}", random.one_of(&["b", "p", "a"]), random.of(DIGITS, 12), random.word(24, 24)), "`{s}`");
    "vendors" "Stripe": |random| put!(format!("{}{}", random.one_of(&["sk_live_", "rk_live_", "sk_test_"]), random.word(24, 24)), "{s}.");
    "vendors" "Twilio": |random| put!(format!("{}{}", random.one_of(&["SK", "AC"]), random.hex(32)), "twilio {s} ok");
    "vendors" "OpenAI": |random| put!(format!("{}{}", random.one_of(&["sk-", "sk-proj-", "sk-ant-api03-"]), random.word(40, 48)), "key {s},");
    "vendors" "sk- without digits": |random| put!(format!("sk-{}", random.of(&format!("{LOWER}{UPPER}"), 32)), "key {s},");
    "vendors" "Google": |random| put!(format!("AIza{}", random.word(35, 35)), "{s}");
    "vendors" "registries": |random| { let prefix = random.one_of(&["npm_", "pypi-AgEIcHlwaS5vcmc", "hf_", "dckr_pat_"]); put!(format!("{prefix}{}", random.word(36, 36)), "{s} end") };
    "vendors" "clouds": |random| match random.below(4) {
        0 => put!(format!("dop_v1_{}", random.hex(64)), "{s}"),
        1 => put!(format!("SG.{}.{}", random.word(22, 22), random.word(43, 43)), "{s}"),
        2 => put!(format!("hvs.{}", random.word(24, 24)), "{s}"),
        _ => put!(format!("AGE-SECRET-KEY-1{}", random.of("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)), "{s}"),
    };
    "vendors" "0x and 64 digits": |random| put!(format!("0x{}", random.hex(64)), "deploy with {s} now");
    "vendors" "JWT": |random| put!(format!("eyJ{}.eyJ{}.{}", random.word(20, 30), random.word(30, 60), random.word(43, 43)), "t={s}");
    "keys after a name" "UUID": |random| { let name = random.one_of(&["HEROKU_API_KEY=", "api_key: ", "\"apiKey\": \"", "X-Api-Key: ", "InstrumentationKey=", "token=", "client_secret="]); put!(random.uuid(), "{}{s}", name) };
    "keys after a name" "base32": |random| match random.below(5) {
        0 => put!(random.base32(32), "otpauth://totp/Ex:ada?secret={s}&issuer=Ex"),
        1 => put!(random.base32(16), "TOTP_SECRET={s}\n"),
        2 => put!(random.base32(16), "the 2fa secret is {s}"),
        3 => put!(random.base32(16), "\"otp_secret\": \"{s}\""),
        _ => put!((0..4).map(|_| random.base32(4)).collect::<Vec<_>>().join(" "), "setup key: {s}\n"),
    };
    "keys after a name" "hexadecimal": |random| { let name = random.one_of(&["SECRET_KEY=", "api_key = ", "\"signingKey\": \"", "encryption_key: "]); put!(random.hex(24), "{}{s}", name) };
};

/// Ordinary texts, which redaction must not change.
pub const PLAIN: &[&str] = &[
    "No, that's wrong: churn is counted monthly, never weekly.",
    "Please fix the password reset form; the token is refreshed by the middleware.",
    "The password is required. The password is hashed before it is stored, and the token is invalid.",
    "const token = await getAccessTokenFromCredentialsProvider(request);",
    "let password: String = config.password.clone();",
    "pub password: Option<String>, pub token: &'a str,",
    "password: z.string().min(8), token: body.token,",
    "if (password !== confirmPassword) { return error('Passwords do not match'); }",
    "def login(self, username: str, password: str) -> Token:",
    "password = getpass.getpass(\"Password: \")",
    "export DB_PASSWORD=${DB_PASSWORD:?missing}",
    "DB_PASSWORD=$DB_PASSWORD docker compose up",
    "password: ${{ secrets.DB_PASSWORD }}",
    "api_key=os.environ[\"ANTHROPIC_API_KEY\"]",
    "--password <PASSWORD> and --token TOKEN",
    "max_tokens: 4096, input_tokens: 1234567, token_count = 12345678",
    "{\"type\": \"object\", \"required\": [\"password\", \"token\"], \"properties\": {\"password\": {\"type\": \"string\"}}}",
    "<input type=\"password\" name=\"password\" placeholder=\"Enter your password\">",
    "\"password\": \"Enter your password\", \"token\": \"string\"",
    "PASS src/components/Button.test.tsx",
    "PASS: test_parser_reads_everything",
    "# pass 12\n# fail 0\npass: 12, fail: 3",
    "see /home/ada/projects/session-pipeline/runtime/src/sandbox/records.rs:120",
    "https://docs.example.com/guides/authentication/oauth2-authorization-code-flow",
    "https://example.com:8080/path/@user and git@github.com:owner/repo.git and ssh://git@github.com/owner/repo",
    "session 8e2d3c4b-1f2a-4b3c-9d8e-7f6a5b4c3d2e of 2026-11-25T07:40:16.123Z",
    "claude-haiku-4-5-20251001, gpt-4o-mini-2024-07-18, toolu_01A09q90qw90lq917835lq9",
    "SELECT count(*) FROM usage_session_summary_by_project_and_month WHERE year = 2026",
    "task-force-of-the-infrastructure-department and disk-encryption-configuration-file",
    "ExponentialBackoffWithJitterAndMaximumNumberOfRetriesConfigurationBuilder",
    "1234567890123456789012345678901234567890",
    "Überprüfung der Größenänderung – 日本語のテキストもそのまま",
    "basic authentication is off; bearer tokens are on; Basic usage, Bearer token",
    "the primary key is id and the cache key is user:42; press the key: Enter",
    "mysql -u root -p shop; mkdir -p /tmp/x; docker run -p 8080:80 nginx; cp -pR a b",
    "the secret is to test early; the token is a JWT; the key to success is practice",
    "Authorization: Bearer <token>; Cookie: none; Set-Cookie is sent on login",
    "author: Ada, keyboard: us, passenger: 12, monkey = banana, bypass: true, compass=north",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
];

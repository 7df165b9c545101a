//! Secrets with a known format, as an argument of a known command, or in a telling sentence.
//!
//! Each rule is one pattern. Its `secret` group, or the whole match, is removed. Patterns are
//! matched in linear time. A `RegexSet` finds out in one scan which patterns occur at all.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use crate::SecretMatch;
use crate::value::{is_token, trimmed};
use crate::view::{BARRIER, View};
use crate::words::{is_common, is_odd, is_placeholder, is_word_like, names_a_secret};

/// A kind of secret and how to find it.
struct RedactionRule {
    kind: &'static str,
    pattern: String,
    check: RuleCheck,
}

/// Additional conditions for a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleCheck {
    /// No condition.
    Form,
    /// Contains a digit, so that it does not consist of words.
    Digit,
    /// Not a placeholder, and at least two characters.
    Argument,
    /// A value in a sentence, quoted or bare. The value can be an ordinary word.
    Prose,
    /// Like [`RuleCheck::Prose`], but never an ordinary word.
    OddProse,
    /// Base64 of `user:password`.
    Basic,
    /// Credentials after the name of an authentication scheme.
    Scheme,
    /// The password in a URL.
    Address,
    /// The user in a URL, if it is a token.
    User,
    /// Cookie values.
    Cookie,
    /// The last field of a line in `.pgpass`.
    Pgpass,
}

/// A command-line argument.
const ARGUMENT: &str = r#"(?:"(?<secret>[^"\n]+)"|'(?<secret2>[^'\n]+)'|(?<secret3>[^\s"'`|]+))"#;

/// Commands, and their option that takes a password.
const COMMANDS: &[(&str, &str)] = &[
    (r"mysql[a-z_]*|mariadb[a-z-]*|mycli|mysqlsh", r"-p"),
    (r"sshpass", r"-p[ \t]*"),
    (r"7z[arz]{0,2}|7-zip|unrar|rar|p7zip", r"-h?p"),
    (r"zip|unzip|zipcloak|fcrackzip", r"-P[ \t]*"),
    (r"redis-cli|valkey-cli|redis-benchmark", r"-a[ \t]+"),
    (
        r"(?:docker|podman|nerdctl|buildah|skopeo|helm registry|oras|crane auth|az|oc|cf|ibmcloud)[ \t]+login",
        r"-p[ \t]+",
    ),
    (
        r"(?:mongo[a-z]*|heroku|argocd|twine|ansible[a-z-]*|psexec|winrm|impacket[a-z-]*|influx|cqlsh|clickhouse-client|vsql|snowsql|hydra|medusa)(?:\.exe)?",
        r"-(?:p|pw)[ \t]+",
    ),
    (r"plink|pscp|psftp|putty", r"-pw[ \t]+"),
    (
        r"sqlcmd|bcp|osql|isql|mosquitto_pub|mosquitto_sub|ipmitool|tsql",
        r"-P[ \t]*",
    ),
    (r"ldap[a-z]+|slappasswd", r"-[ws][ \t]*"),
    (
        r"smbclient|rpcclient|smbmap|net|nxc|crackmapexec|wmic",
        r"(?:-U|--user)[ \t=]*['\x22]?[^\s%'\x22]+%",
    ),
    (
        r"openssl",
        r"(?:-pass(?:in|out)?|-k|-password)[ \t]+(?:pass:)?",
    ),
    (
        r"xfreerdp|rdesktop|mstsc|cmdkey|runas",
        r"(?:/p:|/pass:|-p[ \t]+)",
    ),
    (r"ssh-keygen", r"-[NP][ \t]+"),
    (
        r"keytool|jarsigner|apksigner",
        r"-(?:storepass|keypass|srcstorepass|deststorepass|srckeypass|destkeypass)[ \t]+",
    ),
    (
        r"htpasswd",
        r"-[a-zA-Z]*b[a-zA-Z]*[ \t]+(?:[^\s-]\S*[ \t]+)?[^\s-]\S*[ \t]+",
    ),
    (r"lftp|ncftp[a-z]*", r"-u[ \t]+[^\s,]+,"),
    (r"snmp[a-z]+", r"-[AX][ \t]+"),
    (r"useradd|usermod", r"-p[ \t]+"),
    (
        r"vault|doctl|gh|npm",
        r"login[ \t]+(?:-[a-z-]+[ \t]+)*(?:token=)?",
    ),
    (r"net[ \t]+user", r"[^\s/*]+[ \t]+"),
    (r"net[ \t]+use", r"\\\\\S+[ \t]+"),
    (
        r"steghide|gpg[2]?|cryptsetup|restic|borg|rclone",
        r"(?:-p|--passphrase|--password|--pass)[ \t=]+",
    ),
];

/// Commands with an option that takes `user:password`.
const USER_COMMANDS: &str = r"(?:curl|wget|https?|xh|xhs|httpie|curlie|ab|wrk|nikto|ffuf|gobuster|hey|siege|kafkacat|kcat|elasticdump|nats|svn|lwp-request)(?:\.exe)?";

fn rules() -> Vec<RedactionRule> {
    let mut rules: Vec<RedactionRule> = FORMS
        .iter()
        .map(|(kind, pattern, check)| RedactionRule {
            kind,
            pattern: (*pattern).to_owned(),
            check: *check,
        })
        .collect();
    for (command, option) in COMMANDS {
        rules.push(RedactionRule {
            kind: "password",
            pattern: format!(r"\b(?:{command})\b(?:[^\n|]*?[ \t])??[ \t]*{option}{ARGUMENT}"),
            check: RuleCheck::Argument,
        });
    }
    rules.push(RedactionRule {
        kind: "password",
        pattern: format!(
            r#"\b{USER_COMMANDS}\b[^\n]*?[ \t](?:-u|--user|-U|--proxy-user|-a|--auth|-A)[ \t=]*(?:"[^\s:"]*:(?<secret>[^"\n]+)"|'[^\s:']*:(?<secret2>[^'\n]+)'|[^\s:"'/]*:(?<secret3>[^\s"'`|]+))"#
        ),
        check: RuleCheck::Argument,
    });
    for rule in &mut rules {
        // ASCII word boundaries. With Unicode boundaries, the lazy DFA gives up on non-ASCII text.
        rule.pattern = rule.pattern.replace(r"\b", r"(?-u:\b)");
    }
    rules
}

const FORMS: &[(&str, &str, RuleCheck)] = &[
    (
        "aws-key",
        r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}",
        RuleCheck::Form,
    ),
    ("aws-key", r"ABSK[A-Za-z0-9+/]{40,}={0,2}", RuleCheck::Form),
    (
        "github-token",
        r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}",
        RuleCheck::Form,
    ),
    (
        "gitlab-token",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|oas)-[A-Za-z0-9_.-]{16,}|GR1348941[A-Za-z0-9_-]{16,}",
        RuleCheck::Form,
    ),
    (
        "slack-token",
        r"xox[abceoprs](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}",
        RuleCheck::Form,
    ),
    (
        "slack-webhook",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/-]{16,}",
        RuleCheck::Form,
    ),
    (
        "webhook",
        r"discord(?:app)?\.com/api/webhooks/[0-9]+/(?<secret>[A-Za-z0-9_-]{20,})|webhook\.office\.com/(?<secret2>[^\s\x22'<>]{20,})",
        RuleCheck::Form,
    ),
    ("api-key", r"sk-ant-[A-Za-z0-9_-]{8,}", RuleCheck::Form),
    (
        "api-key",
        r"sk-(?:proj|svcacct|admin|or-v1|live|test|lf|org|None)-[A-Za-z0-9_-]{12,}",
        RuleCheck::Form,
    ),
    ("api-key", r"\bsk-[A-Za-z0-9]{16,}", RuleCheck::Form),
    ("api-key", r"\bsk-[A-Za-z0-9_-]{20,}", RuleCheck::Digit),
    (
        "api-key",
        r"\b(?:gsk_|pplx-|r8_|xai-|fw_|nvapi-|tvly-|fc-|csk-|co_|sk_|pk_live_|rk_|tgp_v1_|jina_|up_|esecret_|key-)[A-Za-z0-9_-]{20,}",
        RuleCheck::Digit,
    ),
    (
        "google-key",
        r"AIza[0-9A-Za-z_-]{32,}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}|1//0[0-9A-Za-z_-]{30,}",
        RuleCheck::Form,
    ),
    (
        "stripe-key",
        r"[srp]k_(?:live|test|prod)_[0-9A-Za-z]{8,}|whsec_[0-9A-Za-z+/=]{16,}",
        RuleCheck::Form,
    ),
    (
        "twilio-key",
        r"\b(?:SK|AC|AP|CA|IS|MG|PN|VA)[0-9a-f]{32}\b",
        RuleCheck::Form,
    ),
    (
        "package-token",
        r"npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}|rubygems_[a-f0-9]{32,}|dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}|\boy2[a-z0-9]{43}\b|\bcio[A-Za-z0-9]{32}\b|AKCp[A-Za-z0-9]{60,}",
        RuleCheck::Form,
    ),
    (
        "huggingface-token",
        r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}",
        RuleCheck::Form,
    ),
    (
        "sendgrid-key",
        r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        RuleCheck::Form,
    ),
    (
        "cloud-token",
        r"do[opr]_v1_[a-f0-9]{32,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|[a-zA-Z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}|AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{40,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|gl(?:sa|c)_[A-Za-z0-9_+=/]{30,}|lin_(?:api|oauth)_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{30,}|secret_[A-Za-z0-9]{43}\b|pul-[a-f0-9]{40}|dapi[a-f0-9]{32}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{30,}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|sntry[su]_[A-Za-z0-9+/=_]{32,}|figd_[A-Za-z0-9_-]{30,}|sq0(?:csp|atp)-[A-Za-z0-9_-]{22,}|EAAA[A-Za-z0-9_-]{50,}|EAACEdEose0cBA[A-Za-z0-9]+|key-[a-f0-9]{32}|[a-f0-9]{32}-us[0-9]{1,2}\b|xkeysib-[a-f0-9]{32,}-?[A-Za-z0-9]*|pat[A-Za-z0-9]{14}\.[a-f0-9]{60,}|ATATT3[A-Za-z0-9_=-]{60,}|ATBB[A-Za-z0-9]{24,}|ATCTT3[A-Za-z0-9_=-]{60,}|sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,}|nfp_[A-Za-z0-9]{30,}|vercel_[A-Za-z0-9_]{20,}|fo1_[A-Za-z0-9_-]{40,}|FlyV1 fm[0-9]_[A-Za-z0-9+/=_,-]{40,}|CCIPAT_[A-Za-z0-9_]{30,}|bkua_[a-z0-9]{40}|tskey-[a-z]+-[A-Za-z0-9-]{16,}|ops_eyJ[A-Za-z0-9+/=_-]{40,}|A3-[A-Z0-9]{6}-[A-Z0-9-]{26,}|phc_[A-Za-z0-9]{40,}|phx_[A-Za-z0-9]{40,}|rnd_[A-Za-z0-9]{28,}|pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_.=-]{32,}|ghs_[A-Za-z0-9]{30,}|HRKU-[A-Za-z0-9_-]{30,}|LTAI[A-Za-z0-9]{16,22}\b|AKID[A-Za-z0-9]{32}\b|t1\.[A-Z0-9a-z_-]+={0,2}\.[A-Z0-9a-z_-]{86}={0,2}|AQVN[A-Za-z0-9_-]{35,}|v1\.0-[a-f0-9]{24}-[a-f0-9]{140,}",
        RuleCheck::Form,
    ),
    ("cloud-token", r"\bs\.[A-Za-z0-9]{24}\b", RuleCheck::Digit),
    (
        "telegram-token",
        r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
        RuleCheck::Form,
    ),
    (
        "azure-key",
        r"(?i:Account|SharedAccess|Shared)Key=(?<secret>[A-Za-z0-9+/]{30,}=*)|[?&](?:sig|Signature|X-Amz-Signature|X-Goog-Signature)=(?<secret2>[A-Za-z0-9%+/_-]{20,}={0,2})|[A-Za-z0-9_~.]{3}8Q~[A-Za-z0-9_~.-]{31,34}",
        RuleCheck::Form,
    ),
    (
        "jwt",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*",
        RuleCheck::Form,
    ),
    ("private-key", r"\b0x[0-9a-fA-F]{64}\b", RuleCheck::Form),
    (
        "private-key",
        r"\b[xyz]prv[1-9A-HJ-NP-Za-km-z]{100,112}\b",
        RuleCheck::Form,
    ),
    (
        "private-key",
        r"(?s)(?:b3BlbnNzaC1rZXktdjE|MII[EJC][A-Za-z0-9+/]{2}IBAAKC)[A-Za-z0-9+/=\r\n \t]+",
        RuleCheck::Form,
    ),
    (
        "one-time-secret",
        r"(?i)otpauth(?:-migration)?://[^\s\x22'<>`]*?[?&](?:secret|data)=(?<secret>[^&\s\x22'<>`]+)",
        RuleCheck::Form,
    ),
    (
        "password-hash",
        r"\$(?:apr1|1|2[abxy]?|5|6|7|y|gy|sha1|argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]*|bcrypt-sha256)\$[./A-Za-z0-9$=,+-]{20,}|\{(?:S?SHA(?:256|512)?|S?MD5|CRYPT|PBKDF2[A-Z0-9_]*)\}[A-Za-z0-9+/=.$]{16,}|\bpbkdf2_sha(?:256|1)\$[0-9]+\$[A-Za-z0-9+/=$]{20,}|\bSCRAM-SHA-256\$[^\s\x22']{20,}",
        RuleCheck::Form,
    ),
    (
        "credentials",
        r"(?i)\b(?:authorization|x-auth)[\x22']?[ \t]*[:=][ \t]*[\x22']?(?:basic|bearer|token|digest|apikey|negotiate|ntlm)[ \t]+(?<secret>[A-Za-z0-9+/._~=-]{4,})",
        RuleCheck::Argument,
    ),
    (
        "credentials",
        r"(?i)\bbasic[ \t]+(?<secret>[A-Za-z0-9+/_-]{6,}={0,2})",
        RuleCheck::Basic,
    ),
    (
        "credentials",
        r"(?i)\b(?:bearer|token)[ \t]+[\x22']?(?<secret>[A-Za-z0-9+/._~-]{12,}=*)",
        RuleCheck::Scheme,
    ),
    (
        "password",
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\x22'`<>|]*:(?<secret>[^\s\x22'`<>\x01]{1,200})@",
        RuleCheck::Address,
    ),
    (
        "credentials",
        r"[A-Za-z][A-Za-z0-9+.-]*://(?<secret>[^\s/:@\x22'`<>]{8,})(?::(?:x-oauth-basic|x-oauth-token|x)?)?@[A-Za-z0-9\[]",
        RuleCheck::User,
    ),
    (
        "password",
        r"(?i)jdbc:oracle:[a-z]+:[^\s/@\x22']+/(?<secret>[^\s@\x22']+)@|\b(?:sqlplus|sqlldr|expdp|impdp|rman)\b[^\n]*?[ \t][^\s/@\x22']+/(?<secret2>[^\s@\x22']+)@",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\bidentified[ \t\r\n]+(?:with[ \t\r\n]+\S+[ \t\r\n]+)?(?:by|as)[ \t\r\n]+(?:password[ \t]+)?(?:values[ \t]+)?(?:'(?<secret>(?:[^'\n]|'')+)'|\x22(?<secret2>[^\x22\n]+)\x22|(?<secret3>[^\s'\x22;,]{3,}))",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\b(?:password|passphrase)[ \t\r\n]+(?:=[ \t]*)?'(?<secret>(?:[^'\n]|'')+)'",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\b(?:machine|login|account|default|user)[ \t\r\n]+\S+(?:[ \t\r\n]+(?:login|account|user|port)[ \t\r\n]+\S+)*[ \t\r\n]+passw(?:or)?d[ \t\r\n]+(?:\x22(?<secret>[^\x22\n]+)\x22|(?<secret2>[^\s\x22]+))",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?m)^[ \t>+-]*(?:[A-Za-z0-9_.*-]+|\[[0-9a-fA-F:]+\]):(?:[0-9]{2,5}|\*):(?:[A-Za-z_*][^\s:]*):(?:[A-Za-z_*][^\s:/]*):(?<secret>[^\s\x22'`]+)[ \t\r]*$",
        RuleCheck::Pgpass,
    ),
    (
        "password",
        r"(?m)\bUSER[ \t]+\S+[ \t]*\r?\n(?:[^\n]*\n)?[ \t<>CS:-]*PASS[ \t]+(?<secret>\S+)",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\bLOGIN[ \t]+\x22?[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\x22?[ \t]+\x22?(?<secret>[^\s\x22]{4,})",
        RuleCheck::Prose,
    ),
    (
        "password",
        r"(?i)\bConvertTo-SecureString[ \t]+(?:-String[ \t]+)?(?:\x22(?<secret>[^\x22\n]+)\x22|'(?<secret2>[^'\n]+)')",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\b(?:NetworkCredential|PSCredential|PasswordAuthentication|UsernamePasswordCredentials|HTTPBasicAuth|BasicAuth|basic_auth|SetBasicAuth|login)\([^\n\x22'()]*[\x22'][^\x22'\n]*[\x22'][^\n\x22'()]*,[^\n\x22'(),]*[\x22'](?<secret>[^\x22'\n]+)[\x22']",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\b(?:echo|printf)[ \t]+(?:-n[ \t]+|-e[ \t]+)?(?:\x22(?<secret>[^\x22\n]+)\x22|'(?<secret2>[^'\n]+)'|(?<secret3>[^\s\x22'`|]+))[ \t]*\|[ \t]*(?:sudo[ \t]+(?:-[A-Za-z]+[ \t]+)*-[A-Za-z]*S|docker[ \t]+login|podman[ \t]+login|helm[ \t]+registry|passwd|(?:sudo[ \t]+)?chpasswd|gh[ \t]+auth|cryptsetup|gpg|openssl|npm[ \t]+login|kinit|su[ \t]|vault)",
        RuleCheck::Argument,
    ),
    (
        "cookie",
        r"(?i)\b(?:set-)?cookie2?[\x22'`*\]]*[ \t]*[:=,][ \t]*[\x22'`]?(?<secret>[A-Za-z0-9_.!#$%&*+^|~-]{1,64}=[^\r\n\x22'`\x01]+)",
        RuleCheck::Cookie,
    ),
    (
        "cookie",
        r"\b(?:curl|http|https|xh|wget)\b[^\n]*?[ \t](?:-b|--cookie)[ \t=]*(?:\x22(?<secret>[^\x22\n]*=[^\x22\n]+)\x22|'(?<secret2>[^'\n]*=[^'\n]+)'|(?<secret3>[^\s\x22'`=-][^\s\x22'`=]*=[^\s\x22'`]+))",
        RuleCheck::Cookie,
    ),
    (
        "cookie",
        r"(?i)\b(?:PHPSESSID|JSESSIONID|ASP\.NET_SessionId|\.AspNetCore\.[A-Za-z.]+|connect\.sid|laravel_session|__(?:Secure|Host)-[A-Za-z0-9._-]+|remember_(?:web|user)[a-z0-9_]*|XSRF-TOKEN|csrftoken)=(?<secret>[^\s;,&\x22'`]{6,})",
        RuleCheck::Argument,
    ),
    (
        "password",
        r"(?i)\b(?:pass ?word|passwd|pass ?phrase|pass ?code|passwort|pwd|pw|login)\b(?:[ \t]+(?:for|of|on|at|in|to|from)(?:[ \t]+[^\s,;]+){1,5}?)?[ \t]*(?:\([^)\n]{0,40}\))?[ \t]*(?:\bis\b|\bwas\b|\bare\b|\bto\b|\bas\b|\bist\b|\blautet\b|=|->|→|:)[ \t]*(?:now|still|just|simply|always|currently|probably|called)?:?[ \t]*(?:\x22(?<secret>[^\x22\n]+)\x22|'(?<secret2>[^'\n]+)'|`(?<secret3>[^`\n]+)`|\*\*(?<secret4>[^*\n]+)\*\*|“(?<secret5>[^”\n]+)”|(?<secret6>[^\s\x22'`“”*][^\s\x22'`“”]*))",
        RuleCheck::Prose,
    ),
    (
        "password",
        r"(?i)\b(?:use|try|enter|type|with|the)[ \t]+(?:the[ \t]+)?(?:password|passphrase|passcode|pw|pwd|pin)[ \t]+(?:\x22(?<secret>[^\x22\n]+)\x22|'(?<secret2>[^'\n]+)'|`(?<secret3>[^`\n]+)`|(?<secret4>[^\s\x22'`“”]+))",
        RuleCheck::OddProse,
    ),
    (
        "secret",
        r"(?i)\b(?:secret|token|(?:api|access|secret|private|auth|setup|licen[sc]e|encryption|signing)[ _-]?key|one[- ]time (?:code|secret)|(?:otp|totp|2fa|mfa)(?:[ _-](?:secret|seed|key|code))?|pin|creds?|credentials)\b(?:[ \t]+(?:for|of|on|at|in|to|from)(?:[ \t]+[^\s,;]+){1,5}?)?[ \t]*(?:\([^)\n]{0,40}\))?[ \t]*(?:\bis\b|\bwas\b|\bto\b|\bare\b|=|->|→|:)[ \t]*(?:now|still|just)?:?[ \t]*(?:\x22(?<secret>[^\x22\n]+)\x22|'(?<secret2>[^'\n]+)'|`(?<secret3>[^`\n]+)`|(?<secret4>(?:[A-Z2-7]{4}[ -]){3,15}[A-Z2-7]{2,4}|[^\s\x22'`“”]+))",
        RuleCheck::OddProse,
    ),
];

/// All patterns, individually and as a set.
struct CompiledRules {
    rules: Vec<(RedactionRule, Regex)>,
    set: RegexSet,
}

static COMPILED: LazyLock<CompiledRules> = LazyLock::new(|| {
    let rules = rules();
    let patterns: Vec<&str> = rules.iter().map(|rule| rule.pattern.as_str()).collect();
    #[expect(
        clippy::expect_used,
        reason = "the patterns are part of the program, and tests use every one"
    )]
    let set = regex::RegexSetBuilder::new(patterns)
        .size_limit(64 << 20)
        .dfa_size_limit(64 << 20)
        .build()
        .expect("the patterns are valid");
    let compiled = rules.into_iter().map(|rule| {
        let regex = super::compiled(&rule.pattern);
        (rule, regex)
    });
    CompiledRules {
        rules: compiled.collect(),
        set,
    }
});

const GROUPS: [&str; 6] = [
    "secret", "secret2", "secret3", "secret4", "secret5", "secret6",
];

/// Finds the matches of all rules.
pub(super) fn finds(view: &View) -> Vec<SecretMatch> {
    let text = view.text.as_str();
    let mut finds = Vec::new();
    for index in COMPILED.set.matches(text) {
        let Some((rule, regex)) = COMPILED.rules.get(index) else {
            continue;
        };
        let mut at = 0;
        while let Some(captures) = regex.captures_at(text, at) {
            let Some(whole) = captures.get(0) else {
                break;
            };
            let group = GROUPS.iter().find_map(|name| captures.name(name));
            let secret = group.unwrap_or(whole);
            let is_quoted = group.is_some()
                && text
                    .get(..secret.start())
                    .is_some_and(|before| before.ends_with(['"', '\'', '`', '“', '*']));
            let found = secret.as_str();
            // Only up to the next marker. The text after it was searched before.
            let found = found.split(BARRIER).next().unwrap_or_default();
            let behind = text.get(secret.end()..).unwrap_or_default();
            match rule.check.accepts(found, is_quoted, behind) {
                Some(length) if length > 0 => {
                    finds.push(SecretMatch {
                        start: secret.start(),
                        end: secret.start() + length,
                        kind: rule.kind,
                    });
                    at = whole.end();
                }
                _ if rule.check == RuleCheck::Cookie => at = whole.end(),
                // Another match can begin inside the rejected value.
                _ => at = secret.start().max(whole.start() + 1).max(at + 1),
            }
            while !text.is_char_boundary(at) {
                at += 1;
            }
            if at > text.len() {
                break;
            }
        }
    }
    finds
}

impl RuleCheck {
    /// The length of the secret at the start of a match. `None` or 0 if there is none.
    fn accepts(self, found: &str, is_quoted: bool, behind: &str) -> Option<usize> {
        let holds = |holds: bool| holds.then_some(found.len());
        match self {
            Self::Form => holds(true),
            Self::Digit => holds(found.bytes().any(|byte| byte.is_ascii_digit())),
            Self::Argument => {
                let value = if is_quoted { found } else { trimmed(found) };
                let is_secret = value.chars().count() >= 2
                    && !is_placeholder(value)
                    && !value.starts_with("--");
                is_secret.then_some(value.len())
            }
            Self::Prose | Self::OddProse => {
                let value = if is_quoted { found } else { trimmed(found) };
                self.is_secret_prose(value, is_quoted, behind)
                    .then_some(value.len())
            }
            Self::Basic => holds(is_basic(found)),
            Self::Scheme => holds(is_token(found) && !is_placeholder(found)),
            Self::Address => {
                let port = found
                    .bytes()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                let rest = found.get(port..).unwrap_or_default();
                let is_port = port > 0 && rest.starts_with(['/', '?', '#']);
                let is_placeholder = is_placeholder(found)
                    || names_a_secret(found) && !is_odd(found)
                    || found.len() < 2
                    || found.starts_with('/');
                holds(!is_port && !is_placeholder)
            }
            Self::User => {
                let has_digit = found.bytes().any(|byte| byte.is_ascii_digit());
                let solid = found.bytes().filter(u8::is_ascii_alphanumeric).count();
                holds(
                    !is_placeholder(found)
                        && (has_digit && solid >= 10 && is_odd(found) || solid >= 20)
                        && !found.contains("git"),
                )
            }
            Self::Cookie => {
                let value = found.split_once('=').map_or("", |(_, value)| value);
                let value = value.split(';').next().unwrap_or_default().trim();
                let is_placeholder = is_placeholder(value)
                    || value.starts_with(['$', '{', '=']) && value.contains(['{', '(', ' ']);
                holds(value.chars().count() >= 3 && !is_placeholder && !value.contains(' '))
            }
            Self::Pgpass => holds(
                !is_placeholder(found) && !found.starts_with('/') && found.chars().count() >= 3,
            ),
        }
    }

    fn is_secret_prose(self, value: &str, is_quoted: bool, behind: &str) -> bool {
        if is_placeholder(value)
            || value.chars().count() < 3
            || value.starts_with(['{', '[', '(', '/', '|', '=', '<']) && !is_odd(value)
            || names_a_secret(value) && !is_odd(value)
        {
            return false;
        }
        if self == Self::OddProse {
            return is_quoted
                && is_odd(value)
                && value.chars().count() >= 5
                && !value.contains([' ', '(', '/'])
                && !super::words::is_code(value)
                || is_token(value)
                || is_odd(value)
                    && value.chars().count() >= 6
                    && !value.contains(' ')
                    && has_digit_and_letter(value)
                    && !value.contains("::")
                    && !value.contains('(');
        }
        let words = value.split_whitespace().count();
        if is_quoted {
            return words <= 8
                && !is_common(value)
                && !(words > 1 && value.split_whitespace().any(is_common));
        }
        if super::words::is_code(value) || value.contains("://") || value.contains("::") {
            return false;
        }
        if is_odd(value) {
            return !value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'%')
                || value.len() >= 6;
        }
        // An ordinary word at the end of its sentence.
        let behind = behind
            .get(..super::value::floor(behind, 16))
            .unwrap_or_default();
        let ends = behind.trim_start_matches(['.', '!', ',', ';', ')', '"', '\'', '*', '`']);
        let is_last = ends.is_empty()
            || ends.starts_with(['\n', '\r'])
            || behind.starts_with(['.', '!']) && ends.starts_with(' ');
        is_last
            && !is_common(value)
            && value.chars().count() >= 4
            && !value.contains(['_', '/', '.', '('])
            && (is_word_like(value)
                || value.chars().all(char::is_alphabetic)
                || value.bytes().all(|b| b.is_ascii_digit()))
    }
}

fn has_digit_and_letter(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether a text is base64 of a printable `user:password`.
fn is_basic(text: &str) -> bool {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.contains(':') && !text.chars().any(char::is_control)
}

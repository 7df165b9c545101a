//! Reads the config file and merges flags, environment, file and defaults.
//!
//! Every value is validated. The first invalid one ends the reading with an error that contains its
//! place, its key, its value and what is allowed.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;
use session_pipeline_host::fault::printable;
use session_pipeline_host::limits::Limits;
use session_pipeline_host::redaction::{is_secret_name, without_secrets};
use session_pipeline_host::{manifest, regular};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::keys::{
    BUDGET, ConfigValue, DATABASE, Draft, GROUP, HEALTH, KNOWLEDGE, Key, LIMITS, LLM, METRICS,
    NOTIFY, PROCESSOR, PROXY_AUTH, REPORT, SCHEDULER, SERVICE, SETTINGS, TOP, UPLOAD,
};
use crate::config::monitoring::BudgetDraft;
use crate::config::{Config, Variables, variables};
use crate::schedule::{self, Schedule, TickTooLong};
use crate::shipped::ShippedProcessor;

/// The default data directory.
const DEFAULT_DATA_DIR: &str = "./data";
/// The name of the config file in the data directory.
const FILE_NAME: &str = "config.toml";
/// Far more than all keys need. A wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Replaces a value that could be a secret.
pub(super) const HIDDEN: &str = "`(hidden)`";
/// Maximum length of a bad value in an error, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Values from flags and environment variables. They take precedence over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOverrides {
    /// The data directory.
    pub data_dir: Option<PathBuf>,
    /// The sessions root.
    pub sessions_root: Option<PathBuf>,
    /// The config file. `None`: `config.toml` in the data directory, if it exists.
    pub config_file: Option<PathBuf>,
    /// Environment variables that have no flag.
    pub variables: Variables,
    /// The shipped processors, which have variables of their own.
    pub shipped: Vec<ShippedProcessor>,
}

/// A position in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = printable(&self.file.display().to_string());
        write!(f, "{file}:{}:{}", self.line, self.column)
    }
}

/// Why a configuration is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(
        "cannot read config file `{}`; check its path and permissions",
        printable(&path.display().to_string())
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The file is not valid TOML.
    #[error("{place}: {reason}; see docs/config.example.toml")]
    Syntax {
        /// The position in the file.
        place: FilePosition,
        /// The parser's message.
        reason: String,
    },
    /// The key does not exist.
    #[error("{place}: unknown key `{key}`; {remedy}")]
    UnknownKey {
        /// The position in the file.
        place: FilePosition,
        /// The full name of the key.
        key: String,
        /// A suggestion, or the list of known keys.
        remedy: String,
    },
    /// An entry of a list lacks a key.
    #[error("{place}: missing key `{key}`: set it to {allowed}")]
    MissingKey {
        /// The position of the entry.
        place: FilePosition,
        /// The full name of the key.
        key: String,
        /// The accepted values, as a noun phrase.
        allowed: String,
    },
    /// `data_dir` is in a file that was found through the data directory.
    #[error(
        "{place}: `data_dir` is not allowed in this file, because the data directory determines where the file is; use `--data-dir`, or move the key to a file that `--config` names"
    )]
    DataDirInOwnFile {
        /// The position in the file.
        place: FilePosition,
    },
    /// The value is not allowed.
    #[error("{place}: invalid value {value} for `{key}`: expected {allowed}")]
    BadValue {
        /// The position in the file.
        place: FilePosition,
        /// The full name of the key.
        key: String,
        /// The value in backticks, or a placeholder if it could be a secret.
        value: String,
        /// The accepted values, as a noun phrase.
        allowed: String,
    },
    /// The value of an environment variable is not allowed.
    #[error(
        "invalid value {value} for environment variable `{name}`: expected {allowed}; unset it to use the default"
    )]
    BadVariable {
        /// The variable.
        name: &'static str,
        /// The value in backticks, or a placeholder if it could be a secret.
        value: String,
        /// The accepted values, as a noun phrase.
        allowed: String,
    },
    /// Valid values that contradict each other.
    #[error("{file}: {reason}", file = printable(&file.display().to_string()))]
    Contradiction {
        /// The file.
        file: PathBuf,
        /// The conflict, and how to resolve it.
        reason: String,
    },
    /// The scheduler's tick is longer than the interval of a job.
    #[error(transparent)]
    Tick(#[from] TickTooLong),
}

impl Config {
    /// Builds the configuration. Precedence: flags and environment, file, defaults.
    ///
    /// # Errors
    /// If a file named by a flag does not exist, or a value or key is not allowed.
    pub fn load(given: &ConfigOverrides) -> Result<Self, ConfigError> {
        let data_dir = given
            .data_dir
            .clone()
            .unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let named = given.config_file.as_deref();
        let path = named.map_or_else(|| data_dir.join(FILE_NAME), Path::to_owned);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && is_absent(&error) => String::new(),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        let reader = Reader {
            path: &path,
            text: &text,
        };
        let mut draft = Draft {
            config: Self::new(&data_dir),
            data_dir: None,
            sessions_root: None,
        };
        reader.read_into(&mut draft, named.is_some())?;
        let mut config = draft.config;
        if let (Some(data_dir), None) = (draft.data_dir, &given.data_dir) {
            let place = Self::new(data_dir);
            (config.data_dir, config.sessions_root) = (place.data_dir, place.sessions_root);
        }
        if let Some(root) = given.sessions_root.clone().or(draft.sessions_root) {
            config.sessions_root = root;
        }
        let contradiction = config.llm.contradiction();
        if let Some(reason) = contradiction.or_else(|| config.notify.contradiction()) {
            return Err(ConfigError::Contradiction { file: path, reason });
        }
        variables::apply(&given.variables, &given.shipped, &mut config)?;
        for (name, own) in &config.processors {
            let scheduled = own.schedule.as_ref().and_then(Schedule::interval);
            let interval = own.interval.or(scheduled);
            TickTooLong::check(name, config.scheduler.tick, interval)?;
        }
        Ok(config)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    regular::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is larger than 1 MiB",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Whether the file does not exist. A file in place of its folder counts as well: later steps
/// report that error better.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The text of a config file, with its path for errors.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn read_into(&self, draft: &mut Draft, is_named: bool) -> Result<(), ConfigError> {
        let document = DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            place: self.place(error.span().map_or(0, |span| span.start)),
            reason: printable(&without_secrets(error.message())),
        })?;
        let mut limits = draft.config.limits.clone();
        let mut processors = None;
        for (name, value) in document.get_ref() {
            match name.get_ref().as_ref() {
                "data_dir" if !is_named => {
                    let place = self.place(value.span().start);
                    return Err(ConfigError::DataDirInOwnFile { place });
                }
                "database" => self.section("database", value, DATABASE, draft)?,
                "report" => self.section("report", value, REPORT, draft)?,
                "service" => self.service(value, draft)?,
                "upload" => self.section("upload", value, UPLOAD, draft)?,
                "scheduler" => self.section("scheduler", value, SCHEDULER, draft)?,
                "health" => self.section("health", value, HEALTH, draft)?,
                "knowledge" => self.section("knowledge", value, KNOWLEDGE, draft)?,
                "llm" => self.section("llm", value, LLM, &mut draft.config.llm)?,
                "metrics" => {
                    self.section("metrics", value, METRICS, &mut draft.config.metrics)?;
                }
                "notify" => self.section("notify", value, NOTIFY, &mut draft.config.notify)?,
                "budget" => self.budgets(value, draft)?,
                "group" => self.section("group", value, GROUP, &mut draft.config.group)?,
                "limits" => self.section("limits", value, LIMITS, &mut limits)?,
                "processors" => processors = Some(value),
                _ => {
                    let sections = [
                        "database",
                        "report",
                        "service",
                        "upload",
                        "scheduler",
                        "health",
                        "metrics",
                        "notify",
                        "budget",
                        "knowledge",
                        "llm",
                        "group",
                        "limits",
                        "processors",
                    ];
                    self.entry("", name, value, TOP, &sections, draft)?;
                }
            }
        }
        draft.config.limits = limits;
        // Processors come last, because their limits default to the common ones.
        if let Some(value) = processors {
            self.processors(value, draft)?;
        }
        Ok(())
    }

    fn service(&self, value: &Spanned<DeValue<'_>>, draft: &mut Draft) -> Result<(), ConfigError> {
        for (name, value) in self.table("service", value)? {
            match name.get_ref().as_ref() {
                "proxy_auth" => {
                    let proxy_auth = &mut draft.config.service.proxy_auth;
                    self.section("service.proxy_auth", value, PROXY_AUTH, proxy_auth)?;
                }
                _ => self.entry("service", name, value, SERVICE, &["proxy_auth"], draft)?,
            }
        }
        Ok(())
    }

    fn budgets(&self, value: &Spanned<DeValue<'_>>, draft: &mut Draft) -> Result<(), ConfigError> {
        let is_list = "a list of budgets: `[[budget]]`";
        let entries = value.get_ref().as_array();
        let entries = entries.ok_or_else(|| self.bad("budget", value, is_list.to_owned()))?;
        for entry in entries {
            let mut budget = BudgetDraft::default();
            self.section("budget", entry, BUDGET, &mut budget)?;
            let place = self.place(entry.span().start);
            let budget = budget.complete().map_err(|missing| {
                let key = BUDGET.iter().find(|key| key.name == missing);
                ConfigError::MissingKey {
                    place,
                    key: format!("budget.{missing}"),
                    allowed: key.map(|key| key.value.allowed()).unwrap_or_default(),
                }
            })?;
            if draft.config.budgets.contains(&budget) {
                let other = "a budget that differs from the others in this file".to_owned();
                return Err(self.bad("budget", entry, other));
            }
            draft.config.budgets.push(budget);
        }
        Ok(())
    }

    fn processors(
        &self,
        value: &Spanned<DeValue<'_>>,
        draft: &mut Draft,
    ) -> Result<(), ConfigError> {
        for (name, value) in self.table("processors", value)? {
            let processor = name.get_ref().as_ref();
            if !manifest::is_processor_name(processor) {
                return Err(ConfigError::BadValue {
                    place: self.place(name.span().start),
                    key: "processors".to_owned(),
                    value: format!("`{}`", short(processor)),
                    allowed: "the name of a processor, [a-z][a-z0-9-]{0,62}".to_owned(),
                });
            }
            let section = format!("processors.{processor}");
            let mut own = super::ProcessorConfig::default();
            for (name, value) in self.table(&section, value)? {
                match name.get_ref().as_ref() {
                    "limits" => {
                        let mut limits: Limits = draft.config.limits.clone();
                        self.section(&format!("{section}.limits"), value, LIMITS, &mut limits)?;
                        own.limits = Some(limits);
                    }
                    SETTINGS => {
                        let section = format!("{section}.{SETTINGS}");
                        for (name, value) in self.table(&section, value)? {
                            let key = format!("{section}.{}", printable(name.get_ref()));
                            let text = self.text_of(&key, value, "a quoted string")?;
                            own.settings
                                .insert(name.get_ref().clone().into_owned(), text);
                        }
                    }
                    _ => {
                        let sections = ["limits", SETTINGS];
                        self.entry(&section, name, value, PROCESSOR, &sections, &mut own)?;
                    }
                }
            }
            draft.config.processors.insert(processor.to_owned(), own);
        }
        Ok(())
    }

    /// Reads a section without free keys.
    fn section<T>(
        &self,
        section: &str,
        value: &Spanned<DeValue<'_>>,
        keys: &[Key<T>],
        target: &mut T,
    ) -> Result<(), ConfigError> {
        for (name, value) in self.table(section, value)? {
            self.entry(section, name, value, keys, &[], target)?;
        }
        Ok(())
    }

    /// Reads one key with its value. `sections` are only used for suggestions.
    fn entry<T>(
        &self,
        section: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        keys: &[Key<T>],
        sections: &[&str],
        target: &mut T,
    ) -> Result<(), ConfigError> {
        let known = name.get_ref().as_ref();
        let full = |name: &str| match section {
            "" => printable(&without_secrets(name)),
            section => format!("{section}.{}", printable(&without_secrets(name))),
        };
        let Some(key) = keys.iter().find(|key| key.name == known) else {
            let names = keys.iter().map(|key| key.name);
            let names: Vec<&str> = names.chain(sections.iter().copied()).collect();
            return Err(ConfigError::UnknownKey {
                place: self.place(name.span().start),
                key: full(known),
                remedy: match nearest(known, &names) {
                    Some(name) => format!("did you mean `{}`?", full(name)),
                    None => format!("known keys: {}", names.join(", ")),
                },
            });
        };
        self.put(&full(known), value, &key.value, target)
    }

    fn put<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &ConfigValue<T>,
        target: &mut T,
    ) -> Result<(), ConfigError> {
        let bad = || self.bad(key, value, wanted.allowed());
        match wanted {
            ConfigValue::Count(min, max, put) => {
                let count = whole(value.get_ref()).filter(|count| (min..=max).contains(&count));
                put(target, count.ok_or_else(bad)?);
            }
            ConfigValue::Size(min, max, put) => {
                let bytes = match value.get_ref() {
                    DeValue::String(text) => size(text),
                    value => whole(value),
                };
                let bytes = bytes.filter(|bytes| (min..=max).contains(&bytes));
                put(target, bytes.ok_or_else(bad)?);
            }
            ConfigValue::Time(min, max, put) => {
                let time = value.get_ref().as_str().and_then(time);
                let time = time.filter(|time| (min..=max).contains(&time));
                put(target, time.ok_or_else(bad)?);
            }
            ConfigValue::Number(min, max, put) => {
                let number = number(value.get_ref());
                let number = number.filter(|number| (min..=max).contains(&number));
                put(target, number.ok_or_else(bad)?);
            }
            ConfigValue::Flag(put) => put(target, value.get_ref().as_bool().ok_or_else(bad)?),
            ConfigValue::Schedule(put) => put(target, self.schedule(key, value)?),
            ConfigValue::Path(put) => {
                let text = self.text_of(key, value, &wanted.allowed())?;
                // Only a shell expands `~`, and no shell has processed this value.
                if text.starts_with('~') || text.contains(char::is_control) {
                    return Err(bad());
                }
                let folder = self.path.parent().unwrap_or(Path::new(""));
                put(target, folder.join(text));
            }
            ConfigValue::List(allowed, put) => {
                let omitted = || {
                    self.bad(
                        key,
                        value,
                        format!("{allowed}; omit the key to leave it unset"),
                    )
                };
                let values = value
                    .get_ref()
                    .as_array()
                    .filter(|values| !values.is_empty());
                let texts = values.ok_or_else(omitted)?.iter();
                let texts: Option<Vec<&str>> = texts.map(|text| text.get_ref().as_str()).collect();
                put(target, &texts.ok_or_else(bad)?).ok_or_else(bad)?;
            }
            ConfigValue::Text(allowed, put) => {
                let text = self.text_of(key, value, allowed)?;
                put(target, &text).ok_or_else(bad)?;
            }
        }
        Ok(())
    }

    fn schedule(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Schedule, ConfigError> {
        let text = self.text_of(key, value, schedule::ALLOWED)?;
        text.parse()
            .map_err(|error: schedule::ScheduleError| self.bad(key, value, error.expectation()))
    }

    fn table<'v, 'i>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Result<&'v DeTable<'i>, ConfigError> {
        let table = value.get_ref().as_table();
        table.ok_or_else(|| self.bad(key, value, format!("a table: `[{key}]`")))
    }

    fn text_of(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        allowed: &str,
    ) -> Result<String, ConfigError> {
        let text = value.get_ref().as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| {
            self.bad(
                key,
                value,
                format!("{allowed}; omit the key to leave it unset"),
            )
        })
    }

    fn bad(&self, key: &str, value: &Spanned<DeValue<'_>>, allowed: String) -> ConfigError {
        let span = value.span();
        ConfigError::BadValue {
            place: self.place(span.start),
            key: key.to_owned(),
            // An address can contain a password.
            value: match may_be_a_secret(key) {
                true => HIDDEN.to_owned(),
                false => format!(
                    "`{}`",
                    short(&without_secrets(self.text.get(span).unwrap_or_default()))
                ),
            },
            allowed,
        }
    }

    fn place(&self, offset: usize) -> FilePosition {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FilePosition {
            file: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    u64::try_from(value).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(float) => float.as_str().parse().ok(),
        None => whole(value).map(|number| number as f64),
    }
}

fn size(text: &str) -> Option<u64> {
    // `ByteSize` also accepts `.5 MB`, and saturates values that are too large.
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| text.parse::<ByteSize>().ok())?
        .map(|size| size.0)
        .filter(|&bytes| bytes < u64::MAX)
}

fn time(text: &str) -> Option<Duration> {
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

/// Whether the value of a key could be a secret, or a secret pasted into the wrong place.
pub(super) fn may_be_a_secret(key: &str) -> bool {
    let is_in = |section: &str| key.split('.').next() == Some(section);
    is_in("llm") || is_in("notify") || is_secret_name(key)
}

pub(super) fn short(value: &str) -> String {
    let mut text: String = printable(value).chars().take(VALUE_CHARS_MAX).collect();
    if value.chars().count() > VALUE_CHARS_MAX {
        text.push('…');
    }
    text
}

/// The known name closest to a mistyped one, if any is close enough.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let alike = |known: &&'a str| strsim::jaro_winkler(name, known);
    let best = known
        .iter()
        .copied()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) > 0.8).then_some(best)
}

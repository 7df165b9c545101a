//! Token counts of a message.

use crate::json::{Json, Text};
use crate::scan::{Result, Scanner};

/// A single response cannot have a larger count.
const FIGURE_MAX: i64 = 100_000_000;

/// The token usage of one message.
#[derive(Clone, Debug, Default)]
pub struct Usage<'a> {
    /// The token counts.
    pub tokens: Tokens,
    /// `speed`, for example `fast`.
    pub speed: Option<Text<'a>>,
    /// `service_tier`, for example `batch`.
    pub service_tier: Option<Text<'a>>,
    /// `inference_geo`: where the model ran, for example `us`.
    pub inference_geo: Option<Text<'a>>,
    /// `server_tool_use.web_search_requests`: searches that the API ran and billed.
    pub web_searches: Option<i64>,
    /// `iterations`: the steps of the response that are billed. Of the known kinds.
    pub iterations: Vec<Iteration<'a>>,
    /// Whether a count cannot be read. The readable counts are then a lower bound.
    pub is_incomplete: bool,
}

/// A step of a response that is billed.
#[derive(Clone, Debug)]
pub struct Iteration<'a> {
    /// `type`.
    pub kind: IterationKind,
    /// `model`, if it differs from the message's model.
    pub model: Option<Text<'a>>,
    /// The token counts.
    pub tokens: Tokens,
    /// Whether a count cannot be read.
    pub is_incomplete: bool,
}

/// The kind of an [`Iteration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterationKind {
    /// `message`: a request to a model. Included in the message's own counts, unless another model
    /// declined it and a fallback answered.
    Message,
    /// `fallback_message`: a request to the fallback model that answered.
    Fallback,
    /// `advisor_message`: an answer by another model. Not included in the message's own counts.
    Advisor,
    /// `compaction`: the API summarized the conversation before it answered. Not included in the
    /// message's own counts.
    Compaction,
}

/// Token counts as in the transcript. Each can be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `input_tokens`.
    pub input: Option<i64>,
    /// `output_tokens`.
    pub output: Option<i64>,
    /// `cache_read_input_tokens`.
    pub cache_read: Option<i64>,
    /// `cache_creation_input_tokens`: tokens written to the cache, with any lifetime.
    pub cache_creation: Option<i64>,
    /// `cache_creation.ephemeral_5m_input_tokens`.
    pub cache_creation_5m_split: Option<i64>,
    /// `cache_creation.ephemeral_1h_input_tokens`.
    pub cache_creation_1h_split: Option<i64>,
    /// The sum of all other counts in `cache_creation`.
    pub cache_creation_other_split: Option<i64>,
    /// `output_tokens_details.thinking_tokens`. Included in `output`.
    pub thinking: Option<i64>,
}

/// Problems found while reading the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Notes {
    /// A value could not be read, or not exactly.
    is_unreadable: bool,
    /// Because of that, a billed count is missing.
    is_incomplete: bool,
}

impl Notes {
    fn note_missing(&mut self) {
        self.is_unreadable = true;
        self.is_incomplete = true;
    }

    /// Reads a count. Rounds a fraction up and reports it.
    fn figure(&mut self, json: Json<'_>) -> Option<i64> {
        let rounded = || json.f64().map(f64::ceil).filter(|float| *float <= 1e15);
        let exact = json.s64();
        let figure = exact.or_else(|| rounded().map(|float| float as i64));
        // A value that rounds up to zero is negative.
        let least = i64::from(exact.is_none());
        let figure = figure.filter(|figure| (least..=FIGURE_MAX).contains(figure));
        self.is_unreadable |= exact.is_none() && figure.is_some();
        if figure.is_none() && !json.is_null() {
            self.note_missing();
        }
        figure
    }
}

impl Tokens {
    /// Tokens written to the cache for five minutes or an unknown lifetime: the larger of the flat
    /// count and the sum of the split, minus the tokens for one hour.
    pub fn cache_creation_5m(&self) -> i64 {
        let one_hour = self.cache_creation_1h();
        let split = [
            self.cache_creation_5m_split,
            self.cache_creation_other_split,
        ];
        let split = split
            .into_iter()
            .flatten()
            .fold(one_hour, i64::saturating_add);
        split.max(self.cache_creation.unwrap_or(0)) - one_hour
    }

    /// Tokens written to the cache for one hour.
    pub fn cache_creation_1h(&self) -> i64 {
        self.cache_creation_1h_split.unwrap_or(0)
    }

    /// All billed tokens.
    pub fn total(&self) -> i64 {
        [
            self.input.unwrap_or(0),
            self.output.unwrap_or(0),
            self.cache_read.unwrap_or(0),
            self.cache_creation_5m(),
            self.cache_creation_1h(),
        ]
        .into_iter()
        .fold(0, i64::saturating_add)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the value of `key` if it is a count. Returns whether the key is known.
    fn read_field(
        &mut self,
        scanner: &mut Scanner<'_>,
        key: &str,
        notes: &mut Notes,
    ) -> Result<bool> {
        match key {
            "input_tokens" => self.input = notes.figure(scanner.json()?),
            "output_tokens" => self.output = notes.figure(scanner.json()?),
            "cache_read_input_tokens" => self.cache_read = notes.figure(scanner.json()?),
            "cache_creation_input_tokens" => self.cache_creation = notes.figure(scanner.json()?),
            "cache_creation" => self.read_cache_creation(scanner, notes)?,
            "output_tokens_details" => self.read_output_details(scanner, notes)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_cache_creation(&mut self, scanner: &mut Scanner<'_>, notes: &mut Notes) -> Result<()> {
        self.cache_creation_5m_split = None;
        self.cache_creation_1h_split = None;
        self.cache_creation_other_split = None;
        if scanner.peek() != Some(b'{') {
            if !scanner.json()?.is_null() {
                notes.note_missing();
            }
            return Ok(());
        }
        scanner.object(|scanner, key| {
            let json = scanner.json()?;
            match key {
                "ephemeral_5m_input_tokens" => self.cache_creation_5m_split = notes.figure(json),
                "ephemeral_1h_input_tokens" => self.cache_creation_1h_split = notes.figure(json),
                // Future lifetimes. Values that are not numbers are ignored.
                _ if json.f64().is_some() => {
                    let sum = self.cache_creation_other_split.unwrap_or(0);
                    let figure = notes.figure(json).unwrap_or(0);
                    self.cache_creation_other_split = Some(sum.saturating_add(figure));
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn read_output_details(&mut self, scanner: &mut Scanner<'_>, notes: &mut Notes) -> Result<()> {
        self.thinking = None;
        let mut own = Notes::default();
        scanner.maybe_object(|scanner, key| {
            let json = scanner.json()?;
            if key == "thinking_tokens" {
                self.thinking = own.figure(json);
            }
            Ok(())
        })?;
        // This is part of another count, so no billed tokens are missing without it.
        notes.is_unreadable |= own.is_unreadable;
        Ok(())
    }
}

impl<'a> Usage<'a> {
    /// Reads a value. Returns whether a part of it cannot be read exactly.
    pub(super) fn read(place: &mut Option<Self>, scanner: &mut Scanner<'a>) -> Result<bool> {
        let usage = place.insert(Self::default());
        let mut notes = Notes::default();
        if scanner.peek() == Some(b'{') {
            scanner.object(|scanner, key| {
                match key {
                    "speed" => usage.speed = scanner.maybe_text()?,
                    "service_tier" => usage.service_tier = scanner.maybe_text()?,
                    "inference_geo" => usage.inference_geo = scanner.maybe_text()?,
                    "server_tool_use" => usage.read_server_tools(scanner, &mut notes)?,
                    "iterations" => usage.read_iterations(scanner, &mut notes)?,
                    _ => {
                        if !usage.tokens.read_field(scanner, key, &mut notes)? {
                            scanner.skip()?;
                        }
                    }
                }
                Ok(())
            })?;
        } else if !scanner.json()?.is_null() {
            notes.note_missing();
        }
        usage.is_incomplete = notes.is_incomplete;
        if usage.tokens.is_empty() && usage.iterations.is_empty() && !usage.is_incomplete {
            *place = None;
        }
        Ok(notes.is_unreadable)
    }

    fn read_server_tools(&mut self, scanner: &mut Scanner<'a>, notes: &mut Notes) -> Result<()> {
        self.web_searches = None;
        scanner.maybe_object(|scanner, key| {
            let json = scanner.json()?;
            if key == "web_search_requests" {
                self.web_searches = notes.figure(json);
            }
            Ok(())
        })?;
        Ok(())
    }

    fn read_iterations(&mut self, scanner: &mut Scanner<'a>, notes: &mut Notes) -> Result<()> {
        self.iterations.clear();
        if scanner.peek() != Some(b'[') {
            if !scanner.json()?.is_null() {
                notes.note_missing();
            }
            return Ok(());
        }
        scanner.array(|scanner| {
            self.iterations.extend(Iteration::read(scanner, notes)?);
            Ok(())
        })
    }
}

impl<'a> Iteration<'a> {
    fn read(scanner: &mut Scanner<'a>, notes: &mut Notes) -> Result<Option<Self>> {
        if scanner.peek() != Some(b'{') {
            if !scanner.json()?.is_null() {
                notes.note_missing();
            }
            return Ok(None);
        }
        let mut kind = None;
        let mut model = None;
        let mut tokens = Tokens::default();
        let mut own = Notes::default();
        scanner.object(|scanner, key| {
            match key {
                "type" => kind = scanner.maybe_text()?,
                "model" => model = scanner.maybe_text()?,
                _ => {
                    if !tokens.read_field(scanner, key, &mut own)? {
                        scanner.skip()?;
                    }
                }
            }
            Ok(())
        })?;
        notes.is_unreadable |= own.is_unreadable;
        let kind = match kind.map(|kind| kind.decode()).as_deref() {
            Some("message") => IterationKind::Message,
            Some("fallback_message") => IterationKind::Fallback,
            Some("advisor_message") => IterationKind::Advisor,
            Some("compaction") => IterationKind::Compaction,
            _ => return Ok(None),
        };
        let is_incomplete = own.is_incomplete;
        let is_one = !tokens.is_empty() || is_incomplete;
        Ok(is_one.then_some(Self {
            kind,
            model,
            tokens,
            is_incomplete,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Usage<'_>>, bool) {
        let mut usage = None;
        let is_unreadable = Usage::read(&mut usage, &mut Scanner::new(text)).unwrap();
        (usage, is_unreadable)
    }

    fn check_cache_writes(text: &str, expected: (i64, i64)) {
        let tokens = read(text).0.unwrap().tokens;
        let found = (tokens.cache_creation_5m(), tokens.cache_creation_1h());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_larger_of_flat_and_split_cache_writes_counts() {
        for (flat, split, expected) in [
            (
                "100",
                r#"{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7}"#,
                (93, 7),
            ),
            (
                "100",
                r#"{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}"#,
                (100, 0),
            ),
            (
                "100",
                r#"{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":70}"#,
                (60, 70),
            ),
            ("100", r#"{"ephemeral_5m_input_tokens":60}"#, (100, 0)),
            ("100", r#"{"ephemeral_1h_input_tokens":60}"#, (40, 60)),
            (
                "0",
                r#"{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":70}"#,
                (60, 70),
            ),
            ("null", r#"{"ephemeral_1h_input_tokens":70}"#, (0, 70)),
            (
                "100",
                r#"{"ephemeral_1d_input_tokens":80,"ephemeral_1h_input_tokens":10}"#,
                (90, 10),
            ),
            (
                "100",
                r#"{"ephemeral_1d_input_tokens":180,"ephemeral_1h_input_tokens":10}"#,
                (180, 10),
            ),
            (
                "100",
                r#"{"note":"soon","ephemeral_1h_input_tokens":10.0}"#,
                (90, 10),
            ),
            ("100", "{}", (100, 0)),
            ("100", "null", (100, 0)),
        ] {
            check_cache_writes(
                &format!(r#"{{"cache_creation_input_tokens":{flat},"cache_creation":{split}}}"#),
                expected,
            );
            check_cache_writes(
                &format!(r#"{{"cache_creation":{split},"cache_creation_input_tokens":{flat}}}"#),
                expected,
            );
        }
        check_cache_writes(
            r#"{"cache_creation":{"ephemeral_1h_input_tokens":5},"cache_creation":null,
                "cache_creation_input_tokens":3}"#,
            (3, 0),
        );
    }

    #[test]
    fn a_figure_is_a_whole_number_however_it_is_written() {
        for (figure, input, is_unreadable, is_incomplete) in [
            ("512", Some(512), false, false),
            ("512.0", Some(512), false, false),
            ("5.12e2", Some(512), false, false),
            ("5120E-1", Some(512), false, false),
            ("0.0", Some(0), false, false),
            ("-0.0", Some(0), false, false),
            ("1e8", Some(100_000_000), false, false),
            ("204.8", Some(205), true, false),
            ("0.2", Some(1), true, false),
            ("null", None, false, false),
            ("-1", None, true, true),
            ("-0.5", None, true, true),
            ("-512.0", None, true, true),
            ("100000001", None, true, true),
            ("1.00000001e8", None, true, true),
            ("99999999.5", Some(100_000_000), true, false),
            ("100000000.5", None, true, true),
            ("1e300", None, true, true),
            ("99999999999999999999", None, true, true),
            ("\"1\"", None, true, true),
            ("\"NaN\"", None, true, true),
            ("true", None, true, true),
            ("[1]", None, true, true),
            ("{}", None, true, true),
            ("NaN", None, true, true),
            ("Infinity", None, true, true),
            ("-Infinity", None, true, true),
            ("1e999", None, true, true),
            ("01", None, true, true),
        ] {
            let text = format!(r#"{{"input_tokens":{figure},"output_tokens":2}}"#);
            let (usage, reported) = read(&text);
            let usage = usage.unwrap();
            assert_eq!(usage.tokens.output, Some(2), "{figure}");
            assert_eq!(
                (usage.tokens.input, reported, usage.is_incomplete),
                (input, is_unreadable, is_incomplete),
                "{figure}"
            );
        }
    }

    #[test]
    fn usage_that_cannot_be_read_is_incomplete_and_usage_without_figures_is_none() {
        for text in [
            r#"{"input_tokens":-1}"#,
            r#""much""#,
            "[1]",
            "7",
            r#"{"cache_creation":"x"}"#,
            r#"{"iterations":"x"}"#,
            r#"{"iterations":["x"]}"#,
        ] {
            let (usage, reported) = read(text);
            assert!(usage.unwrap().is_incomplete && reported, "{text}");
        }
        for text in [
            "{}",
            "null",
            r#"{"speed":"fast"}"#,
            r#"{"iterations":[null]}"#,
        ] {
            let (usage, reported) = read(text);
            assert!(usage.is_none() && !reported, "{text}");
        }
        let (usage, reported) =
            read(r#"{"output_tokens":5,"output_tokens_details":{"thinking_tokens":"x"}}"#);
        assert!(!usage.unwrap().is_incomplete && reported);
    }

    #[test]
    fn iterations_of_known_kinds_are_read_in_order() {
        let text = r#"{"input_tokens":5,"iterations":[{"type":"message","input_tokens":5},
            {"type":"advisor_message","model":"m","input_tokens":9},null,{"type":"new","input_tokens":8},
            {"type":"fallback_message","model":"n","input_tokens":6},
            {"type":"compaction","input_tokens":7,"output_tokens":3},
            {"type":"compaction","input_tokens":"x"},{"type":"compaction"}]}"#;
        let (usage, reported) = read(text);
        let usage = usage.unwrap();
        let found: Vec<_> = usage
            .iterations
            .iter()
            .map(|one| (one.kind, one.tokens.input, one.is_incomplete))
            .collect();
        assert_eq!(
            found,
            [
                (IterationKind::Message, Some(5), false),
                (IterationKind::Advisor, Some(9), false),
                (IterationKind::Fallback, Some(6), false),
                (IterationKind::Compaction, Some(7), false),
                (IterationKind::Compaction, None, true),
            ]
        );
        assert!(reported && !usage.is_incomplete);
    }
}

//! Token figures of a message.

use crate::json::Text;
use crate::scan::{Result, Scanner};

/// What one message cost in tokens.
#[derive(Clone, Debug, Default)]
pub struct Usage<'a> {
    /// The figures.
    pub tokens: Tokens,
    /// `speed`, for instance `fast`.
    pub speed: Option<Text<'a>>,
    /// `iterations` of type `advisor_message`: answers of another model, which the figures above
    /// do not include.
    pub advisors: Vec<Advisor<'a>>,
}

/// An answer of an advising model.
#[derive(Clone, Debug, Default)]
pub struct Advisor<'a> {
    /// `model`.
    pub model: Option<Text<'a>>,
    /// The figures.
    pub tokens: Tokens,
}

/// Token figures as they stand in the transcript; each may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `input_tokens`.
    pub input: Option<i64>,
    /// `output_tokens`.
    pub output: Option<i64>,
    /// `cache_read_input_tokens`.
    pub cache_read: Option<i64>,
    /// `cache_creation_input_tokens`: what was written to the cache, not split by its lifetime.
    pub cache_creation: Option<i64>,
    /// `cache_creation.ephemeral_5m_input_tokens`.
    pub cache_creation_5m_split: Option<i64>,
    /// `cache_creation.ephemeral_1h_input_tokens`.
    pub cache_creation_1h_split: Option<i64>,
    /// `output_tokens_details.thinking_tokens`; part of `output`.
    pub thinking: Option<i64>,
}

impl Tokens {
    /// Written to the cache for five minutes: the split figure wins, an unsplit one counts here.
    pub fn cache_creation_5m(&self) -> i64 {
        let is_split =
            self.cache_creation_5m_split.is_some() || self.cache_creation_1h_split.is_some();
        let figure = if is_split {
            self.cache_creation_5m_split
        } else {
            self.cache_creation
        };
        figure.unwrap_or(0)
    }

    /// Written to the cache for an hour.
    pub fn cache_creation_1h(&self) -> i64 {
        self.cache_creation_1h_split.unwrap_or(0)
    }

    /// All tokens that were paid for.
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

    /// Reads the value of `key` if it is a figure; answers whether the key is one of ours.
    /// `is_unreadable` is raised by a value that should be a figure and is none.
    fn read_field(
        &mut self,
        scanner: &mut Scanner<'_>,
        key: &str,
        is_unreadable: &mut bool,
    ) -> Result<bool> {
        let mut figure = |scanner: &mut Scanner<'_>| {
            let json = scanner.json()?;
            let figure = json.s64().filter(|figure| *figure >= 0);
            *is_unreadable |= figure.is_none() && !json.is_null();
            Ok(figure)
        };
        match key {
            "input_tokens" => self.input = figure(scanner)?,
            "output_tokens" => self.output = figure(scanner)?,
            "cache_read_input_tokens" => self.cache_read = figure(scanner)?,
            "cache_creation_input_tokens" => self.cache_creation = figure(scanner)?,
            "cache_creation" => {
                scanner.maybe_object(|scanner, key| {
                    match key {
                        "ephemeral_5m_input_tokens" => {
                            self.cache_creation_5m_split = figure(scanner)?;
                        }
                        "ephemeral_1h_input_tokens" => {
                            self.cache_creation_1h_split = figure(scanner)?;
                        }
                        _ => scanner.skip()?,
                    }
                    Ok(())
                })?;
            }
            "output_tokens_details" => {
                scanner.maybe_object(|scanner, key| {
                    match key {
                        "thinking_tokens" => self.thinking = figure(scanner)?,
                        _ => scanner.skip()?,
                    }
                    Ok(())
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'a> Usage<'a> {
    /// Reads the value at hand; answers whether there is something in it that can't be read.
    pub(super) fn read(place: &mut Option<Self>, scanner: &mut Scanner<'a>) -> Result<bool> {
        if scanner.peek() != Some(b'{') {
            *place = None;
            return Ok(!scanner.json()?.is_null());
        }
        let usage = place.insert(Self::default());
        let mut is_unreadable = false;
        scanner.object(|scanner, key| {
            match key {
                "speed" => usage.speed = scanner.maybe_text()?,
                "iterations" if scanner.peek() == Some(b'[') => {
                    usage.advisors.clear();
                    scanner.array(|scanner| {
                        let advisor = Advisor::read(scanner, &mut is_unreadable)?;
                        usage.advisors.extend(advisor);
                        Ok(())
                    })?;
                }
                _ => {
                    if !usage.tokens.read_field(scanner, key, &mut is_unreadable)? {
                        scanner.skip()?;
                    }
                }
            }
            Ok(())
        })?;
        if usage.tokens.is_empty() && usage.advisors.is_empty() {
            *place = None;
        }
        Ok(is_unreadable)
    }
}

impl<'a> Advisor<'a> {
    fn read(scanner: &mut Scanner<'a>, is_unreadable: &mut bool) -> Result<Option<Self>> {
        let mut advisor = Self::default();
        let mut kind = None;
        scanner.maybe_object(|scanner, key| {
            match key {
                "type" => kind = scanner.maybe_text()?,
                "model" => advisor.model = scanner.maybe_text()?,
                _ => {
                    if !advisor.tokens.read_field(scanner, key, is_unreadable)? {
                        scanner.skip()?;
                    }
                }
            }
            Ok(())
        })?;
        let is_advisor = kind.is_some_and(|kind| kind == "advisor_message");
        Ok((is_advisor && !advisor.tokens.is_empty()).then_some(advisor))
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

    #[test]
    fn the_split_of_cache_writes_wins_over_the_flat_figure() {
        let split = r#"{"cache_creation_input_tokens":100,
            "cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7}}"#;
        let tokens = read(split).0.unwrap().tokens;
        assert_eq!(
            (tokens.cache_creation_5m(), tokens.cache_creation_1h()),
            (0, 7)
        );

        let flat = r#"{"cache_creation_input_tokens":100,"cache_creation":null}"#;
        let tokens = read(flat).0.unwrap().tokens;
        assert_eq!(
            (tokens.cache_creation_5m(), tokens.cache_creation_1h()),
            (100, 0)
        );
    }

    #[test]
    fn what_is_no_figure_is_absent_and_reported() {
        for (text, is_readable, is_unreadable) in [
            (r#"{"input_tokens":1,"output_tokens":2}"#, true, false),
            (r#"{"input_tokens":null,"output_tokens":2}"#, true, false),
            (r#"{"input_tokens":"1","output_tokens":2}"#, true, true),
            (r#"{"input_tokens":-1}"#, false, true),
            (r#"{"input_tokens":1.5}"#, false, true),
            (r#"{"input_tokens":99999999999999999999}"#, false, true),
            ("{}", false, false),
            ("null", false, false),
            ("[1]", false, true),
        ] {
            let (usage, reported) = read(text);
            assert_eq!(
                (usage.is_some(), reported),
                (is_readable, is_unreadable),
                "{text}"
            );
        }
    }

    #[test]
    fn totals_do_not_overflow() {
        let text = format!(r#"{{"input_tokens":{0},"output_tokens":{0}}}"#, i64::MAX);
        assert_eq!(read(&text).0.unwrap().tokens.total(), i64::MAX);
    }

    #[test]
    fn only_advisors_of_the_iterations_are_messages_of_their_own() {
        let text = r#"{"input_tokens":5,"iterations":[{"type":"message","input_tokens":5},
            {"type":"advisor_message","model":"m","input_tokens":9},null]}"#;
        let usage = read(text).0.unwrap();
        assert_eq!(usage.advisors.len(), 1);
        assert_eq!(usage.advisors[0].tokens.input, Some(9));
    }
}

//! Reads price files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use session_pipeline_host::fault::printable;
use session_pipeline_store::money::millionths;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{Amounts, Declaration, Entry, Factors};
use super::{BATCH, ONE, PriceMatch, PriceOrigin, PriceTableError, WEB_SEARCH};

/// The entries of a file, one for each model and alias. `origin` returns the origin of the entry at
/// a byte of the text.
pub(super) fn read(
    path: &Path,
    text: &str,
    origin: impl Fn(usize) -> PriceOrigin,
) -> Result<Vec<Entry>, PriceTableError> {
    // A generated file can have thousands of entries.
    let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line_of = |at: usize| line_ends.partition_point(|end| *end < at) + 1;
    let document = DeTable::parse(text).map_err(|error| PriceTableError::Syntax {
        path: path.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    let refused = |entry: String, reason: String| PriceTableError::Entry {
        path: path.to_owned(),
        entry,
        reason,
    };
    let mut entries: BTreeMap<String, Vec<(Entry, String)>> = BTreeMap::new();
    let mut families: Vec<(Family, String)> = Vec::new();
    let add = |entries: &mut BTreeMap<String, Vec<_>>, entry: Entry, place: &str| {
        let same_id = entries.entry(entry.id.clone()).or_default();
        if let Some((_, other)) = same_id
            .iter()
            .find(|(other, _): &&(Entry, String)| other.overlaps(&entry))
        {
            let reason = format!(
                "its days for `{}` overlap with {other}; end one the day before the other starts",
                printable(&entry.id)
            );
            return Err(refused(place.to_owned(), reason));
        }
        same_id.push((entry, place.to_owned()));
        Ok(())
    };
    for (name, value) in document.get_ref() {
        let line = line_of(name.span().start);
        let DeValue::Array(prices) = value.get_ref() else {
            return Err(not_a_price(&refused, line, name.get_ref()));
        };
        if name.get_ref() != "price" {
            return Err(not_a_price(&refused, line, name.get_ref()));
        }
        for (number, price) in prices.iter().enumerate() {
            let mut place = format!(
                "entry {} at line {}",
                number + 1,
                line_of(price.span().start)
            );
            let origin = origin(price.span().start);
            let DeValue::Table(price) = price.get_ref() else {
                let reason = "not a table; start it with `[[price]]`".to_owned();
                return Err(refused(place, reason));
            };
            if let Some(model) = price
                .get("model")
                .and_then(|model| model.get_ref().as_str())
            {
                place = format!("{place} (`{}`)", printable(model));
            }
            let (own, family) =
                entries_of(price, origin).map_err(|reason| refused(place.clone(), reason))?;
            for entry in own {
                add(&mut entries, entry, &place)?;
            }
            families.extend(family.map(|family| (family, place)));
        }
    }
    for (family, place) in &families {
        // An entry of a family ends when the agent starts to resolve the name to the next model.
        let next = families
            .iter()
            .filter(|(other, _)| other.name == family.name && other.from > family.from)
            .map(|(other, _)| other.from)
            .min();
        for entry in family.prices.iter().cloned() {
            if let Some(entry) = entry.within(family.from, next) {
                add(&mut entries, entry, place)?;
            }
        }
    }
    let entries = entries.into_values().flatten();
    Ok(entries.map(|(entry, _)| entry).collect())
}

fn not_a_price(
    refused: &impl Fn(String, String) -> PriceTableError,
    line: usize,
    name: &str,
) -> PriceTableError {
    refused(
        format!("line {line}"),
        format!(
            "unknown key `{}`; a price file contains entries that start with `[[price]]`",
            printable(name)
        ),
    )
}

/// A model that an unversioned name such as `opus` refers to, from a certain day on.
struct Family {
    name: String,
    /// The day on which the agent started to resolve the name to this model.
    from: Date,
    /// The model's prices, with the name as id.
    prices: Vec<Entry>,
}

const FIELDS: [&str; 19] = [
    "model",
    "aliases",
    "family",
    "from",
    "until",
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "long_context",
    "fast",
    "regional",
    "us_inference",
    "batch",
    "web_search",
    "source",
    "provider",
    "checked",
];

fn entries_of(
    price: &DeTable<'_>,
    origin: PriceOrigin,
) -> Result<(Vec<Entry>, Option<Family>), String> {
    known_fields(price, &FIELDS)?;
    let from =
        date(price, "from")?.ok_or("`from` is missing; write the first day, like 2026-01-31")?;
    let before = day_after_last(price, from)?;
    let (checked, source) = (date(price, "checked")?, text(price, "source")?);
    let provider = text(price, "provider")?;
    let long = match price.get("long_context").map(Spanned::get_ref) {
        None => None,
        Some(DeValue::Table(long)) => {
            let within = |reason| format!("`long_context`: {reason}");
            let mut fields = vec!["above", "until"];
            fields.extend(AMOUNTS);
            known_fields(long, &fields).map_err(within)?;
            let above = match long.get("above").map(Spanned::get_ref) {
                Some(DeValue::Integer(above)) if above.radix() == 10 => plain(above.as_str())
                    .parse()
                    .ok()
                    .filter(|above| *above >= 0),
                _ => None,
            };
            let above = above.ok_or(
                "`long_context`: `above` is not a number of tokens; write it like `above = 200_000`",
            )?;
            let amounts = amounts(long).map_err(within)?;
            let before = day_after_last(long, from).map_err(within)?;
            Some(((above, amounts), before))
        }
        Some(_) => {
            return Err(
                "`long_context` is not a table; write `{ above = 200_000, input = … }`".to_owned(),
            );
        }
    };
    let fast = fast(price, from)?;
    let whole = Entry {
        id: String::new(),
        match_by: PriceMatch::Alias,
        declaration: Arc::new(Declaration {
            origin,
            from,
            before,
            fast,
            long,
            source,
            provider,
            checked,
        }),
        from,
        before,
        amounts: amounts(price)?,
        long: None,
        factors: Factors {
            // A model without a fast mode never has this multiplier in its usage.
            fast: ONE,
            regional: number(price, "regional")?.unwrap_or(ONE),
            us: number(price, "us_inference")?.unwrap_or(ONE),
            batch: number(price, "batch")?.unwrap_or(BATCH),
        },
        // From dollars per thousand searches.
        web_search: number(price, "web_search")?.unwrap_or(WEB_SEARCH) * 1000,
    };
    // A new period starts where the long context or the fast mode ends.
    let ends = [long.and_then(|(_, end)| end), fast.and_then(|(_, end)| end)];
    let ends: BTreeSet<Date> = ends.into_iter().flatten().collect();
    let starts = std::iter::once(from).chain(ends.iter().copied());
    let next_starts = ends.iter().copied().map(Some).chain([None]);
    let periods: Vec<Entry> = starts
        .zip(next_starts)
        .filter_map(|(start, next)| whole.clone().within(start, next))
        .map(|period| {
            let holds = |end: Option<Date>| end.is_none_or(|end| period.from < end);
            Entry {
                long: long.filter(|(_, end)| holds(*end)).map(|(long, _)| long),
                factors: Factors {
                    fast: fast
                        .filter(|(_, end)| holds(*end))
                        .map_or(ONE, |(times, _)| times),
                    ..period.factors
                },
                ..period
            }
        })
        .collect();
    let model = text(price, "model")?.ok_or("`model` is missing; write the model's id")?;
    let mut ids = vec![model.clone()];
    match price.get("aliases").map(Spanned::get_ref) {
        None => {}
        Some(DeValue::Array(aliases)) => {
            for alias in aliases.iter() {
                let alias = alias.get_ref().as_str();
                ids.push(
                    alias
                        .ok_or("`aliases` contains a value that is not a string; write `[\"…\"]`")?
                        .to_owned(),
                );
            }
        }
        Some(_) => return Err("`aliases` is not a list of strings; write `[\"…\"]`".to_owned()),
    }
    let mut entries = Vec::new();
    for id in ids
        .iter()
        .map(|id| as_compared(id))
        .collect::<BTreeSet<_>>()
    {
        if id.is_empty() {
            return Err("a model id is empty; write the id as in transcripts".to_owned());
        }
        for period in &periods {
            let entry = Entry {
                id: id.clone(),
                match_by: match id == as_compared(&model) {
                    true => PriceMatch::Id,
                    false => PriceMatch::Alias,
                },
                ..period.clone()
            };
            entry.rates()?;
            entries.push(entry);
        }
    }
    let family = family(price, from)?.map(|(name, from)| {
        let named = |period: Entry| Entry {
            id: name.clone(),
            match_by: PriceMatch::Family,
            ..period
        };
        Family {
            prices: periods.into_iter().map(named).collect(),
            name,
            from,
        }
    });
    Ok((entries, family))
}

/// The day after the last day in `until`, if it is set.
fn day_after_last(table: &DeTable<'_>, from: Date) -> Result<Option<Date>, String> {
    let before = date(table, "until")?.map(|last| {
        // The maximum date has no next day, and no message can have a later date.
        last.tomorrow().unwrap_or(Date::MAX)
    });
    if before.is_some_and(|before| before <= from) {
        return Err("`until` is before `from`; swap them".to_owned());
    }
    Ok(before)
}

/// The multiplier in `fast`, and the day after its last one. Either `fast = 6`, or a table with
/// `times` and `until`.
fn fast(price: &DeTable<'_>, from: Date) -> Result<Option<(i64, Option<Date>)>, String> {
    let Some(DeValue::Table(fast)) = price.get("fast").map(Spanned::get_ref) else {
        return Ok(number(price, "fast")?.map(|times| (times, None)));
    };
    let within = |reason| format!("`fast`: {reason}");
    known_fields(fast, &["times", "until"]).map_err(within)?;
    let times = number(fast, "times")
        .map_err(within)?
        .ok_or("`fast`: `times` is missing; write `fast = { times = 2, until = 2026-12-31 }`")?;
    Ok(Some((times, day_after_last(fast, from).map_err(within)?)))
}

/// The family of a model, and the day from which its name refers to this model.
fn family(price: &DeTable<'_>, from: Date) -> Result<Option<(String, Date)>, String> {
    let (name, since) = match price.get("family").map(Spanned::get_ref) {
        Some(DeValue::Table(family)) => {
            let within = |reason| format!("`family`: {reason}");
            known_fields(family, &["name", "from"]).map_err(within)?;
            let since = date(family, "from").map_err(within)?;
            (text(family, "name").map_err(within)?, since)
        }
        None => return Ok(None),
        Some(_) => (text(price, "family")?, None),
    };
    let name = name.as_deref().map(as_compared).unwrap_or_default();
    if name.is_empty() {
        return Err("`family` has no name; write it like `family = \"opus\"`".to_owned());
    }
    Ok(Some((name, since.unwrap_or(from))))
}

/// Normalizes an id for comparisons. The suffix for the large context window is removed.
pub(super) fn as_compared(id: &str) -> String {
    let id = id.trim().to_lowercase();
    id.strip_suffix("[1m]")
        .map_or(id.clone(), ToOwned::to_owned)
}

pub(super) const AMOUNTS: [&str; 5] = [
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
];

fn amounts(table: &DeTable<'_>) -> Result<Amounts, String> {
    let amount = |name: &str| {
        number(table, name)?.ok_or_else(|| {
            format!("`{name}` is missing; write US dollars per million tokens, or 0 if it is free")
        })
    };
    let [input, output, cache_read, cache_write_5m, cache_write_1h] = AMOUNTS;
    Ok(Amounts {
        input: amount(input)?,
        output: amount(output)?,
        cache_read: amount(cache_read)?,
        cache_write_5m: amount(cache_write_5m)?,
        cache_write_1h: amount(cache_write_1h)?,
    })
}

fn known_fields(table: &DeTable<'_>, known: &[&str]) -> Result<(), String> {
    let unknown = table
        .keys()
        .find(|name| !known.contains(&name.get_ref().as_ref()));
    match unknown {
        Some(name) => Err(format!(
            "unknown field `{}`; known fields: {}",
            printable(name.get_ref()),
            known.join(", ")
        )),
        None => Ok(()),
    }
}

/// Parses a number from its text, without floating point, because prices are exact.
fn number(table: &DeTable<'_>, name: &str) -> Result<Option<i64>, String> {
    let written = match table.get(name).map(Spanned::get_ref) {
        None => return Ok(None),
        Some(DeValue::Integer(number)) if number.radix() == 10 => number.as_str(),
        Some(DeValue::Float(number)) => number.as_str(),
        Some(DeValue::String(number)) => number.as_ref(),
        Some(_) => "",
    };
    let read = millionths(plain(written).trim_start_matches('+'));
    let reason = || {
        format!(
            "`{name}` is not a number from 0 to 1000000 with at most six decimals; write it like 0.25"
        )
    };
    read.map(Some).ok_or_else(reason)
}

fn plain(number: &str) -> String {
    number.replace('_', "")
}

fn text(table: &DeTable<'_>, name: &str) -> Result<Option<String>, String> {
    match table.get(name).map(Spanned::get_ref) {
        None => Ok(None),
        Some(DeValue::String(text)) => Ok(Some(text.to_string())),
        Some(_) => Err(format!("`{name}` is not a string; put it in quotes")),
    }
}

fn date(table: &DeTable<'_>, name: &str) -> Result<Option<Date>, String> {
    let Some(value) = table.get(name) else {
        return Ok(None);
    };
    let written = match value.get_ref() {
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    session_pipeline_host::day::parse(&written)
        .map(Some)
        .ok_or_else(|| format!("`{name}` is not a date; write it like 2026-01-31"))
}

//! Numbers, amounts and times as pages show them.

use maud::{Markup, html};
use session_pipeline_host::fault::is_unsafe_for_terminal;

pub(super) use crate::duration::duration;

/// A count with thousands separators.
pub(super) fn count(value: i64) -> String {
    let digits = separated(value.unsigned_abs());
    match value < 0 {
        true => format!("−{digits}"),
        false => digits,
    }
}

/// The digits of a number with thousands separators.
pub(super) fn separated(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun, which is in the plural unless the number is one.
pub(super) fn counted(value: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// A large count in at most four characters and a unit: `137.4 M`.
pub(super) fn short_count(value: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "B"),
        (1_000_000, "M"),
        (1_000, "K"),
    ];
    match UNITS.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => {
            let tenths = value / (size / 10);
            format!("{}.{} {unit}", count(tenths / 10), tenths % 10)
        }
        None => count(value),
    }
}

/// An amount in US dollars, with cents.
pub(super) fn dollars(value: f64) -> String {
    if !value.is_finite() || value.abs() > 1e15 {
        return "more than $1,000,000,000,000,000".to_owned();
    }
    let cents = (value.abs() * 100.0).round() as i64;
    let sign = if value < 0.0 && cents > 0 { "−" } else { "" };
    format!("{sign}${}.{:02}", count(cents / 100), cents % 100)
}

/// A cost, which can be unknown or a lower bound.
pub(super) fn cost(value: Option<f64>, is_lower_bound: bool) -> Markup {
    html! {
        @match value {
            None => span title="No model has a price." { "no price" },
            Some(value) if is_lower_bound => {
                span title="A lower bound: a price or a final count is missing." {
                    span aria-hidden="true" { "≥ " }
                    span .visually-hidden { "at least " }
                    (dollars(value))
                }
            }
            Some(value) => (dollars(value)),
        }
    }
}

/// An e-mail address or another name of a user, which a narrow column breaks before the `@`, and at
/// separators.
pub(super) fn email(text: &str) -> Markup {
    let text = plain(text);
    html! {
        span .email {
            @match text.split_once('@') {
                Some((name, host)) => { (breakable(name)) wbr; span .host { "@" (breakable(host)) } },
                None => (breakable(&text)),
            }
        }
    }
}

/// A name or a path that a line can break after its separators, rather than within a word.
pub(super) fn breakable(text: &str) -> Markup {
    let text = plain(text);
    let parts: Vec<&str> = text
        .split_inclusive(['/', '\\', '.', '@', '-', '_'])
        .collect();
    html! {
        @for (place, part) in parts.iter().enumerate() { @if place > 0 { wbr; } (part) }
    }
}

/// A share in percent.
pub(super) fn percent(part: i64, whole: i64) -> String {
    match whole {
        0 => "–".to_owned(),
        whole => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

/// A message whose values are in backticks, as a page shows it.
pub(super) fn with_code(message: &str) -> Markup {
    html! {
        @for (place, part) in message.split('`').enumerate() {
            @if place % 2 == 0 { (plain(part)) } @else { code { (plain(part)) } }
        }
    }
}

/// A size in bytes.
pub(super) fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} B"),
        1_000..1_000_000 => format!("{:.1} kB", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value as f64 / 1e6),
        _ => format!("{:.1} GB", value as f64 / 1e9),
    }
}

/// A time, which the page's script shows in the zone of the page.
pub(super) fn time(timestamp: Option<&str>) -> Markup {
    html! {
        @match timestamp {
            Some(timestamp) => time datetime=(timestamp) { (readable(timestamp)) },
            None => "–",
        }
    }
}

/// `2026-01-05 09:00 UTC` for `2026-01-05T09:00:00.000000Z`.
fn readable(timestamp: &str) -> String {
    match (timestamp.get(..10), timestamp.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => timestamp.to_owned(),
    }
}

/// Text by anyone, on one line: control characters and marks that change the direction of writing
/// are shown as symbols.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if is_unsafe_for_terminal(c) || is_invisible(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, counted, dollars, email, percent, plain, short_count};

    #[test]
    fn numbers_have_separators_and_units() {
        assert_eq!(count(0), "0");
        assert_eq!(count(-1_234_567), "−1,234,567");
        assert_eq!(count(i64::MIN), "−9,223,372,036,854,775,808");
        assert_eq!(counted(1, "quote", "quotes"), "1 quote");
        assert_eq!(counted(1_000, "quote", "quotes"), "1,000 quotes");
        assert_eq!(short_count(999), "999");
        assert_eq!(short_count(137_382_852), "137.3 M");
        assert_eq!(dollars(1234.567), "$1,234.57");
        assert_eq!(dollars(-0.001), "$0.00");
        assert_eq!(dollars(f64::NAN), "more than $1,000,000,000,000,000");
        assert_eq!(percent(1, 0), "–");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn an_address_breaks_before_its_host_and_has_no_markup() {
        let shown = email("a<b@c").into_string();
        assert_eq!(
            shown,
            "<span class=\"email\">a&lt;b<wbr><span class=\"host\">@c</span></span>"
        );
        assert_eq!(
            email("ada").into_string(),
            "<span class=\"email\">ada</span>"
        );
    }

    #[test]
    fn text_cannot_change_the_direction_or_the_line() {
        assert_eq!(plain("a\u{202e}b\nc\u{1b}[31m"), "a\u{fffd}b c\u{fffd}[31m");
        assert_eq!(plain("a\u{61c}b\u{2028}c"), "a\u{fffd}b\u{fffd}c");
    }
}

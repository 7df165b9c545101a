//! Counts, sizes, durations and times as text.

use maud::{Markup, html};

pub(super) use crate::dashboard::format::separated as count;

/// A number of lines.
pub(super) fn lines(lines: usize) -> String {
    match lines {
        1 => "1 line".to_owned(),
        lines => format!("{} lines", count(lines as u64)),
    }
}

/// A size in bytes, with one decimal.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, name)) => {
            let tenths = bytes / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// A duration in milliseconds.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", count(seconds / 3600), seconds % 3600 / 60),
    }
}

/// A time in UTC, which is RFC 3339. A script of the page localizes it.
pub(super) fn time(time: &str) -> Markup {
    let shown = time.get(..19).unwrap_or(time).replace('T', " ");
    html! {
        time.entry-time datetime=(time) { (shown) " UTC" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_260_000), "1.2 MB");
        assert_eq!(size(u64::MAX), "18446744073.7 GB");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1_250), "1.2 s");
        assert_eq!(duration(125_000), "2 min 5 s");
        assert_eq!(duration(7_260_000), "2 h 1 min");
    }
}

//! Counts and times as text.

use maud::{Markup, html};

pub(super) use crate::dashboard::format::separated as count;

/// A number of lines.
pub(super) fn lines(lines: usize) -> String {
    match lines {
        1 => "1 line".to_owned(),
        lines => format!("{} lines", count(lines as u64)),
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
    }
}

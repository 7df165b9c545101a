//! Durations for people.

/// A duration in its two largest units, rounded: `85 ms`, `1.2 s`, `3 min 30 s`, `5 h 12 min`, `3 d`.
/// A value that is not a duration is `–`.
pub(crate) fn duration(milliseconds: f64) -> String {
    if !milliseconds.is_finite() || milliseconds < 0.0 {
        return "–".to_owned();
    }
    // Each unit begins where the smaller one would round up to it.
    let seconds = milliseconds / 1000.0;
    let (whole_seconds, whole_minutes) = (seconds.round(), (seconds / 60.0).round());
    match seconds {
        _ if milliseconds < 999.5 => format!("{milliseconds:.0} ms"),
        s if s < 9.95 => format!("{s:.1} s"),
        _ if whole_seconds < 60.0 => format!("{whole_seconds:.0} s"),
        _ if whole_seconds < 3600.0 => two(whole_seconds, 60.0, "min", "s"),
        _ if whole_minutes < 48.0 * 60.0 => two(whole_minutes, 60.0, "h", "min"),
        s => format!("{:.0} d", (s / 86_400.0).round()),
    }
}

fn two(value: f64, per_unit: f64, unit: &str, smaller: &str) -> String {
    format!(
        "{:.0} {unit} {:.0} {smaller}",
        (value / per_unit).floor(),
        value % per_unit
    )
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_has_two_units_and_never_a_full_smaller_one() {
        for (milliseconds, text) in [
            (0.0, "0 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (9_949.0, "9.9 s"),
            (9_950.0, "10 s"),
            (59_499.0, "59 s"),
            (59_500.0, "1 min 0 s"),
            (90_000.0, "1 min 30 s"),
            (3_599_600.0, "1 h 0 min"),
            (5.2 * 3_600_000.0, "5 h 12 min"),
            (47.999 * 3_600_000.0, "2 d"),
            (-1.0, "–"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(duration(milliseconds), text, "{milliseconds}");
        }
    }
}

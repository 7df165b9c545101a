//! The chart of costs over time, by model. Its bars are days, or weeks or months if the period is
//! long, so that a bar stays wide enough to see and to click.

use std::collections::BTreeMap;

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan};
use maud::{Markup, html};

use super::message_rows;
use crate::body::usage::UsageReportBody;
use crate::dashboard::filters::Filters;
use crate::dashboard::frame::empty;
use crate::dashboard::parts::{ChartRow, ChartSeries, bar_chart};

/// Maximum number of models in the chart. The rest are one series.
const MODELS_MAX: usize = 7;

/// Maximum number of bars. A transcript can contain any date, and only periods with usage are shown
/// beyond this number.
const BARS_MAX: usize = 1000;

/// The unit of the bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BarUnit {
    Day,
    Week,
    Month,
}

impl BarUnit {
    /// The smallest unit with at most about a hundred bars between two dates, inclusive.
    fn between(first: Date, last: Date) -> Self {
        match last.duration_since(first).as_hours() / 24 {
            ..=100 => Self::Day,
            101..=700 => Self::Week,
            _ => Self::Month,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Day => "Day",
            Self::Week => "Week from",
            Self::Month => "Month",
        }
    }

    /// The first date of the unit that contains the date.
    fn start(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Week => date
                .tomorrow()
                .and_then(|next| next.nth_weekday(-1, Weekday::Monday))
                .unwrap_or(date),
            Self::Month => date.first_of_month(),
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
        }
    }

    fn label(self, start: Date) -> String {
        match self {
            Self::Day | Self::Week => start.to_string(),
            Self::Month => start.strftime("%Y-%m").to_string(),
        }
    }

    /// The last date of the unit that begins on this date.
    fn end(self, start: Date) -> Date {
        let next = start.checked_add(self.span());
        next.and_then(Date::yesterday).unwrap_or(Date::MAX)
    }
}

/// A report by day and model as a chart.
pub(super) struct Timeline {
    unit: BarUnit,
    series: Vec<ChartSeries>,
    rows: Vec<ChartRow>,
}

impl Timeline {
    /// `of_all_time`: the models, the most expensive first.
    pub(super) fn of(
        report: &UsageReportBody,
        of_all_time: &UsageReportBody,
        filters: &Filters,
    ) -> Self {
        let date_of = |text: &str| text.parse::<Date>().ok();
        let dates = message_rows(report).filter_map(|row| row.day.as_deref().and_then(date_of));
        let ends = dates.fold(None, |ends: Option<(Date, Date)>, date| {
            Some(ends.map_or((date, date), |(first, last)| {
                (first.min(date), last.max(date))
            }))
        });
        let unit = ends.map_or(BarUnit::Day, |(first, last)| BarUnit::between(first, last));
        let mut by_model: BTreeMap<&str, f64> = BTreeMap::new();
        // Messages without a time come last.
        let mut bars: BTreeMap<(bool, Option<Date>), BTreeMap<&str, f64>> = BTreeMap::new();
        for row in message_rows(report) {
            let model = row.model.as_deref().unwrap_or("(no model)");
            let cost = row.totals.cost_usd.unwrap_or(0.0);
            let date = row.day.as_deref().and_then(date_of);
            let start = date.map(|date| unit.start(date));
            *by_model.entry(model).or_default() += cost;
            let bar = bars.entry((start.is_none(), start)).or_default();
            *bar.entry(model).or_default() += cost;
        }
        // Periods without usage are periods as well.
        if let Some((first, last)) = ends {
            let starts = unit.start(first).series(unit.span());
            for start in starts.take_while(|start| *start <= last).take(BARS_MAX) {
                bars.entry((false, Some(start))).or_default();
            }
        }
        let mut models: Vec<(&str, f64)> = by_model
            .into_iter()
            .filter(|(_, cost)| *cost > 0.0)
            .collect();
        models.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(two.0)));
        let rest = models.split_off(models.len().min(MODELS_MAX));
        let known: Vec<&str> = message_rows(of_all_time)
            .filter_map(|row| row.model.as_deref())
            .collect();
        let names = models.iter().map(|(model, _)| ChartSeries {
            name: (*model).to_owned(),
            color: known.iter().position(|known| known == model),
        });
        let others = (!rest.is_empty()).then(|| ChartSeries {
            name: "Other models".to_owned(),
            color: None,
        });
        let rows = bars.iter().map(|((_, start), costs)| {
            let of = |model: &&str| costs.get(*model).copied().unwrap_or(0.0);
            let mut values: Vec<f64> = models.iter().map(|(model, _)| of(model)).collect();
            if !rest.is_empty() {
                values.push(rest.iter().map(|(model, _)| of(model)).sum());
            }
            ChartRow {
                label: start.map_or("(no time)".to_owned(), |start| unit.label(start)),
                link: start.map(|start| {
                    let (since, until) = (start.to_string(), unit.end(start).to_string());
                    let days = [("range", "days"), ("since", &since), ("until", &until)];
                    filters.link("/sessions", &days)
                }),
                values,
            }
        });
        let rows: Vec<ChartRow> = rows.collect();
        Self {
            unit,
            series: names.chain(others).collect(),
            rows,
        }
    }

    pub(super) fn unit(&self) -> BarUnit {
        self.unit
    }

    pub(super) fn chart(&self) -> Markup {
        let title = format!("Cost by {} and model in US dollars", self.unit.name());
        html! {
            @if self.rows.is_empty() { (empty("No message has a time.")) }
            @else { (bar_chart(&title, self.unit.heading(), &self.series, &self.rows)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::BarUnit;

    #[test]
    fn a_long_period_has_weeks_or_months() {
        let first = date(2026, 1, 1);
        assert_eq!(BarUnit::between(first, date(2026, 3, 31)), BarUnit::Day);
        assert_eq!(BarUnit::between(first, date(2026, 6, 30)), BarUnit::Week);
        assert_eq!(BarUnit::between(first, date(2029, 1, 1)), BarUnit::Month);
    }

    #[test]
    fn a_unit_contains_its_date() {
        // A Monday and the Sunday before it.
        for (day, monday) in [(30, date(2026, 11, 30)), (29, date(2026, 11, 23))] {
            let start = BarUnit::Week.start(date(2026, 11, day));
            assert_eq!(start, monday);
        }
        let monday = date(2026, 11, 23);
        assert_eq!(BarUnit::Week.end(monday), date(2026, 11, 29));
        let first = BarUnit::Month.start(date(2026, 2, 17));
        assert_eq!(first, date(2026, 2, 1));
        assert_eq!(BarUnit::Month.end(first), date(2026, 2, 28));
        assert_eq!(BarUnit::Day.end(first), first);
    }
}

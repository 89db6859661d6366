//! A time axis in UTC with ticks where people expect them: whole minutes, hours, days.

use ironbrook_model::Timestamp;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Distances between ticks, ascending.
const STEPS: [i64; 22] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    30 * DAY,
    365 * DAY,
];

/// Milliseconds since the epoch along an axis.
#[derive(Debug, Clone)]
pub struct TimeAxis {
    begin: i64,
    end: i64,
}

impl TimeAxis {
    /// From the first to the last time; at least one second long.
    pub fn new(begin: i64, end: i64) -> Self {
        Self { begin, end: end.max(begin.saturating_add(SECOND)) }
    }

    /// What the axis is called: its days, which the ticks do not show when they show seconds.
    pub fn title(&self) -> String {
        let day = |millis| Timestamp::from_millis(millis).to_utc().date().to_string();
        let (first, last) = (day(self.begin), day(self.end));
        if first == last { format!("time (UTC), {first}") } else { format!("time (UTC), {first} to {last}") }
    }

    fn step(&self, ticks: usize) -> i64 {
        let least = (self.end - self.begin) / i64::try_from(ticks.max(1)).unwrap_or(1);
        STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| least.max(1))
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, value: &i64, limit: (i32, i32)) -> i32 {
        let share = (value - self.begin) as f64 / (self.end - self.begin) as f64;
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<i64> {
        let step = self.step(hint.max_num_points().min(12));
        let first = self.begin.div_euclid(step) + i64::from(self.begin.rem_euclid(step) != 0);
        (first..).map(|n| n * step).take_while(|t| *t <= self.end).collect()
    }

    fn range(&self) -> Range<i64> {
        self.begin..self.end
    }
}

impl ValueFormatter<i64> for TimeAxis {
    fn format_ext(&self, value: &i64) -> String {
        let time = Timestamp::from_millis(*value).to_utc();
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let span = self.end - self.begin;
        if span > 4 * DAY {
            return time.date().to_string();
        }
        if span > DAY {
            return format!("{:02}-{:02} {hour:02}:{minute:02}", time.month(), time.day());
        }
        if span > 20 * MINUTE {
            format!("{hour:02}:{minute:02}")
        } else {
            format!("{hour:02}:{minute:02}:{second:02}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE: i64 = 1_769_850_000_000;

    #[test]
    fn ticks_stand_on_whole_units() {
        for (span, first, label) in [
            (50 * SECOND, NINE + 5 * SECOND, "09:00:05"),
            (3 * HOUR, NINE + 15 * MINUTE, "09:15"),
            (3 * DAY, NINE + 3 * HOUR, "01-31 12:00"),
        ] {
            let axis = TimeAxis::new(NINE + 1, NINE + 1 + span);
            let ticks = axis.key_points(12);
            assert_eq!(ticks[0], first, "{span}");
            assert!((6..=13).contains(&ticks.len()), "{span}: {}", ticks.len());
            assert_eq!(axis.format_ext(&ticks[0]), label);
        }
    }

    #[test]
    fn one_moment_is_still_an_axis() {
        let axis = TimeAxis::new(NINE, NINE);
        assert_eq!(axis.map(&NINE, (0, 100)), 0);
        assert_eq!(axis.map(&(NINE + SECOND), (0, 100)), 100);
        assert_eq!(axis.title(), "time (UTC), 2026-01-31");
    }
}

//! Dateparts, the units of date arithmetic and of windows, and what the date functions do with them.
//!
//! The rules are those of T-SQL: differences count boundaries crossed, months end where they end, weeks begin on Sunday.

use super::datetime::{self, DAY, Date, SECOND};
use super::{DateTime, EvalError};

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatePart {
    /// `year`, `yy`, `yyyy`.
    Year,
    /// `quarter`, `qq`, `q`.
    Quarter,
    /// `month`, `mm`, `m`.
    Month,
    /// `dayofyear`, `dy`, `y`.
    DayOfYear,
    /// `day`, `dd`, `d`.
    Day,
    /// `week`, `wk`, `ww`.
    Week,
    /// `weekday`, `dw`, `w`: Sunday is 1.
    Weekday,
    /// `hour`, `hh`.
    Hour,
    /// `minute`, `mi`, `n`.
    Minute,
    /// `second`, `ss`, `s`.
    Second,
    /// `millisecond`, `ms`.
    Millisecond,
    /// `microsecond`, `mcs`.
    Microsecond,
}

/// Names and abbreviations; the full names are also taken in the plural, as some documentation writes them.
const NAMES: [(DatePart, &[&str]); 12] = [
    (DatePart::Year, &["year", "yy", "yyyy"]),
    (DatePart::Quarter, &["quarter", "qq", "q"]),
    (DatePart::Month, &["month", "mm", "m"]),
    (DatePart::DayOfYear, &["dayofyear", "dy", "y"]),
    (DatePart::Day, &["day", "dd", "d"]),
    (DatePart::Week, &["week", "wk", "ww"]),
    (DatePart::Weekday, &["weekday", "dw", "w"]),
    (DatePart::Hour, &["hour", "hh"]),
    (DatePart::Minute, &["minute", "mi", "n"]),
    (DatePart::Second, &["second", "ss", "s"]),
    (DatePart::Millisecond, &["millisecond", "ms"]),
    (DatePart::Microsecond, &["microsecond", "mcs"]),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl DatePart {
    /// A datepart by name or abbreviation, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        let singular = word.strip_suffix(['s', 'S']).unwrap_or(word);
        let is_any = |names: &[&str]| {
            names.iter().any(|name| name.eq_ignore_ascii_case(word))
                || names[0].eq_ignore_ascii_case(singular)
        };
        NAMES.iter().find(|(_, names)| is_any(names)).map(|(part, _)| *part)
    }

    /// The full name, in lower case.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(part, _)| *part == self).map_or("", |(_, names)| names[0])
    }

    /// How many ticks of 100 ns it lasts, where that is always the same: from `day` down, and `week`.
    pub fn ticks(self) -> Option<i64> {
        Some(match self {
            Self::Year | Self::Quarter | Self::Month => return None,
            Self::Week => 7 * DAY,
            Self::DayOfYear | Self::Day | Self::Weekday => DAY,
            Self::Hour => 3600 * SECOND,
            Self::Minute => 60 * SECOND,
            Self::Second => SECOND,
            Self::Millisecond => SECOND / 1000,
            Self::Microsecond => SECOND / 1_000_000,
        })
    }

    fn months(self) -> i64 {
        match self {
            Self::Year => 12,
            Self::Quarter => 3,
            _ => 1,
        }
    }
}

/// `DATEADD`: so many units later. A day that the month reached does not have becomes its last.
///
/// # Errors
/// [`EvalError::OutOfRange`] outside the years 1 to 9999.
pub fn date_add(part: DatePart, count: i64, time: DateTime) -> Result<DateTime, EvalError> {
    let moved = match part.ticks() {
        Some(ticks) => count.checked_mul(ticks).and_then(|ticks| time.checked_add(ticks)),
        None => count.checked_mul(part.months()).and_then(|months| add_months(time, months)),
    };
    moved.ok_or(EvalError::OutOfRange { operation: "DATEADD", ty: "datetime" })
}

fn add_months(time: DateTime, months: i64) -> Option<DateTime> {
    let date = time.date();
    let index = (date.year * 12 + date.month - 1).checked_add(months)?;
    let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
    let day = date.day.min(datetime::days_in_month(year, month));
    DateTime::new(Date::new(year, month, day)?, time.ticks_of_day())
}

/// `DATEDIFF`: how many boundaries of the unit lie between two points, negative when the second is earlier.
// rule FUNC-03
pub fn date_diff(part: DatePart, from: DateTime, to: DateTime) -> i64 {
    let index = |time: DateTime| match part {
        DatePart::Year | DatePart::Quarter | DatePart::Month => {
            let date = time.date();
            (date.year * 12 + date.month - 1) / part.months()
        }
        // 0001-01-01 was a Monday and weeks begin on Sunday, whatever the settings.
        DatePart::Week => (time.0.div_euclid(DAY) + 1).div_euclid(7),
        _ => time.0.div_euclid(part.ticks().unwrap_or(1)),
    };
    index(to) - index(from)
}

/// `DATEPART`: one part of a point in time as a number.
pub fn date_part(part: DatePart, time: DateTime) -> i64 {
    let (date, ticks) = (time.date(), time.ticks_of_day());
    match part {
        DatePart::Year => date.year,
        DatePart::Quarter => (date.month + 2) / 3,
        DatePart::Month => date.month,
        DatePart::DayOfYear => day_of_year(date),
        DatePart::Day => date.day,
        // The first week is the one with 1 January, however short.
        DatePart::Week => {
            let new_year = Date { month: 1, day: 1, ..date };
            (day_of_year(date) + weekday(new_year) - 2) / 7 + 1
        }
        DatePart::Weekday => weekday(date),
        DatePart::Hour => ticks / (3600 * SECOND),
        DatePart::Minute => ticks / (60 * SECOND) % 60,
        DatePart::Second => ticks / SECOND % 60,
        DatePart::Millisecond => ticks % SECOND / 10_000,
        DatePart::Microsecond => ticks % SECOND / 10,
    }
}

/// `DATENAME`: one part of a point in time as text, months and weekdays by their English names.
pub fn date_name(part: DatePart, time: DateTime) -> String {
    let number = date_part(part, time);
    let named = |names: &[&str]| names.get(number as usize - 1).copied().unwrap_or_default().to_owned();
    match part {
        DatePart::Month => named(&MONTHS),
        DatePart::Weekday => named(&WEEKDAYS),
        _ => number.to_string(),
    }
}

fn day_of_year(date: Date) -> i64 {
    date.days() - Date { month: 1, day: 1, ..date }.days() + 1
}

/// Sunday is 1.
fn weekday(date: Date) -> i64 {
    (date.days() + 1).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> DateTime {
        DateTime::parse(text).unwrap()
    }

    #[test]
    fn names_abbreviations_and_plurals() {
        for (part, names) in NAMES {
            for name in names {
                assert_eq!(DatePart::parse(&name.to_uppercase()), Some(part));
            }
            assert_eq!(DatePart::parse(&format!("{}s", names[0])), Some(part));
        }
        for word in ["", "hhs", "hourss", "yea", "min", "hourß", "s s"] {
            assert_eq!(DatePart::parse(word), None, "{word}");
        }
    }

    #[test]
    fn adding() {
        for (part, count, from, to) in [
            (DatePart::Month, 1, "2024-01-31", "2024-02-29"),
            (DatePart::Month, -1, "2023-03-31T05:00:00", "2023-02-28T05:00:00"),
            (DatePart::Year, 1, "2024-02-29", "2025-02-28"),
            (DatePart::Quarter, 2, "2024-08-31", "2025-02-28"),
            (DatePart::Week, -1, "2024-01-03", "2023-12-27"),
            (DatePart::Weekday, 3, "2024-01-30", "2024-02-02"),
            (DatePart::DayOfYear, 1, "2024-12-31", "2025-01-01"),
            (DatePart::Microsecond, 1, "2024-01-01", "2024-01-01T00:00:00.000001"),
        ] {
            assert_eq!(date_add(part, count, time(from)), Ok(time(to)), "{part:?} {from}");
        }
        for count in [i64::MAX, i64::MIN, 9999] {
            assert!(date_add(DatePart::Year, count, time("2024-01-01")).is_err());
        }
        assert!(date_add(DatePart::Hour, i64::MAX, time("2024-01-01")).is_err());
    }

    #[test]
    fn differences_count_boundaries_rule_func_03() {
        for (part, from, to, count) in [
            (DatePart::Minute, "2024-01-01T00:00:59", "2024-01-01T00:01:01", 1),
            (DatePart::Minute, "2024-01-01T00:01:01", "2024-01-01T00:01:59", 0),
            (DatePart::Year, "2024-12-31", "2025-01-01", 1),
            (DatePart::Quarter, "2024-03-31", "2024-04-01", 1),
            (DatePart::Month, "2024-03-31", "2023-03-01", -12),
            (DatePart::Week, "2024-03-02", "2024-03-03", 1),
            (DatePart::Week, "2024-03-03", "2024-03-09", 0),
            (DatePart::Day, "2024-03-01T23:59:59", "2024-03-02T00:00:00", 1),
            (DatePart::Millisecond, "2024-03-01T00:00:00.0009", "2024-03-01T00:00:00.0011", 1),
            (DatePart::Microsecond, "2024-03-01", "2024-03-02", 86_400_000_000),
        ] {
            assert_eq!(date_diff(part, time(from), time(to)), count, "{part:?} {from} {to}");
            assert_eq!(date_diff(part, time(to), time(from)), -count, "{part:?} {to} {from}");
        }
    }

    #[test]
    fn parts_and_names() {
        let at = time("2024-03-10T15:04:05.6789012");
        for (part, number, name) in [
            (DatePart::Year, 2024, "2024"),
            (DatePart::Quarter, 1, "1"),
            (DatePart::Month, 3, "March"),
            (DatePart::DayOfYear, 70, "70"),
            (DatePart::Day, 10, "10"),
            (DatePart::Week, 11, "11"),
            (DatePart::Weekday, 1, "Sunday"),
            (DatePart::Hour, 15, "15"),
            (DatePart::Minute, 4, "4"),
            (DatePart::Second, 5, "5"),
            (DatePart::Millisecond, 678, "678"),
            (DatePart::Microsecond, 678_901, "678901"),
        ] {
            assert_eq!((date_part(part, at), date_name(part, at).as_str()), (number, name), "{part:?}");
        }
        // A year that begins on a Saturday: its second day opens week 2.
        assert_eq!(date_part(DatePart::Week, time("2022-01-01")), 1);
        assert_eq!(date_part(DatePart::Week, time("2022-01-02")), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn months_agree_with_another_calendar(days in 0i64..3_600_000, months in -2000i32..2000) {
            let at = DateTime(days * DAY);
            let date = at.date();
            let other = jiff::civil::date(date.year as i16, date.month as i8, date.day as i8);
            let moved = date_add(DatePart::Month, months.into(), at);
            match other.checked_add(jiff::Span::new().months(months)) {
                Ok(other) if other.year() > 0 => {
                    let date = moved.unwrap().date();
                    let parts = (other.year().into(), other.month().into(), other.day().into());
                    prop_assert_eq!((date.year, date.month, date.day), parts);
                }
                _ => prop_assert!(moved.is_err()),
            }
            prop_assert_eq!(date_part(DatePart::DayOfYear, at), i64::from(other.day_of_year()));
            let weekday = i64::from(other.weekday().to_sunday_one_offset());
            prop_assert_eq!(date_part(DatePart::Weekday, at), weekday);
        }

        #[test]
        fn adding_then_subtracting_fixed_units(ticks in 0..=DateTime::MAX.0, count in -1_000_000i64..1_000_000) {
            for part in [DatePart::Week, DatePart::Day, DatePart::Hour, DatePart::Second, DatePart::Microsecond] {
                if let Ok(later) = date_add(part, count, DateTime(ticks)) {
                    prop_assert_eq!(date_diff(part, DateTime(ticks), later), count);
                }
            }
        }
    }
}

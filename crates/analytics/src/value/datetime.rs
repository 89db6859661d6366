//! Points in time and their text form.
//!
//! Always UTC, 100 ns, years 0001 to 9999, the proleptic Gregorian calendar. Arithmetic by dateparts is in
//! [`date_part`](super::date_part).

use std::fmt;

/// A point in time, UTC, in ticks of 100 ns since 0001-01-01T00:00:00 (the resolution and range of `datetime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(pub i64);

/// Ticks of a second.
pub const SECOND: i64 = 10_000_000;
/// Ticks of a day.
pub const DAY: i64 = 86_400 * SECOND;
/// 1970-01-01T00:00:00Z.
const UNIX_EPOCH: i64 = 719_162 * DAY;

/// A date of the calendar; month and day from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// 1 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// A date that exists, in the years 1 to 9999.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        let exists = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// Days since 0001-01-01.
    pub fn days(self) -> i64 {
        // Years counted from March, so that the leap day is the last of its year.
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 306
    }

    /// The date so many days after 0001-01-01; days in the range of [`DateTime`].
    pub fn from_days(days: i64) -> Self {
        let shifted = days + 306;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day }
    }
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl DateTime {
    /// 0001-01-01T00:00:00.0000000Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.9999999Z.
    pub const MAX: Self = Self(3_652_059 * DAY - 1);

    /// The point so many ticks after 0001-01-01, if it is in range.
    pub fn from_ticks(ticks: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&ticks).then_some(Self(ticks))
    }

    /// The point so many milliseconds after 1970-01-01, if it is in range.
    pub fn from_unix_millis(millis: i64) -> Option<Self> {
        Self::from_ticks(millis.checked_mul(10_000)?.checked_add(UNIX_EPOCH)?)
    }

    /// The point so many microseconds after 1970-01-01, if it is in range.
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        Self::from_ticks(micros.checked_mul(10)?.checked_add(UNIX_EPOCH)?)
    }

    /// Milliseconds since 1970-01-01, rounded down.
    pub fn unix_millis(self) -> i64 {
        self.0.saturating_sub(UNIX_EPOCH).div_euclid(10_000)
    }

    /// Microseconds since 1970-01-01, rounded down.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_sub(UNIX_EPOCH).div_euclid(10)
    }

    /// The point so many ticks later, if it is in range.
    pub fn checked_add(self, ticks: i64) -> Option<Self> {
        Self::from_ticks(self.0.checked_add(ticks)?)
    }

    /// A date and ticks since its midnight.
    pub fn new(date: Date, ticks_of_day: i64) -> Option<Self> {
        (0..DAY).contains(&ticks_of_day).then(|| Self(date.days() * DAY + ticks_of_day))
    }

    /// The date.
    pub fn date(self) -> Date {
        Date::from_days(self.clamped().div_euclid(DAY))
    }

    /// Ticks since midnight.
    pub fn ticks_of_day(self) -> i64 {
        self.clamped().rem_euclid(DAY)
    }

    /// Ticks within the range, for points that were made without a check.
    fn clamped(self) -> i64 {
        self.0.clamp(Self::MIN.0, Self::MAX.0)
    }

    /// Reads ISO 8601: a date, then perhaps `T` or a space and hours, minutes, perhaps seconds with a fraction, perhaps `Z`
    /// or an offset. Without a zone it is UTC; digits after the seventh of the fraction are cut.
    pub fn parse(text: &str) -> Option<Self> {
        let mut scan = Scanner { rest: text.trim().as_bytes() };
        let year = scan.digits(4)?;
        scan.take(b"-")?;
        let month = scan.digits(2)?;
        scan.take(b"-")?;
        let date = Date::new(year, month, scan.digits(2)?)?;
        if scan.rest.is_empty() {
            return Self::new(date, 0);
        }
        scan.take(b"Tt ")?;
        let (hour, _, minute) = (scan.digits(2)?, scan.take(b":")?, scan.digits(2)?);
        let second = if scan.take(b":").is_some() { scan.digits(2)? } else { 0 };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let fraction = if scan.take(b".,").is_some() { scan.fraction()? } else { 0 };
        let offset = scan.offset()?;
        let ticks = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
        scan.rest.is_empty().then(|| Self::new(date, ticks))??.checked_add(-offset)
    }
}

impl DateTime {
    /// Reads the form in which devices mostly write: `2021-12-10T10:00:00`, perhaps a fraction, then `Z`. Other texts may be
    /// times all the same, which [`parse`](Self::parse) reads.
    pub(crate) fn from_instant(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        let fraction = match rest {
            [b'Z'] => 0,
            [b'.', digits @ .., b'Z'] => Scanner { rest: digits }.only_fraction()?,
            _ => return None,
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|(place, mark)| head[*place] != *mark) {
            return None;
        }
        let digit = |place: usize| i64::from(head[place].wrapping_sub(b'0'));
        let places = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18];
        if places.iter().any(|place| digit(*place) > 9) {
            return None;
        }
        let two = |place: usize| digit(place) * 10 + digit(place + 1);
        let (hour, minute, second) = (two(11), two(14), two(17));
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let date = Date::new(two(0) * 100 + two(2), two(5), two(8))?;
        Self::new(date, ((hour * 60 + minute) * 60 + second) * SECOND + fraction)
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn take(&mut self, any_of: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        any_of.contains(first).then(|| {
            self.rest = rest;
            *first
        })
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    /// Ticks of a decimal fraction of a second, at least one digit.
    fn fraction(&mut self) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        let ticks = (0..7).fold(0, |ticks, place| {
            ticks * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'))
        });
        (count > 0).then_some(ticks)
    }

    /// As [`fraction`](Self::fraction), if there is nothing behind it.
    fn only_fraction(mut self) -> Option<i64> {
        let ticks = self.fraction()?;
        self.rest.is_empty().then_some(ticks)
    }

    /// Ticks that local time is ahead of UTC: `Z`, `+hh:mm`, `+hhmm`, `+hh` or nothing.
    fn offset(&mut self) -> Option<i64> {
        let Some(sign) = self.take(b"Zz+-") else { return Some(0) };
        if sign.eq_ignore_ascii_case(&b'z') {
            return Some(0);
        }
        let hours = self.digits(2)?;
        let colon = self.take(b":").is_some();
        let minutes = if colon || !self.rest.is_empty() { self.digits(2)? } else { 0 };
        let ticks = (hours * 60 + minutes) * 60 * SECOND;
        (hours <= 14 && minutes <= 59).then_some(if sign == b'-' { -ticks } else { ticks })
    }
}

/// `2021-12-10T10:00:00.0000000Z`, the form of every output; a point out of range shows as the nearest one in range.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_bytes()).map_err(|_| fmt::Error)?)
    }
}

impl DateTime {
    /// The 28 characters of the text form.
    pub(crate) fn to_bytes(self) -> [u8; 28] {
        let mut out = *b"0000-00-00T00:00:00.0000000Z";
        let (date, ticks) = (self.date(), self.ticks_of_day());
        let seconds = ticks / SECOND;
        let parts = [
            (date.year, 0, 4),
            (date.month, 5, 2),
            (date.day, 8, 2),
            (seconds / 3600, 11, 2),
            (seconds / 60 % 60, 14, 2),
            (seconds % 60, 17, 2),
            (ticks % SECOND, 20, 7),
        ];
        for (mut number, start, width) in parts {
            for place in out[start..start + width].iter_mut().rev() {
                *place += (number % 10) as u8;
                number /= 10;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The form of outputs is rule JSON-01.
    #[test]
    fn text_forms() {
        for (text, expected) in [
            ("2021-12-10T10:00:00.0000000Z", "2021-12-10T10:00:00.0000000Z"),
            ("2021-12-10T10:00:00", "2021-12-10T10:00:00.0000000Z"),
            ("2021-12-10 10:00:00.5", "2021-12-10T10:00:00.5000000Z"),
            ("2021-12-10T10:00Z", "2021-12-10T10:00:00.0000000Z"),
            (" 2021-12-10 ", "2021-12-10T00:00:00.0000000Z"),
            ("2021-12-10T10:00:00.123456789Z", "2021-12-10T10:00:00.1234567Z"),
            ("2021-12-10T10:00:00+05:30", "2021-12-10T04:30:00.0000000Z"),
            ("2021-12-31T22:00:00-0300", "2022-01-01T01:00:00.0000000Z"),
            ("2021-12-10T10:00:00+02", "2021-12-10T08:00:00.0000000Z"),
            ("0001-01-01", "0001-01-01T00:00:00.0000000Z"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z"),
            ("2024-02-29", "2024-02-29T00:00:00.0000000Z"),
        ] {
            assert_eq!(DateTime::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "x",
            "2021",
            "2021-12",
            "2021-13-01",
            "2021-02-29",
            "0000-01-01",
            "2021-12-10T",
            "2021-12-10T10",
            "2021-12-10T24:00:00",
            "2021-12-10T10:60",
            "2021-12-10T10:00:60",
            "2021-12-10T10:00:00.",
            "2021-12-10T10:00:00X",
            "2021-12-10T10:00:00+",
            "2021-12-10T10:00:00+2",
            "2021-12-10T10:00:00+15:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2021-1-1",
            "２021-01-01",
            "2021-12-10Z",
        ] {
            assert_eq!(DateTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn unix_times() {
        let time = DateTime::parse("2024-03-01T00:00:00.123Z").unwrap();
        assert_eq!(DateTime::from_unix_millis(1_709_251_200_123), Some(time));
        assert_eq!((time.unix_millis(), time.unix_micros()), (1_709_251_200_123, 1_709_251_200_123_000));
        assert_eq!(DateTime::from_unix_millis(i64::MAX), None);
        assert_eq!(DateTime::from_unix_micros(i64::MIN), None);
        assert_eq!(DateTime(i64::MIN).to_string(), "0001-01-01T00:00:00.0000000Z");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn text_goes_round(ticks in 0..=DateTime::MAX.0) {
            let time = DateTime(ticks);
            prop_assert_eq!(DateTime::parse(&time.to_string()), Some(time));
            prop_assert_eq!(DateTime::from_instant(time.to_string().as_bytes()), Some(time));
        }

        #[test]
        fn agrees_with_another_calendar(ticks in 0..=DateTime::MAX.0 - DAY) {
            let time = DateTime(ticks);
            let other: jiff::Timestamp = time.to_string().parse().unwrap();
            prop_assert_eq!(other.as_nanosecond(), i128::from(ticks - UNIX_EPOCH) * 100);
            prop_assert_eq!(other.as_nanosecond().div_euclid(1000), time.unix_micros().into());
        }

        #[test]
        fn the_common_form_is_no_other(text in "20[0-9:]{2}-[01/][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.,][0-9]{0,9}x?)?[Zz+]?") {
            if let Some(time) = DateTime::from_instant(text.as_bytes()) {
                prop_assert_eq!(DateTime::parse(&text), Some(time));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9TZ:.+ -]{0,32}") {
            if let Some(time) = DateTime::parse(&text) {
                prop_assert!((DateTime::MIN..=DateTime::MAX).contains(&time));
            }
        }
    }
}

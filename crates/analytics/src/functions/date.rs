//! Date and time functions. A text is taken where a time is expected, if it is one. There is no current time: it comes from
//! the events.

use super::ScalarFunction;
use super::arguments::Arguments;
use super::{date_add, date_diff, date_name, date_part};
use crate::value::datetime::{Date, SECOND, days_in_month};
use crate::value::{DatePart, DateTime, EvalError, Value};

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::with_part("DATEADD", 2, |part, values| {
        let args = Arguments { function: "DATEADD", values };
        Ok(date_add(part, args.whole(0)?, args.time(1)?)?.into())
    }),
    ScalarFunction::with_part("DATEDIFF", 2, |part, values| diff("DATEDIFF", part, values)),
    ScalarFunction::with_part("DATEDIFF_BIG", 2, |part, values| diff("DATEDIFF_BIG", part, values)),
    ScalarFunction::with_part("DATEPART", 1, |part, values| take("DATEPART", part, values)),
    ScalarFunction::with_part("DATENAME", 1, |part, values| {
        Ok(date_name(part, Arguments { function: "DATENAME", values }.time(0)?).into())
    }),
    ScalarFunction::strict("DAY", [1, 1], |values| take("DAY", DatePart::Day, values)),
    ScalarFunction::strict("MONTH", [1, 1], |values| take("MONTH", DatePart::Month, values)),
    ScalarFunction::strict("YEAR", [1, 1], |values| take("YEAR", DatePart::Year, values)),
    ScalarFunction::strict("DATETIMEFROMPARTS", [7, 7], from_parts),
    ScalarFunction::strict("EOMONTH", [1, 2], end_of_month),
    ScalarFunction::lenient("ISDATE", [1, 1], |values| {
        Ok(Value::BigInt(Arguments { function: "ISDATE", values }.time(0).is_ok().into()))
    }),
];

fn diff(function: &'static str, part: DatePart, values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function, values };
    Ok(Value::BigInt(date_diff(part, args.time(0)?, args.time(1)?)))
}

fn take(function: &'static str, part: DatePart, values: &[Value]) -> Result<Value, EvalError> {
    Ok(Value::BigInt(date_part(part, Arguments { function, values }.time(0)?)))
}

/// Year, month, day, hour, minute, second, millisecond; all must exist.
fn from_parts(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "DATETIMEFROMPARTS", values };
    let mut parts = [0; 7];
    for (place, part) in parts.iter_mut().enumerate() {
        *part = args.whole(place)?;
    }
    let [year, month, day, hour, minute, second, millisecond] = parts;
    let exists = [(hour, 24), (minute, 60), (second, 60), (millisecond, 1000)];
    let exists = exists.iter().all(|(part, end)| (0..*end).contains(part));
    let time = Date::new(year, month, day).filter(|_| exists).and_then(|date| {
        let ticks = ((hour * 60 + minute) * 60 + second) * SECOND + millisecond * SECOND / 1000;
        DateTime::new(date, ticks)
    });
    time.map(Value::from).ok_or_else(|| args.domain("there is no such date or time"))
}

/// The last day of the month, perhaps so many months later, at midnight.
fn end_of_month(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "EOMONTH", values };
    let date = date_add(DatePart::Month, args.whole_or(1, 0)?, args.time(0)?)?.date();
    let last = Date { day: days_in_month(date.year, date.month), ..date };
    Ok(DateTime::new(last, 0).into())
}

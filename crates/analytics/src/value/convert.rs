//! The types by name, and `CAST` and `TRY_CAST` between them (reference: "Data types", "CAST").
//!
//! Not here: which conversions an operator or function does by itself; see [`ops`](crate::ops) and
//! [`functions`](crate::functions).

use super::{DateTime, EvalError, Value};

/// A type of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `bigint`, 64 bits.
    BigInt,
    /// `float`, 64 bits.
    Float,
    /// `nvarchar(max)`.
    NVarchar,
    /// `datetime`.
    DateTime,
    /// `bit`.
    Bit,
    /// `record`.
    Record,
    /// `array`.
    Array,
}

impl DataType {
    const ALL: [Self; 7] =
        [Self::BigInt, Self::Float, Self::NVarchar, Self::DateTime, Self::Bit, Self::Record, Self::Array];

    /// The name as `GetType` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Float => "float",
            Self::NVarchar => "nvarchar(max)",
            Self::DateTime => "datetime",
            Self::Bit => "bit",
            Self::Record => "record",
            Self::Array => "array",
        }
    }

    /// A type by name, in any case; `nvarchar` with any length or none is `nvarchar(max)`.
    pub fn parse(name: &str) -> Option<Self> {
        let word = name.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
        match word.as_str() {
            "nvarchar" => Some(Self::NVarchar),
            _ => Self::ALL.into_iter().find(|ty| ty.name() == word && !name.contains('(')),
        }
    }

    /// Which of two types the result of a `CASE` or `COALESCE` has: the order of T-SQL, `datetime` highest.
    #[must_use]
    pub fn precedence(self) -> u8 {
        match self {
            Self::NVarchar => 0,
            Self::Bit => 1,
            Self::BigInt => 2,
            Self::Float => 3,
            Self::DateTime => 4,
            Self::Array => 5,
            Self::Record => 6,
        }
    }
}

impl Value {
    /// `CAST`: this value as another type. `NULL` is `NULL` of every type.
    ///
    /// # Errors
    /// [`EvalError::Cast`] if there is no such conversion or this value does not convert.
    pub fn cast(&self, to: DataType) -> Result<Value, EvalError> {
        self.try_cast(to).ok_or(EvalError::Cast { from: self.type_name(), to: to.name(), expression: None })
    }

    /// [`cast`](Value::cast), but `None` where it fails; `TRY_CAST` makes that `NULL`.
    pub fn try_cast(&self, to: DataType) -> Option<Value> {
        if self.is_null() || self.data_type() == Some(to) {
            return Some(self.clone());
        }
        match to {
            DataType::BigInt => self.to_bigint().map(Value::BigInt),
            DataType::Float => self.to_float().map(Value::Float),
            DataType::NVarchar => self.to_text().map(Value::from),
            DataType::DateTime => match self {
                Value::NVarchar(text) => DateTime::parse(text).map(Value::DateTime),
                _ => None,
            },
            DataType::Bit => self.to_bit().map(Value::Bit),
            DataType::Record | DataType::Array => None,
        }
    }

    /// As `bigint`: a float loses its fraction, a text must be an integer.
    pub fn to_bigint(&self) -> Option<i64> {
        match self {
            Value::BigInt(number) => Some(*number),
            Value::Float(number) => float_to_bigint(*number),
            Value::Bit(bit) => Some(i64::from(*bit)),
            Value::NVarchar(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// As `float`: a text must be a decimal number, not `NaN` or an infinity.
    pub fn to_float(&self) -> Option<f64> {
        match self {
            Value::BigInt(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Bit(bit) => Some(f64::from(u8::from(*bit))),
            Value::NVarchar(text) => parse_float(text),
            _ => None,
        }
    }

    /// As `bit`: any number but zero is true; the texts are `true`, `false`, `1` and `0`.
    pub fn to_bit(&self) -> Option<bool> {
        match self {
            Value::Bit(bit) => Some(*bit),
            Value::BigInt(number) => Some(*number != 0),
            Value::Float(number) => Some(*number != 0.0),
            Value::NVarchar(text) => match text.trim() {
                "1" => Some(true),
                "0" => Some(false),
                word if word.eq_ignore_ascii_case("true") => Some(true),
                word if word.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// As text. A `bit` becomes `1` or `0`, as in T-SQL; records and arrays have no text.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Value::NVarchar(text) => Some(text.as_ref().to_owned()),
            Value::BigInt(number) => Some(number.to_string()),
            Value::Float(number) => Some(float_text(*number)),
            Value::Bit(bit) => Some(u8::from(*bit).to_string()),
            Value::DateTime(time) => Some(time.to_string()),
            _ => None,
        }
    }
}

/// A float without its fraction, if that is a `bigint`.
pub(crate) fn float_to_bigint(number: f64) -> Option<i64> {
    // 2^63 is exact as f64, i64::MAX is not.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
        .contains(&number)
        .then_some(number.trunc() as i64)
}

fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    // Rust also reads `inf`, `infinity` and `nan`.
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    decimal.then(|| text.parse().ok())?.filter(|number: &f64| number.is_finite())
}

/// The shortest text that reads back the same; with an exponent from 1E+15 up and from 1E-05 down, as .NET writes it.
fn float_text(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..15).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}E{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(value: impl Into<Value>, to: DataType) -> Option<Value> {
        value.into().try_cast(to)
    }

    #[test]
    fn types_by_name() {
        for ty in DataType::ALL {
            assert_eq!(DataType::parse(&ty.name().to_uppercase()), Some(ty));
        }
        assert_eq!(DataType::parse("nvarchar"), Some(DataType::NVarchar));
        assert_eq!(DataType::parse("NVARCHAR (40)"), Some(DataType::NVarchar));
        assert_eq!(DataType::parse("varchar"), None);
        assert_eq!(DataType::parse("bigint(8)"), None);
    }

    #[test]
    fn to_numbers() {
        assert_eq!(cast(" 42 ", DataType::BigInt), Some(Value::BigInt(42)));
        assert_eq!(cast("4.2", DataType::BigInt), None);
        assert_eq!(cast(Value::Float(-2.9), DataType::BigInt), Some(Value::BigInt(-2)));
        assert_eq!(cast(Value::Float(9.3e18), DataType::BigInt), None);
        assert_eq!(cast(true, DataType::BigInt), Some(Value::BigInt(1)));
        assert_eq!(cast("-1.5e3", DataType::Float), Some(Value::Float(-1500.0)));
        for text in ["NaN", "inf", "1e999", "", "1,5", "0x1"] {
            assert_eq!(cast(text, DataType::Float), None, "{text}");
        }
        assert_eq!(cast(DateTime(0), DataType::Float), None);
    }

    #[test]
    fn to_text() {
        for (value, text) in [
            (Value::Float(1.0), "1"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(-21.75), "-21.75"),
            (Value::Float(123_456_789_012_345.0), "123456789012345"),
            (Value::Float(1e15), "1E+15"),
            (Value::Float(0.0001), "0.0001"),
            (Value::Float(0.00001), "1E-05"),
            (Value::Float(1.25e-7), "1.25E-07"),
            (Value::BigInt(-7), "-7"),
            (Value::Bit(true), "1"),
            (Value::DateTime(DateTime(0)), "0001-01-01T00:00:00.0000000Z"),
        ] {
            assert_eq!(value.try_cast(DataType::NVarchar), Some(Value::text(text)));
        }
    }

    #[test]
    fn to_bit_and_datetime() {
        assert_eq!(cast(Value::Float(0.2), DataType::Bit), Some(Value::Bit(true)));
        assert_eq!(cast(Value::Float(0.0), DataType::Bit), Some(Value::Bit(false)));
        assert_eq!(cast("TRUE", DataType::Bit), Some(Value::Bit(true)));
        assert_eq!(cast("yes", DataType::Bit), None);
        let time = DateTime::parse("2014-09-10T12:00:00").unwrap();
        assert_eq!(cast("2014-09-10 12:00:00", DataType::DateTime), Some(time.into()));
        assert_eq!(cast(1, DataType::DateTime), None);
    }

    #[test]
    fn null_is_null_and_records_stay_records() {
        for ty in DataType::ALL {
            assert_eq!(Value::Null.cast(ty), Ok(Value::Null));
        }
        let record = Value::from(super::super::Record::default());
        assert_eq!(record.cast(DataType::Record), Ok(record.clone()));
        let error = record.cast(DataType::Array).unwrap_err();
        assert_eq!(error, EvalError::Cast { from: "record", to: "array", expression: None });
        assert!(Value::text("[]").cast(DataType::Array).is_err());
    }
}

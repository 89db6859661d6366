//! Sums, means and measures of spread.

use crate::functions::arguments::{Arguments, Number};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{EvalError, Value};

fn number(function: &'static str, value: &Value) -> Result<Number, EvalError> {
    Arguments { function, values: std::slice::from_ref(value) }.number(0)
}

/// A sum of numbers of both types, and their count.
///
/// Whole numbers are added exactly and only the total must fit a `bigint`, so the order of events never decides whether
/// there is an error. Floats are added with the error of each addition carried along (Neumaier), so that long windows do not
/// lose small values beside a large sum.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    whole: i128,
    float: f64,
    /// What the additions to `float` rounded away.
    lost: f64,
    count: u64,
    floats: u64,
}

impl Sum {
    /// One more number.
    pub fn add(&mut self, function: &'static str, value: &Value) -> Result<(), EvalError> {
        match number(function, value)? {
            // 2^63 additions of at most 2^63 fit 127 bits.
            Number::Whole(number) => self.whole += i128::from(number),
            Number::Float(number) => {
                self.add_float(number);
                self.floats += 1;
            }
        }
        self.count += 1;
        Ok(())
    }

    fn add_float(&mut self, number: f64) {
        let sum = self.float + number;
        self.lost += if self.float.abs() >= number.abs() {
            (self.float - sum) + number
        } else {
            (number - sum) + self.float
        };
        self.float = sum;
    }

    /// All numbers of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.whole = self.whole.saturating_add(other.whole);
        self.add_float(other.float);
        self.lost += other.lost;
        self.count = self.count.saturating_add(other.count);
        self.floats = self.floats.saturating_add(other.floats);
    }

    fn as_float(&self) -> f64 {
        // An infinite sum makes the correction NaN.
        let float = if self.float.is_finite() { self.float + self.lost } else { self.float };
        float + self.whole as f64
    }

    /// `SUM`: a `bigint` if all were, `NULL` if there were none.
    pub fn total(&self) -> Result<Value, EvalError> {
        let out_of_range = |ty| EvalError::OutOfRange { operation: "SUM", ty };
        match self {
            Self { count: 0, .. } => Ok(Value::Null),
            Self { floats: 0, .. } => {
                i64::try_from(self.whole).map(Value::BigInt).map_err(|_| out_of_range("bigint"))
            }
            _ if self.as_float().is_finite() => Ok(Value::Float(self.as_float())),
            _ => Err(out_of_range("float")),
        }
    }

    /// `AVG`: a `float`, `NULL` if there were none.
    pub fn mean(&self) -> Result<Value, EvalError> {
        match self.as_float() / self.count as f64 {
            _ if self.count == 0 => Ok(Value::Null),
            mean if mean.is_finite() => Ok(Value::Float(mean)),
            _ => Err(EvalError::OutOfRange { operation: "AVG", ty: "float" }),
        }
    }

    /// See [`Accumulator::write`](super::Accumulator::write).
    pub fn write(&self, out: &mut Writer) {
        out.wide(self.whole);
        out.float(self.float);
        out.float(self.lost);
        out.unsigned(self.count);
        out.unsigned(self.floats);
    }

    /// Reads it back.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (whole, float, lost) = (from.wide()?, from.float()?, from.float()?);
        let (count, floats) = (from.unsigned()?, from.unsigned()?);
        // Further additions must stay in range.
        if floats > count || count > i64::MAX as u64 || whole.unsigned_abs() > u128::from(count) << 63 {
            return Err(SnapshotError::Damaged("a sum"));
        }
        Ok(Self { whole, float, lost, count, floats })
    }
}

/// Count, mean and squared distance from the mean, kept up event by event (Welford) and joined without going back to the
/// values (Chan): numerically sound where sums of squares are not.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// One more number.
    pub fn add(&mut self, function: &'static str, value: &Value) -> Result<(), EvalError> {
        let number = match number(function, value)? {
            Number::Whole(number) => number as f64,
            Number::Float(number) => number,
        };
        self.count += 1;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
        Ok(())
    }

    /// All numbers of another.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.count = self.count.saturating_add(other.count);
        self.mean += distance * theirs / (ours + theirs);
        self.squares += other.squares + distance * distance * ours * theirs / (ours + theirs);
    }

    /// Variance or, with `root`, deviation; none for too few numbers or beyond the range of floats.
    pub fn spread(&self, sample: bool, root: bool) -> Option<Value> {
        let divisor = self.count.checked_sub(u64::from(sample)).filter(|divisor| *divisor > 0)?;
        let variance = self.squares / divisor as f64;
        let spread = if root { variance.sqrt() } else { variance };
        spread.is_finite().then_some(Value::Float(spread))
    }

    /// See [`Accumulator::write`](super::Accumulator::write).
    pub fn write(&self, out: &mut Writer) {
        out.unsigned(self.count);
        out.float(self.mean);
        out.float(self.squares);
    }

    /// Reads it back.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let count = from.unsigned()?;
        if count > i64::MAX as u64 {
            return Err(SnapshotError::Damaged("a count"));
        }
        Ok(Self { count, mean: from.float()?, squares: from.float()? })
    }
}

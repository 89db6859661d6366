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
///
/// There is one for each group of each window, so it is as small as what it has to hold.
#[derive(Debug, Clone)]
pub enum Sum {
    /// Whole numbers with a total that a `bigint` holds.
    Whole {
        /// For which function.
        of: SumOf,
        /// How many.
        count: u32,
        /// Their total.
        total: i64,
    },
    /// Floats.
    Floats {
        /// For which function.
        of: SumOf,
        /// How many, at least one.
        count: u32,
        /// Their sum, but for `lost`.
        sum: f64,
        /// What the additions rounded away.
        lost: f64,
    },
    /// Anything.
    Any(SumOf, Box<Parts>),
}

/// What a sum is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumOf {
    /// `SUM`.
    Total,
    /// `AVG`.
    Mean,
}

/// The parts of a [`Sum`].
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    whole: i128,
    float: f64,
    lost: f64,
    count: u64,
    floats: u64,
}

impl SumOf {
    fn function(self) -> &'static str {
        match self {
            Self::Total => "SUM",
            Self::Mean => "AVG",
        }
    }
}

impl Sum {
    /// Nothing yet.
    pub fn new(of: SumOf) -> Self {
        Self::Whole { of, total: 0, count: 0 }
    }

    /// What it is kept for.
    pub fn of(&self) -> SumOf {
        match self {
            Self::Whole { of, .. } | Self::Floats { of, .. } | Self::Any(of, _) => *of,
        }
    }

    /// One more number.
    pub fn add(&mut self, value: &Value) -> Result<(), EvalError> {
        match (number(self.of().function(), value)?, &mut *self) {
            (Number::Whole(number), Self::Whole { total, count, .. })
                if total.checked_add(number).is_some() && *count < u32::MAX =>
            {
                *total += number;
                *count += 1;
            }
            (Number::Float(number), Self::Floats { sum, lost, count, .. }) if *count < u32::MAX => {
                add_float(sum, lost, number);
                *count += 1;
            }
            (number, _) => {
                let mut parts = self.parts();
                match number {
                    // 2^63 additions of at most 2^63 fit 127 bits.
                    Number::Whole(number) => parts.whole += i128::from(number),
                    Number::Float(number) => {
                        add_float(&mut parts.float, &mut parts.lost, number);
                        parts.floats += 1;
                    }
                }
                parts.count += 1;
                self.put(parts);
            }
        }
        Ok(())
    }

    /// All numbers of another sum.
    pub fn merge(&mut self, other: &Self) {
        let (mut parts, other) = (self.parts(), other.parts());
        parts.whole = parts.whole.saturating_add(other.whole);
        add_float(&mut parts.float, &mut parts.lost, other.float);
        parts.lost += other.lost;
        parts.count = parts.count.saturating_add(other.count);
        parts.floats = parts.floats.saturating_add(other.floats);
        self.put(parts);
    }

    fn parts(&self) -> Parts {
        let none = Parts { whole: 0, float: 0.0, lost: 0.0, count: 0, floats: 0 };
        match self {
            Self::Whole { total, count, .. } => {
                Parts { whole: (*total).into(), count: (*count).into(), ..none }
            }
            Self::Floats { sum, lost, count, .. } => {
                let count = u64::from(*count);
                Parts { float: *sum, lost: *lost, count, floats: count, ..none }
            }
            Self::Any(_, parts) => **parts,
        }
    }

    fn put(&mut self, parts: Parts) {
        let of = self.of();
        *self = match (&mut *self, i64::try_from(parts.whole), u32::try_from(parts.count)) {
            (_, Ok(total), Ok(count)) if parts.floats == 0 => Self::Whole { of, total, count },
            (_, _, Ok(count)) if parts.floats == parts.count => {
                Self::Floats { of, sum: parts.float, lost: parts.lost, count }
            }
            (Self::Any(_, known), _, _) => return **known = parts,
            _ => Self::Any(of, Box::new(parts)),
        };
    }

    /// The result: `NULL` if there were no numbers.
    pub fn finish(&self) -> Result<Value, EvalError> {
        match self.of() {
            SumOf::Total => self.total(),
            SumOf::Mean => self.mean(),
        }
    }

    /// About how many bytes it holds beside its own.
    pub fn weight(&self) -> usize {
        if matches!(self, Self::Any(..)) { size_of::<Parts>() } else { 0 }
    }

    /// `SUM`: a `bigint` if all were.
    fn total(&self) -> Result<Value, EvalError> {
        let out_of_range = |ty| EvalError::OutOfRange { operation: "SUM", ty };
        let parts = self.parts();
        match parts {
            Parts { count: 0, .. } => Ok(Value::Null),
            Parts { floats: 0, whole, .. } => {
                i64::try_from(whole).map(Value::BigInt).map_err(|_| out_of_range("bigint"))
            }
            _ if parts.as_float().is_finite() => Ok(Value::Float(parts.as_float())),
            _ => Err(out_of_range("float")),
        }
    }

    /// `AVG`: a `float`.
    fn mean(&self) -> Result<Value, EvalError> {
        let parts = self.parts();
        match parts.as_float() / parts.count as f64 {
            _ if parts.count == 0 => Ok(Value::Null),
            mean if mean.is_finite() => Ok(Value::Float(mean)),
            _ => Err(EvalError::OutOfRange { operation: "AVG", ty: "float" }),
        }
    }

    /// See [`Accumulator::write`](super::Accumulator::write).
    pub fn write(&self, out: &mut Writer) {
        let parts = self.parts();
        out.wide(parts.whole);
        out.float(parts.float);
        out.float(parts.lost);
        out.unsigned(parts.count);
        out.unsigned(parts.floats);
    }

    /// Reads it back.
    pub fn read(of: SumOf, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (whole, float, lost) = (from.wide()?, from.float()?, from.float()?);
        let (count, floats) = (from.unsigned()?, from.unsigned()?);
        // Further additions must stay in range.
        if floats > count || count > i64::MAX as u64 || whole.unsigned_abs() > u128::from(count) << 63 {
            return Err(SnapshotError::Damaged("a sum"));
        }
        let mut sum = Self::new(of);
        sum.put(Parts { whole, float, lost, count, floats });
        Ok(sum)
    }
}

impl Parts {
    fn as_float(&self) -> f64 {
        // An infinite sum makes the correction NaN.
        let float = if self.float.is_finite() { self.float + self.lost } else { self.float };
        float + self.whole as f64
    }
}

fn add_float(sum: &mut f64, lost: &mut f64, number: f64) {
    let total = *sum + number;
    *lost += if sum.abs() >= number.abs() { (*sum - total) + number } else { (number - total) + *sum };
    *sum = total;
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

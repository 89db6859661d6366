//! Aggregates that need their values in order: percentiles, `CollectTop` and `TopOne`.

use crate::functions::arguments::Arguments;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{EvalError, Record, Value, key};
use std::cmp::Ordering;
use std::sync::Arc;

const ORDERED: &[&str] = &["bigint", "float", "datetime"];
const NUMBERS: &[&str] = &["bigint", "float"];

/// All values of a group, sorted only for the result.
#[derive(Debug, Clone)]
pub struct Percentile {
    fraction: f64,
    descending: bool,
    /// Between two values (`PERCENTILE_CONT`), not one of them.
    between: bool,
    values: Vec<Value>,
}

impl Percentile {
    /// No values yet. A fraction outside 0 to 1 counts as the nearer end.
    pub fn new(fraction: f64, descending: bool, between: bool) -> Self {
        Self { fraction: fraction.clamp(0.0, 1.0), descending, between, values: Vec::new() }
    }

    /// One more value.
    pub fn add(&mut self, value: &Value) -> Result<(), EvalError> {
        let function = if self.between { "PERCENTILE_CONT" } else { "PERCENTILE_DISC" };
        let args = Arguments { function, values: std::slice::from_ref(value) };
        self.values.push(match value {
            _ if self.between => Value::Float(args.float(0)?),
            Value::BigInt(_) | Value::Float(_) | Value::DateTime(_) => value.clone(),
            Value::Bit(_) | Value::NVarchar(_) => Value::Float(args.float(0)?),
            _ => return Err(args.invalid(0, NUMBERS)),
        });
        Ok(())
    }

    /// All values of another.
    pub fn merge(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
    }

    /// The value at the fraction, `NULL` if there are none.
    pub fn result(&self) -> Value {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(key::order);
        if self.descending {
            sorted.reverse();
        }
        let Some(last) = sorted.len().checked_sub(1) else { return Value::Null };
        if !self.between {
            return sorted.swap_remove(self.place(sorted.len()));
        }
        let place = self.fraction * last as f64;
        let at = |place: f64| sorted[(place as usize).min(last)].to_float().unwrap_or_default();
        let (low, high, share) = (at(place.floor()), at(place.ceil()), place - place.floor());
        // Each end by its share, so that two far ends do not overflow in between.
        Value::Float(if share == 0.0 { low } else { low * (1.0 - share) + high * share })
    }

    /// The first place of so many whose share of values up to it reaches the fraction.
    fn place(&self, count: usize) -> usize {
        let reaches = |upto: usize| upto as f64 / count as f64 >= self.fraction;
        let guess = (self.fraction * count as f64).ceil() as usize;
        // The product may be rounded to above a whole number: 0.07 * 100 is.
        let upto = if guess > 1 && reaches(guess - 1) { guess - 1 } else { guess };
        upto.clamp(1, count) - 1
    }

    /// Bytes held.
    pub fn weight(&self) -> usize {
        self.values.len() * size_of::<Value>()
    }

    /// See [`Accumulator::write`](super::Accumulator::write).
    pub fn write(&self, out: &mut Writer) {
        out.values(&self.values);
    }

    /// Reads it back.
    pub fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        self.values.clear();
        for value in from.values()? {
            self.add(&value).map_err(|_| SnapshotError::Damaged("a percentile"))?;
        }
        Ok(())
    }
}

/// The first so many events by some columns, kept sorted.
#[derive(Debug, Clone)]
pub struct Top {
    /// How many; none is the one of `TopOne`.
    count: Option<usize>,
    descending: Arc<[bool]>,
    rows: Vec<Row>,
    weight: usize,
}

#[derive(Debug, Clone)]
struct Row {
    keys: Box<[Value]>,
    value: Value,
}

impl Row {
    fn weight(&self) -> usize {
        self.value.weight() + self.keys.len() * size_of::<Value>()
    }
}

impl Top {
    /// No events yet.
    pub fn new(count: Option<usize>, descending: &Arc<[bool]>) -> Self {
        Self { count, descending: descending.clone(), rows: Vec::new(), weight: 0 }
    }

    /// One more event: its value and the values of the order columns, missing ones `NULL`.
    pub fn add(&mut self, value: &Value, keys: &[Value]) -> Result<(), EvalError> {
        let function = if self.count.is_some() { "CollectTop" } else { "TopOne" };
        let keys = (0..self.descending.len()).map(|at| match keys.get(at).unwrap_or(&Value::Null) {
            key @ (Value::Null | Value::BigInt(_) | Value::Float(_) | Value::DateTime(_)) => Ok(key.clone()),
            Value::Bit(bit) => Ok(Value::BigInt(i64::from(*bit))),
            _ => Err(Arguments { function, values: keys }.invalid(at, ORDERED)),
        });
        let keys = keys.collect::<Result<_, _>>()?;
        self.insert(Row { keys, value: value.clone() });
        Ok(())
    }

    /// Behind its equals, so that of equal events the earlier ones stay.
    fn insert(&mut self, row: Row) {
        let count = self.count.unwrap_or(1);
        let place = self.rows.partition_point(|other| self.order(other, &row).is_le());
        if place >= count {
            return;
        }
        self.weight += row.weight();
        self.rows.insert(place, row);
        if self.rows.len() > count
            && let Some(last) = self.rows.pop()
        {
            self.weight -= last.weight();
        }
    }

    /// `NULL` is the least.
    fn order(&self, a: &Row, b: &Row) -> Ordering {
        let pairs = a.keys.iter().zip(&b.keys).zip(self.descending.iter());
        pairs.fold(Ordering::Equal, |order, ((a, b), descending)| {
            order.then_with(|| {
                let order = key::order(a, b);
                if *descending { order.reverse() } else { order }
            })
        })
    }

    /// All events of another, which come later.
    pub fn merge(&mut self, other: &Self) {
        other.rows.iter().for_each(|row| self.insert(row.clone()));
    }

    /// An array of ranks and values, or the one value; `NULL` for `TopOne` of nothing.
    pub fn result(&self) -> Value {
        if self.count.is_none() {
            return self.rows.first().map_or(Value::Null, |row| row.value.clone());
        }
        let (rank, value): (Arc<str>, Arc<str>) = ("rank".into(), "value".into());
        let rows = self.rows.iter().zip(1..).map(|(row, number)| {
            Record::from_distinct(vec![
                (rank.clone(), Value::BigInt(number)),
                (value.clone(), row.value.clone()),
            ])
        });
        rows.map(Value::from).collect::<Vec<_>>().into()
    }

    /// Bytes held.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// See [`Accumulator::write`](super::Accumulator::write).
    pub fn write(&self, out: &mut Writer) {
        out.size(self.rows.len());
        for row in &self.rows {
            out.value(&row.value);
            out.values(&row.keys);
        }
    }

    /// Reads it back.
    pub fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        (self.rows, self.weight) = (Vec::new(), 0);
        for _ in 0..from.size()? {
            let (value, keys) = (from.value()?, from.values()?);
            self.add(&value, &keys).map_err(|_| SnapshotError::Damaged("a top list"))?;
        }
        Ok(())
    }
}

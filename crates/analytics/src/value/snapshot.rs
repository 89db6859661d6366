//! The binary form in which state is kept over a restart: numbers, texts and values one after the other, without tags of
//! their own except for values.
//!
//! Integers are variable-length (LEB128, signed ones zigzag), floats 8 bytes little endian, texts and lists led by their
//! length. Names of fields and other repeated texts are written once and then named by number. There is no version in here:
//! who writes a whole snapshot puts one first. [`Reader`] takes bytes from a disk: any bytes give values or an error, never
//! a panic, and never more memory than a small multiple of their length.

use super::json::MAX_DEPTH;
use super::{DateTime, Record, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Values may stand deeper in each other than in events, because queries collect records into arrays and records.
const MAX_NESTING: usize = 4 * MAX_DEPTH;

/// Why a snapshot could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes end too early.
    #[error("the snapshot ends in the middle of {0}; start without it")]
    Truncated(&'static str),
    /// Bytes that nothing writes.
    #[error("the snapshot is damaged at {0}; start without it")]
    Damaged(&'static str),
}

/// Collects a snapshot.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    names: HashMap<Arc<str>, u64>,
}

impl Writer {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far, done.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// True or false.
    pub fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }

    /// A number that is never negative: a length, a count.
    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    /// A length or place in memory.
    pub fn size(&mut self, size: usize) {
        self.unsigned(size as u64);
    }

    /// A number that may be negative.
    pub fn signed(&mut self, number: i64) {
        self.unsigned((number << 1 ^ number >> 63) as u64);
    }

    /// 16 bytes, for sums that a `bigint` may not hold.
    pub fn wide(&mut self, number: i128) {
        self.out.extend(number.to_le_bytes());
    }

    /// A float, every bit of it.
    pub fn float(&mut self, number: f64) {
        self.out.extend(number.to_le_bytes());
    }

    /// A point in time.
    pub fn time(&mut self, time: DateTime) {
        self.signed(time.0);
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.size(text.len());
        self.out.extend(text.as_bytes());
    }

    /// Bytes that mean something to the caller.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.out.extend(bytes);
    }

    /// A text that will come again: only its number is written the second time.
    pub fn name(&mut self, name: &Arc<str>) {
        let next = self.names.len() as u64 + 1;
        match self.names.get(name) {
            Some(number) => self.unsigned(*number),
            None => {
                self.names.insert(name.clone(), next);
                self.unsigned(0);
                self.text(name);
            }
        }
    }

    /// A value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.byte(0),
            Value::Bit(false) => self.byte(1),
            Value::Bit(true) => self.byte(2),
            Value::BigInt(number) => {
                self.byte(3);
                self.signed(*number);
            }
            Value::Float(number) => {
                self.byte(4);
                self.float(*number);
            }
            Value::NVarchar(text) => {
                self.byte(5);
                self.text(text);
            }
            Value::DateTime(time) => {
                self.byte(6);
                self.time(*time);
            }
            Value::Record(record) => {
                self.byte(7);
                self.record(record);
            }
            Value::Array(items) => {
                self.byte(8);
                self.values(items);
            }
        }
    }

    /// A record, without the tag of a value.
    pub fn record(&mut self, record: &Record) {
        self.size(record.len());
        for (name, value) in record.iter() {
            self.name(name);
            self.value(value);
        }
    }

    /// Several values, led by their number.
    pub fn values(&mut self, values: &[Value]) {
        self.size(values.len());
        values.iter().for_each(|value| self.value(value));
    }
}

/// Reads a snapshot in the order it was written.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    names: Vec<Arc<str>>,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// From the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, names: Vec::new(), depth: 0 }
    }

    /// Whether all is read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SnapshotError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SnapshotError::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`SnapshotError`], as for everything below.
    pub fn byte(&mut self) -> Result<u8, SnapshotError> {
        self.array("a byte").map(|[byte]| byte)
    }

    /// True or false.
    pub fn flag(&mut self) -> Result<bool, SnapshotError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SnapshotError::Damaged("a flag")),
        }
    }

    /// See [`Writer::unsigned`].
    pub fn unsigned(&mut self) -> Result<u64, SnapshotError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array("a number")?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(SnapshotError::Damaged("a number"))
    }

    /// How many things follow, each of at least one byte; so more than there are bytes left is damage.
    pub fn size(&mut self) -> Result<usize, SnapshotError> {
        let size = self.unsigned()?;
        usize::try_from(size)
            .ok()
            .filter(|size| *size <= self.rest.len())
            .ok_or(SnapshotError::Truncated("a list or text"))
    }

    /// A number that was written with [`Writer::unsigned`] and counts nothing that follows.
    pub fn count(&mut self) -> Result<usize, SnapshotError> {
        usize::try_from(self.unsigned()?).map_err(|_| SnapshotError::Damaged("a count"))
    }

    /// See [`Writer::signed`].
    pub fn signed(&mut self) -> Result<i64, SnapshotError> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// See [`Writer::wide`].
    pub fn wide(&mut self) -> Result<i128, SnapshotError> {
        self.array("a number").map(i128::from_le_bytes)
    }

    /// See [`Writer::float`].
    pub fn float(&mut self) -> Result<f64, SnapshotError> {
        self.array("a float").map(f64::from_le_bytes)
    }

    /// See [`Writer::time`].
    pub fn time(&mut self) -> Result<DateTime, SnapshotError> {
        self.signed().map(DateTime)
    }

    /// See [`Writer::text`].
    pub fn text(&mut self) -> Result<&'a str, SnapshotError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| SnapshotError::Damaged("a text"))
    }

    /// See [`Writer::bytes`].
    pub fn bytes(&mut self) -> Result<&'a [u8], SnapshotError> {
        let length = self.size()?;
        self.take(length, "a text")
    }

    /// See [`Writer::name`].
    pub fn name(&mut self) -> Result<Arc<str>, SnapshotError> {
        match self.count()? {
            0 => {
                let name: Arc<str> = self.text()?.into();
                self.names.push(name.clone());
                Ok(name)
            }
            number => self.names.get(number - 1).cloned().ok_or(SnapshotError::Damaged("a name")),
        }
    }

    /// See [`Writer::value`].
    pub fn value(&mut self) -> Result<Value, SnapshotError> {
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => Value::Bit(false),
            2 => Value::Bit(true),
            3 => Value::BigInt(self.signed()?),
            // No value is NaN or infinite.
            4 => match self.float()? {
                number if number.is_finite() => Value::Float(number),
                _ => return Err(SnapshotError::Damaged("a value")),
            },
            5 => Value::text(self.text()?),
            6 => Value::DateTime(self.time()?),
            7 => self.deeper(|reader| reader.record().map(Value::from))?,
            8 => self.deeper(|reader| reader.values().map(Value::from))?,
            _ => return Err(SnapshotError::Damaged("a value")),
        })
    }

    /// See [`Writer::record`].
    pub fn record(&mut self) -> Result<Record, SnapshotError> {
        let fields = (0..self.size()?).map(|_| Ok((self.name()?, self.value()?)));
        let fields: Vec<_> = fields.collect::<Result<_, SnapshotError>>()?;
        let mut seen = std::collections::HashSet::with_capacity(fields.len());
        if !fields.iter().all(|(name, _)| seen.insert(name)) {
            return Err(SnapshotError::Damaged("a record"));
        }
        Ok(Record::from_distinct(fields))
    }

    /// See [`Writer::values`].
    pub fn values(&mut self) -> Result<Vec<Value>, SnapshotError> {
        (0..self.size()?).map(|_| self.value()).collect()
    }

    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, SnapshotError>,
    ) -> Result<Value, SnapshotError> {
        if self.depth == MAX_NESTING {
            return Err(SnapshotError::Damaged("nested values"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::json::tests::any_value;
    use proptest::prelude::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.value(value);
        writer.finish()
    }

    #[test]
    fn names_are_written_once() {
        let record = |name: &str| Value::from(Record::from_iter([(Arc::from(name), Value::Null)]));
        let once = written(&Value::from(vec![record("temperature")])).len();
        let twice = written(&Value::from(vec![record("temperature"), record("temperature")]));
        assert_eq!(twice.len(), once + 4);
        assert_eq!(Reader::new(&twice).values().unwrap_err(), SnapshotError::Truncated("a byte"));
    }

    #[test]
    fn a_length_never_makes_room_for_more_than_there_is() {
        let mut writer = Writer::new();
        writer.byte(8);
        writer.unsigned(u64::MAX >> 1);
        let bytes = writer.finish();
        assert_eq!(Reader::new(&bytes).value(), Err(SnapshotError::Truncated("a list or text")));
        let deep = [8, 1].repeat(100_000);
        assert_eq!(Reader::new(&deep).value(), Err(SnapshotError::Damaged("nested values")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn everything_goes_round(
            value in any_value(), number: i64, count: u64, float: f64, wide: i128, text: String, flag: bool
        ) {
            let mut writer = Writer::new();
            writer.value(&value);
            writer.signed(number);
            writer.unsigned(count);
            writer.float(float);
            writer.wide(wide);
            writer.text(&text);
            writer.flag(flag);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.value(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(number));
            prop_assert_eq!(reader.unsigned(), Ok(count));
            prop_assert_eq!(reader.float().map(f64::to_bits), Ok(float.to_bits()));
            prop_assert_eq!(reader.wide(), Ok(wide));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.flag(), Ok(flag));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn damaged_bytes_give_a_value_or_an_error(value in any_value(), at: prop::sample::Index, byte: u8) {
            let mut bytes = written(&value);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Reader::new(&bytes).value();
            prop_assert!(Reader::new(&written(&value)[..at]).value().is_err());
        }
    }
}

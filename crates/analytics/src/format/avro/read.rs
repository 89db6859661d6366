//! From container files to events.

use super::schema::{Node, Schema, Unit};
use crate::format::compression::bounded;
use crate::format::{EventReader, MAX_BYTES, ReadError};
use crate::value::json::MAX_DEPTH;
use crate::value::{DateTime, JsonOptions, Record, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::DeflateDecoder;
use std::sync::Arc;

/// Reads files that mostly have the same schema.
#[derive(Debug)]
pub(in crate::format) struct Reader {
    options: JsonOptions,
    /// The schema of the last file, as it stood there.
    known: Vec<u8>,
    schema: Schema,
}

const MAGIC: &[u8] = b"Obj\x01";
/// Between blocks, and how each file chose it.
const SYNC: usize = 16;

/// How the blocks of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
}

impl Reader {
    pub(in crate::format) fn new(options: JsonOptions) -> Self {
        Self { options, known: Vec::new(), schema: Schema::default() }
    }

    fn file(
        &mut self,
        payload: &[u8],
        each: &mut dyn FnMut(Result<Arc<Record>, ReadError>),
    ) -> Result<(), ReadError> {
        if payload.len() > MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
        let rest = payload.strip_prefix(MAGIC).ok_or(ReadError::Avro(
            "is no container file; single objects have no schema with them: send files",
        ))?;
        let mut bytes = Bytes::new(rest);
        let codec = self.header(&mut bytes)?;
        let sync = bytes.take(SYNC)?;
        let (mut objects, mut left) = (0, MAX_BYTES);
        let mut expanded = Vec::new();
        while !bytes.rest.is_empty() {
            let (count, data) = (bytes.count()?, bytes.bytes()?);
            if bytes.take(SYNC)? != sync {
                return Err(DAMAGED);
            }
            codec.expand(data, &mut expanded)?;
            left = left.checked_sub(expanded.len()).ok_or(ReadError::TooLarge)?;
            let mut block = Bytes::new(&expanded);
            // Objects without any bytes would have no end.
            if count > expanded.len() {
                return Err(DAMAGED);
            }
            for _ in 0..count {
                objects += 1;
                each(
                    self.object(&mut block)?
                        .map_err(|problem| ReadError::AvroObject { object: objects, problem }),
                );
            }
            if !block.rest.is_empty() {
                return Err(DAMAGED);
            }
        }
        Ok(())
    }

    /// The file's own description: schema and codec.
    fn header(&mut self, bytes: &mut Bytes<'_>) -> Result<Codec, ReadError> {
        let (mut schema, mut codec) = (None, Codec::Null);
        bytes.blocks(&mut |bytes| {
            let (name, value) = (bytes.bytes()?, bytes.bytes()?);
            match name {
                b"avro.schema" => schema = Some(value.to_owned()),
                b"avro.codec" => {
                    codec = match value {
                        b"null" => Codec::Null,
                        b"deflate" => Codec::Deflate,
                        b"snappy" => Codec::Snappy,
                        _ => {
                            return Err(ReadError::Avro(
                                "is compressed in a way that is not read: null, deflate and snappy are",
                            ));
                        }
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let schema = schema.ok_or(ReadError::Avro("has no schema"))?;
        if schema != self.known || self.schema.nodes.is_empty() {
            let lower = self.options.lower_case_names;
            let name = |name: &str| if lower { name.to_lowercase().into() } else { name.into() };
            self.schema = Schema::parse(&schema, name).map_err(ReadError::Avro)?;
            self.known = schema;
        }
        Ok(codec)
    }

    /// One object, or why it is no event although the file goes on.
    fn object(&self, bytes: &mut Bytes<'_>) -> Result<Result<Arc<Record>, &'static str>, ReadError> {
        let mut reading =
            Reading { nodes: &self.schema.nodes, options: self.options, invalid: None, depth: 0 };
        let value = reading.value(bytes, 0)?;
        Ok(match (reading.invalid, value) {
            (Some(problem), _) => Err(problem),
            (None, Value::Record(record)) => Ok(record),
            (None, _) => Err("is no record"),
        })
    }
}

impl EventReader for Reader {
    fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        if let Err(error) = self.file(payload, each) {
            each(Err(error));
        }
    }
}

impl Codec {
    fn expand(self, data: &[u8], into: &mut Vec<u8>) -> Result<(), ReadError> {
        into.clear();
        match self {
            Self::Null => into.extend(data),
            Self::Deflate => bounded(DeflateDecoder::new(data), "Avro deflate", into)?,
            Self::Snappy => {
                // Behind the data stands a check of four bytes over it, which the codec of the file makes superfluous.
                let (data, _) = data.split_last_chunk::<4>().ok_or(DAMAGED)?;
                let length = snap::raw::decompress_len(data).map_err(|_| DAMAGED)?;
                if length > MAX_BYTES {
                    return Err(ReadError::TooLarge);
                }
                *into = snap::raw::Decoder::new().decompress_vec(data).map_err(|_| DAMAGED)?;
            }
        }
        Ok(())
    }
}

const DAMAGED: ReadError = ReadError::Avro("is damaged, or ends too early");

/// Bytes on their way to values.
struct Bytes<'a> {
    rest: &'a [u8],
    /// How many values more there may be, so that those without bytes have an end.
    left: usize,
}

/// How many values a block may have whatever its length.
const FEW_VALUES: usize = 1024;

impl<'a> Bytes<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, left: FEW_VALUES + 2 * rest.len() }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A whole number, of variable length and zigzag.
    fn long(&mut self) -> Result<i64, ReadError> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(DAMAGED)
    }

    fn count(&mut self) -> Result<usize, ReadError> {
        usize::try_from(self.long()?).map_err(|_| DAMAGED)
    }

    fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let length = self.count()?;
        self.take(length)
    }

    /// The items of an array or map, which come in blocks.
    fn blocks(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<(), ReadError>) -> Result<(), ReadError> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The length in bytes follows, for those who pass over.
                self.long()?;
                count = count.checked_neg().ok_or(DAMAGED)?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    /// Counts a value.
    fn spend(&mut self) -> Result<(), ReadError> {
        self.left = self.left.checked_sub(1).ok_or(DAMAGED)?;
        Ok(())
    }
}

/// One object on its way to an event.
struct Reading<'a> {
    nodes: &'a [Node],
    options: JsonOptions,
    /// The first thing in it that is well-formed but nothing a query can work with.
    invalid: Option<&'static str>,
    depth: usize,
}

impl Reading<'_> {
    fn value(&mut self, bytes: &mut Bytes<'_>, place: usize) -> Result<Value, ReadError> {
        let nodes = self.nodes;
        let node = nodes.get(place).ok_or(DAMAGED)?;
        if let Node::Union(branches) = node {
            // Unions do not stand in each other.
            let branch = *branches.get(bytes.count()?).ok_or(DAMAGED)?;
            return self.value(bytes, branch);
        }
        bytes.spend()?;
        Ok(match node {
            Node::Null | Node::Union(_) => Value::Null,
            Node::Boolean => match bytes.array()? {
                [bit @ (0 | 1)] if self.options.bits => Value::Bit(bit == 1),
                [bit @ (0 | 1)] => Value::BigInt(bit.into()),
                _ => return Err(DAMAGED),
            },
            Node::Long => Value::BigInt(bytes.long()?),
            Node::Float => self.float(f32::from_le_bytes(bytes.array()?).into()),
            Node::Double => self.float(f64::from_le_bytes(bytes.array()?)),
            Node::Bytes => raw(bytes.bytes()?),
            Node::Fixed(size) => raw(bytes.take(*size)?),
            Node::Text => self.text(std::str::from_utf8(bytes.bytes()?).map_err(|_| DAMAGED)?),
            Node::Enum(symbols) => Value::NVarchar(symbols.get(bytes.count()?).ok_or(DAMAGED)?.clone()),
            Node::Time(unit) => {
                let time = unit.time(bytes.long()?);
                self.or_invalid(time, "has a time outside the years 1 to 9999")
            }
            Node::Decimal(size, scale) => {
                let digits = match size {
                    Some(size) => bytes.take(*size)?,
                    None => bytes.bytes()?,
                };
                self.float(decimal(digits, *scale))
            }
            Node::Record(fields) => self.deeper(|reading| {
                let mut record = Record::with_capacity(fields.len().min(bytes.left));
                for (name, place) in fields {
                    record.push(name.clone(), reading.value(bytes, *place)?);
                }
                Ok(Value::from(record))
            })?,
            Node::Array(items) => self.deeper(|reading| {
                let mut list = Vec::new();
                bytes.blocks(&mut |bytes| {
                    list.push(reading.value(bytes, *items)?);
                    Ok(())
                })?;
                Ok(Value::from(list))
            })?,
            // rule FORMAT-03
            Node::Map(values) => {
                self.invalid.get_or_insert("has a map, which queries cannot read; send a record");
                self.deeper(|reading| {
                    bytes.blocks(&mut |bytes| {
                        bytes.bytes()?;
                        reading.value(bytes, *values).map(drop)
                    })?;
                    Ok(Value::Null)
                })?
            }
        })
    }

    fn float(&mut self, number: f64) -> Value {
        let finite = number.is_finite().then_some(Value::Float(number));
        self.or_invalid(finite, "has a number that is none, or infinite")
    }

    fn or_invalid<T: Into<Value>>(&mut self, value: Option<T>, problem: &'static str) -> Value {
        if value.is_none() {
            self.invalid.get_or_insert(problem);
        }
        value.into()
    }

    fn text(&self, text: &str) -> Value {
        match DateTime::parse(text) {
            // rule JSON-02
            Some(time) if self.options.dates && text.as_bytes().get(10) == Some(&b'T') => {
                Value::DateTime(time)
            }
            _ => Value::text(text),
        }
    }

    /// A type may contain itself, so a file could go as deep as it is long.
    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, ReadError>,
    ) -> Result<Value, ReadError> {
        if self.depth == MAX_DEPTH {
            return Err(ReadError::Avro("has records and arrays too deep in each other"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }
}

impl Unit {
    fn time(self, count: i64) -> Option<DateTime> {
        match self {
            Self::Days => count.checked_mul(86_400_000).and_then(DateTime::from_unix_millis),
            Self::Millis => DateTime::from_unix_millis(count),
            Self::Micros => DateTime::from_unix_micros(count),
            Self::Nanos => {
                let whole = DateTime::from_unix_micros(count.div_euclid(1000))?;
                whole.checked_add(count.rem_euclid(1000) / 100)
            }
        }
    }
}

/// Bytes are text where they can be, as the bodies of captured messages mostly are, else base64.
fn raw(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::text(text),
        Err(_) => Value::from(STANDARD.encode(bytes)),
    }
}

/// The nearest float of a decimal number.
fn decimal(digits: &[u8], scale: u32) -> f64 {
    let negative = digits.first().is_some_and(|byte| byte & 0x80 != 0);
    let unscaled = digits
        .iter()
        .fold(if negative { -1.0 } else { 0.0 }, |number: f64, byte| number * 256.0 + f64::from(*byte));
    unscaled / 10_f64.powi(i32::try_from(scale).unwrap_or(i32::MAX))
}

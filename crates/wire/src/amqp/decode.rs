//! Reading values. Lengths are checked before anything is allocated; depth and number of values are bounded.

use super::{DecodeError, Value};
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use uuid::Uuid;

/// How deep values may be nested.
pub(super) const DEPTH_MAX: u32 = 32;
/// How many values one frame or message may hold: an array of 2³² nulls needs five bytes on the wire.
pub(super) const VALUES_MAX: u32 = 65_536;

/// A position in shared bytes.
pub(super) struct Decoder<'a> {
    data: &'a Bytes,
    pos: usize,
    values: u32,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl<'a> Decoder<'a> {
    pub(super) fn new(data: &'a Bytes) -> Self {
        Self { data, pos: 0, values: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pos >= self.data.len()
    }

    /// All that was not read yet.
    pub(super) fn rest(&self) -> Bytes {
        self.data.slice(self.pos.min(self.data.len())..)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.pos.checked_add(len).ok_or(DecodeError::Truncated)?;
        let bytes = self.data.get(self.pos..end).ok_or(DecodeError::Truncated)?;
        self.pos = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn len8(&mut self) -> Result<usize> {
        Ok(usize::from(self.u8()?))
    }

    fn len32(&mut self) -> Result<usize> {
        usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| DecodeError::Truncated)
    }

    fn shared(&mut self, len: usize) -> Result<Bytes> {
        let start = self.pos;
        self.take(len)?;
        Ok(self.data.slice(start..self.pos))
    }

    fn string(&mut self, len: usize) -> Result<Value> {
        ByteString::try_from(self.shared(len)?).map(Value::String).map_err(|_| DecodeError::Text)
    }

    fn symbol(&mut self, len: usize) -> Result<Value> {
        let bytes = self.shared(len)?;
        if !bytes.is_ascii() {
            return Err(DecodeError::Text);
        }
        ByteString::try_from(bytes).map(Value::Symbol).map_err(|_| DecodeError::Text)
    }

    /// The next value, whatever it is.
    pub(super) fn value(&mut self) -> Result<Value> {
        self.nested(0)
    }

    fn nested(&mut self, depth: u32) -> Result<Value> {
        let code = self.u8()?;
        self.after_constructor(code, depth)
    }

    fn after_constructor(&mut self, code: u8, depth: u32) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(DecodeError::TooMany);
        }
        Ok(match code {
            0x00 => {
                let descriptor = self.nested(depth + 1)?;
                Value::described(descriptor, self.nested(depth + 1)?)
            }
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x56 => match self.u8()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(DecodeError::Boolean),
            },
            0x43 => Value::Uint(0),
            0x44 => Value::Ulong(0),
            0x45 => Value::List(Vec::new()),
            0x50 => Value::Ubyte(self.u8()?),
            0x51 => Value::Byte(i8::from_be_bytes(self.array()?)),
            0x52 => Value::Uint(self.u8()?.into()),
            0x53 => Value::Ulong(self.u8()?.into()),
            0x54 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            0x55 => Value::Long(i8::from_be_bytes(self.array()?).into()),
            0x60 => Value::Ushort(u16::from_be_bytes(self.array()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.array()?)),
            0x70 => Value::Uint(u32::from_be_bytes(self.array()?)),
            0x71 => Value::Int(i32::from_be_bytes(self.array()?)),
            0x72 => Value::Float(f32::from_be_bytes(self.array()?)),
            0x73 => Value::Char(char::from_u32(u32::from_be_bytes(self.array()?)).ok_or(DecodeError::Text)?),
            0x74 => Value::Decimal32(self.array()?),
            0x80 => Value::Ulong(u64::from_be_bytes(self.array()?)),
            0x81 => Value::Long(i64::from_be_bytes(self.array()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x83 => Value::Timestamp(Timestamp::from_millis(i64::from_be_bytes(self.array()?))),
            0x84 => Value::Decimal64(self.array()?),
            0x94 => Value::Decimal128(self.array()?),
            0x98 => Value::Uuid(Uuid::from_bytes(self.array()?)),
            0xa0 => {
                let len = self.len8()?;
                Value::Binary(self.shared(len)?)
            }
            0xb0 => {
                let len = self.len32()?;
                Value::Binary(self.shared(len)?)
            }
            0xa1 => {
                let len = self.len8()?;
                self.string(len)?
            }
            0xb1 => {
                let len = self.len32()?;
                self.string(len)?
            }
            0xa3 => {
                let len = self.len8()?;
                self.symbol(len)?
            }
            0xb3 => {
                let len = self.len32()?;
                self.symbol(len)?
            }
            0xc0 | 0xc1 | 0xe0 => {
                let size = self.len8()?;
                let end = self.end(size)?;
                let count = self.len8()?;
                self.compound(code, count, end, depth)?
            }
            0xd0 | 0xd1 | 0xf0 => {
                let size = self.len32()?;
                let end = self.end(size)?;
                let count = self.len32()?;
                self.compound(code, count, end, depth)?
            }
            other => return Err(DecodeError::Constructor(other)),
        })
    }

    /// The end of a compound value of `size` bytes that starts here.
    fn end(&self, size: usize) -> Result<usize> {
        match self.pos.checked_add(size) {
            Some(end) if end <= self.data.len() => Ok(end),
            _ => Err(DecodeError::Truncated),
        }
    }

    fn compound(&mut self, code: u8, count: usize, end: usize, depth: u32) -> Result<Value> {
        let value = match code {
            0xc0 | 0xd0 => Value::List(self.items(count, end, depth)?),
            0xc1 | 0xd1 => {
                if !count.is_multiple_of(2) {
                    return Err(DecodeError::OddMap);
                }
                let mut items = self.items(count, end, depth)?.into_iter();
                let mut entries = Vec::with_capacity(count / 2);
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    entries.push((key, value));
                }
                Value::Map(entries)
            }
            _ => Value::Array(self.elements(count, end, depth)?),
        };
        if self.pos > end {
            return Err(DecodeError::Size);
        }
        self.pos = end;
        Ok(value)
    }

    fn items(&mut self, count: usize, end: usize, depth: u32) -> Result<Vec<Value>> {
        // Each element needs at least its constructor, so a count beyond the bytes is a lie and is found before allocating.
        if count > end.saturating_sub(self.pos) {
            return Err(DecodeError::Size);
        }
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(self.nested(depth + 1)?);
        }
        Ok(items)
    }

    fn elements(&mut self, count: usize, end: usize, depth: u32) -> Result<Vec<Value>> {
        if self.pos == end && count == 0 {
            return Ok(Vec::new());
        }
        let mut code = self.u8()?;
        let mut descriptor = None;
        if code == 0x00 {
            descriptor = Some(self.nested(depth + 1)?);
            code = self.u8()?;
            // A described type of a described type is legal and used by nobody.
            if code == 0x00 {
                return Err(DecodeError::Constructor(0));
            }
        }
        let mut items = Vec::new();
        for _ in 0..count {
            let item = self.after_constructor(code, depth + 1)?;
            items.push(match &descriptor {
                None => item,
                Some(descriptor) => {
                    // The descriptor stands once on the wire and once per element in memory.
                    if count_values(descriptor, &mut self.values) {
                        Value::described(descriptor.clone(), item)
                    } else {
                        return Err(DecodeError::TooMany);
                    }
                }
            });
        }
        Ok(items)
    }

    /// The next value as a described list: its descriptor and its fields.
    pub(super) fn composite(&mut self) -> Result<(u64, Fields)> {
        into_composite(self.value()?)
    }
}

/// Adds the values of a clone to the budget; false where it is used up.
fn count_values(value: &Value, budget: &mut u32) -> bool {
    let inner = match value {
        Value::List(items) | Value::Array(items) => items.len(),
        Value::Map(entries) => entries.len() * 2,
        _ => 0,
    };
    // Descriptors are symbols or numbers; a compound one may not be multiplied.
    *budget = budget.saturating_add(1);
    inner == 0 && !matches!(value, Value::Described(_)) && *budget <= VALUES_MAX
}

/// Takes a described list apart.
pub(super) fn into_composite(value: Value) -> Result<(u64, Fields)> {
    let Value::Described(parts) = value else { return Err(DecodeError::Missing("descriptor")) };
    let (descriptor, Value::List(items)) = *parts else { return Err(DecodeError::Field("list")) };
    Ok((descriptor_code(&descriptor)?, Fields::new(items)))
}

/// The number of a descriptor, given as number or as symbol.
pub(super) fn descriptor_code(descriptor: &Value) -> Result<u64> {
    match descriptor {
        Value::Ulong(code) => Ok(*code),
        Value::Symbol(name) => NAMES
            .iter()
            .find(|(n, _)| *n == &**name)
            .map(|(_, code)| *code)
            .ok_or(DecodeError::Field("descriptor")),
        _ => Err(DecodeError::Field("descriptor")),
    }
}

/// Descriptors may be spelled as symbols (specification part 2, 2.7; part 3; part 5, 5.3).
const NAMES: &[(&str, u64)] = &[
    ("amqp:open:list", 0x10),
    ("amqp:begin:list", 0x11),
    ("amqp:attach:list", 0x12),
    ("amqp:flow:list", 0x13),
    ("amqp:transfer:list", 0x14),
    ("amqp:disposition:list", 0x15),
    ("amqp:detach:list", 0x16),
    ("amqp:end:list", 0x17),
    ("amqp:close:list", 0x18),
    ("amqp:error:list", 0x1d),
    ("amqp:received:list", 0x23),
    ("amqp:accepted:list", 0x24),
    ("amqp:rejected:list", 0x25),
    ("amqp:released:list", 0x26),
    ("amqp:modified:list", 0x27),
    ("amqp:source:list", 0x28),
    ("amqp:target:list", 0x29),
    ("amqp:sasl-mechanisms:list", 0x40),
    ("amqp:sasl-init:list", 0x41),
    ("amqp:sasl-challenge:list", 0x42),
    ("amqp:sasl-response:list", 0x43),
    ("amqp:sasl-outcome:list", 0x44),
    ("amqp:header:list", 0x70),
    ("amqp:delivery-annotations:map", 0x71),
    ("amqp:message-annotations:map", 0x72),
    ("amqp:properties:list", 0x73),
    ("amqp:application-properties:map", 0x74),
    ("amqp:data:binary", 0x75),
    ("amqp:amqp-sequence:list", 0x76),
    ("amqp:amqp-value:*", 0x77),
    ("amqp:footer:map", 0x78),
];

/// The fields of a described list, in order; those left out are null.
pub(super) struct Fields {
    items: std::vec::IntoIter<Value>,
}

impl Fields {
    pub(super) fn new(items: Vec<Value>) -> Self {
        Self { items: items.into_iter() }
    }

    pub(super) fn value(&mut self) -> Value {
        self.items.next().unwrap_or(Value::Null)
    }

    pub(super) fn opt_u32(&mut self, name: &'static str) -> Result<Option<u32>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Uint(n) => Ok(Some(n)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn u32(&mut self, name: &'static str) -> Result<u32> {
        self.opt_u32(name)?.ok_or(DecodeError::Missing(name))
    }

    pub(super) fn opt_u64(&mut self, name: &'static str) -> Result<Option<u64>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Ulong(n) => Ok(Some(n)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn opt_u16(&mut self, name: &'static str) -> Result<Option<u16>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Ushort(n) => Ok(Some(n)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn opt_u8(&mut self, name: &'static str) -> Result<Option<u8>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Ubyte(n) => Ok(Some(n)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    /// A boolean that is false where it is left out, as all booleans of the specification are.
    pub(super) fn bool(&mut self, name: &'static str) -> Result<bool> {
        match self.value() {
            Value::Null => Ok(false),
            Value::Bool(b) => Ok(b),
            _ => Err(DecodeError::Field(name)),
        }
    }

    /// A string or a symbol: peers mix them up.
    pub(super) fn opt_text(&mut self, name: &'static str) -> Result<Option<ByteString>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::String(text) | Value::Symbol(text) => Ok(Some(text)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<ByteString> {
        self.opt_text(name)?.ok_or(DecodeError::Missing(name))
    }

    pub(super) fn opt_binary(&mut self, name: &'static str) -> Result<Option<Bytes>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Binary(bytes) => Ok(Some(bytes)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn opt_timestamp(&mut self, name: &'static str) -> Result<Option<Timestamp>> {
        match self.value() {
            Value::Null => Ok(None),
            Value::Timestamp(t) => Ok(Some(t)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    /// "Multiple" symbols: null, one symbol, or an array of them.
    pub(super) fn symbols(&mut self, name: &'static str) -> Result<Vec<ByteString>> {
        match self.value() {
            Value::Null => Ok(Vec::new()),
            Value::Symbol(one) => Ok(vec![one]),
            Value::Array(items) | Value::List(items) => {
                items.into_iter().map(|i| i.to_text().ok_or(DecodeError::Field(name))).collect()
            }
            _ => Err(DecodeError::Field(name)),
        }
    }

    /// A map whose keys are text; entries with other keys (reserved numbers) are left out.
    pub(super) fn map(&mut self, name: &'static str) -> Result<Vec<(ByteString, Value)>> {
        into_map(self.value(), name)
    }
}

/// The entries of a map whose keys are text.
pub(super) fn into_map(value: Value, name: &'static str) -> Result<Vec<(ByteString, Value)>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Map(entries) => Ok(entries.into_iter().filter_map(|(k, v)| Some((k.to_text()?, v))).collect()),
        _ => Err(DecodeError::Field(name)),
    }
}

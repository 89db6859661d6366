//! Writing values, each in its shortest form.

use super::Value;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_model::Timestamp;

/// Writes a value.
pub(super) fn value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(0x40),
        Value::Bool(true) => out.put_u8(0x41),
        Value::Bool(false) => out.put_u8(0x42),
        Value::Uint(0) => out.put_u8(0x43),
        Value::Uint(n @ 1..=0xff) => out.put_slice(&[0x52, *n as u8]),
        Value::Ulong(0) => out.put_u8(0x44),
        Value::Ulong(n @ 1..=0xff) => out.put_slice(&[0x53, *n as u8]),
        Value::Int(n @ -128..=127) => out.put_slice(&[0x54, *n as u8]),
        Value::Long(n @ -128..=127) => out.put_slice(&[0x55, *n as u8]),
        Value::List(items) if items.is_empty() => out.put_u8(0x45),
        Value::Described(parts) => {
            out.put_u8(0x00);
            self::value(out, &parts.0);
            self::value(out, &parts.1);
        }
        // An empty array becomes an empty list too: azure-eventhub's reader leaves the constructor of an empty array unread.
        Value::Array(items) if items.is_empty() => out.put_u8(0x45),
        Value::Array(items) if is_uniform(items) => {
            compound(out, 0xe0, 0xf0, items.len(), |out| elements(out, items));
        }
        Value::List(items) | Value::Array(items) => list(out, items),
        Value::Map(entries) => compound(out, 0xc1, 0xd1, entries.len() * 2, |out| pairs(out, entries)),
        other => {
            let code = constructor(std::slice::from_ref(other));
            out.put_u8(code);
            content(out, code, other);
        }
    }
}

/// Whether the elements can share a constructor.
fn is_uniform(items: &[Value]) -> bool {
    let Some(first) = items.first() else { return true };
    let same = |v: &Value| {
        std::mem::discriminant(v) == std::mem::discriminant(first)
            && !matches!(v, Value::Array(inner) if !is_uniform(inner))
    };
    // Described elements would also have to share descriptor and inner type: as a list they lose nothing.
    !matches!(first, Value::Described(_)) && items.iter().all(same)
}

/// The constructor that fits all of these values, which are of one type; never a one-value form such as `true`.
fn constructor(items: &[Value]) -> u8 {
    let wide = |len: fn(&Value) -> usize| items.iter().any(|v| len(v) > 0xff);
    match items.first() {
        // An empty array still names a type; symbols are what arrays are used for.
        None => 0xa3,
        Some(first) => match first {
            Value::Null | Value::Described(_) => 0x40,
            Value::Bool(_) => 0x56,
            Value::Ubyte(_) => 0x50,
            Value::Ushort(_) => 0x60,
            Value::Uint(_) => 0x70,
            Value::Ulong(_) => 0x80,
            Value::Byte(_) => 0x51,
            Value::Short(_) => 0x61,
            Value::Int(_) => 0x71,
            Value::Long(_) => 0x81,
            Value::Float(_) => 0x72,
            Value::Double(_) => 0x82,
            Value::Decimal32(_) => 0x74,
            Value::Decimal64(_) => 0x84,
            Value::Decimal128(_) => 0x94,
            Value::Char(_) => 0x73,
            Value::Timestamp(_) => 0x83,
            Value::Uuid(_) => 0x98,
            Value::Binary(_) if wide(text_len) => 0xb0,
            Value::Binary(_) => 0xa0,
            Value::String(_) if wide(text_len) => 0xb1,
            Value::String(_) => 0xa1,
            Value::Symbol(_) if wide(text_len) => 0xb3,
            Value::Symbol(_) => 0xa3,
            Value::List(_) => 0xd0,
            Value::Map(_) => 0xd1,
            Value::Array(_) => 0xf0,
        },
    }
}

fn text_len(value: &Value) -> usize {
    match value {
        Value::Binary(bytes) => bytes.len(),
        Value::String(text) | Value::Symbol(text) => text.len(),
        _ => 0,
    }
}

/// Writes what follows a constructor.
fn content(out: &mut BytesMut, code: u8, value: &Value) {
    match value {
        Value::Null | Value::Described(_) => {}
        Value::Bool(b) => out.put_u8(u8::from(*b)),
        Value::Ubyte(n) => out.put_u8(*n),
        Value::Ushort(n) => out.put_u16(*n),
        Value::Uint(n) => out.put_u32(*n),
        Value::Ulong(n) => out.put_u64(*n),
        Value::Byte(n) => out.put_i8(*n),
        Value::Short(n) => out.put_i16(*n),
        Value::Int(n) => out.put_i32(*n),
        Value::Long(n) => out.put_i64(*n),
        Value::Float(n) => out.put_f32(*n),
        Value::Double(n) => out.put_f64(*n),
        Value::Decimal32(bytes) => out.put_slice(bytes),
        Value::Decimal64(bytes) => out.put_slice(bytes),
        Value::Decimal128(bytes) => out.put_slice(bytes),
        Value::Char(c) => out.put_u32(u32::from(*c)),
        Value::Timestamp(t) => out.put_i64(t.as_millis()),
        Value::Uuid(id) => out.put_slice(id.as_bytes()),
        Value::Binary(bytes) => variable(out, code, bytes),
        Value::String(text) | Value::Symbol(text) => variable(out, code, text.as_bytes()),
        Value::List(items) => {
            wide_compound(out, items.len(), |out| items.iter().for_each(|i| self::value(out, i)));
        }
        Value::Map(entries) => wide_compound(out, entries.len() * 2, |out| pairs(out, entries)),
        Value::Array(items) => wide_compound(out, items.len(), |out| elements(out, items)),
    }
}

fn pairs(out: &mut BytesMut, entries: &[(Value, Value)]) {
    for (key, value) in entries {
        self::value(out, key);
        self::value(out, value);
    }
}

/// The content of an array: the constructor once, then the elements without theirs.
fn elements(out: &mut BytesMut, items: &[Value]) {
    let code = constructor(items);
    out.put_u8(code);
    items.iter().for_each(|i| content(out, code, i));
}

fn variable(out: &mut BytesMut, code: u8, bytes: &[u8]) {
    if code >= 0xb0 {
        out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    } else {
        out.put_u8(bytes.len() as u8);
    }
    out.put_slice(bytes);
}

/// Size, count and content of a compound with 32-bit lengths.
fn wide_compound(out: &mut BytesMut, count: usize, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_u32(count as u32);
    write(out);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// A compound in its 8-bit form where it fits.
fn compound(out: &mut BytesMut, code8: u8, code32: u8, count: usize, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&[code8, 0, 0]);
    write(out);
    finish(out, start, code32, count);
}

/// Fills in the three bytes reserved at `start`, widening them where the content is too long for the 8-bit form.
fn finish(out: &mut BytesMut, start: usize, code32: u8, count: usize) {
    let len = out.len() - start - 3;
    if len < 0xff && count <= 0xff {
        out[start + 1] = len as u8 + 1;
        out[start + 2] = count as u8;
        return;
    }
    out.put_bytes(0, 6);
    out.copy_within(start + 3..start + 3 + len, start + 9);
    out[start] = code32;
    out[start + 1..start + 5].copy_from_slice(&(len as u32 + 4).to_be_bytes());
    out[start + 5..start + 9].copy_from_slice(&(count as u32).to_be_bytes());
}

/// A list that is never the one-byte empty form.
pub(super) fn list(out: &mut BytesMut, items: &[Value]) {
    compound(out, 0xc0, 0xd0, items.len(), |out| items.iter().for_each(|i| value(out, i)));
}

/// A map with text keys; `symbols` says whether they are symbols or strings.
pub(super) fn map(out: &mut BytesMut, entries: &[(ByteString, Value)], symbols: bool) {
    compound(out, 0xc1, 0xd1, entries.len() * 2, |out| {
        for (key, value) in entries {
            text(out, key, symbols);
            self::value(out, value);
        }
    });
}

fn text(out: &mut BytesMut, text: &str, symbol: bool) {
    let narrow = text.len() <= 0xff;
    let code = match (symbol, narrow) {
        (true, true) => 0xa3,
        (true, false) => 0xb3,
        (false, true) => 0xa1,
        (false, false) => 0xb1,
    };
    out.put_u8(code);
    variable(out, code, text.as_bytes());
}

/// A binary.
pub(super) fn binary(out: &mut BytesMut, bytes: &[u8]) {
    let code = if bytes.len() <= 0xff { 0xa0 } else { 0xb0 };
    out.put_u8(code);
    variable(out, code, bytes);
}

/// Writes a described list field by field; [`end`](Self::end) fills in size and count.
///
/// Every field is written, null where there is none: azure-eventhub's own AMQP indexes the fields of a frame by position and
/// dies at a list that leaves trailing nulls out. It also reads the descriptor as one byte after `0x00 0x53`, and lists as list8
/// or list32 only. (rule AMQP-01)
pub(super) struct Composite<'a> {
    out: &'a mut BytesMut,
    start: usize,
    count: usize,
}

impl<'a> Composite<'a> {
    pub(super) fn begin(out: &'a mut BytesMut, descriptor: u8) -> Self {
        out.put_slice(&[0x00, 0x53, descriptor]);
        let start = out.len();
        out.put_slice(&[0xc0, 0, 0]);
        Self { out, start, count: 0 }
    }

    pub(super) fn end(self) {
        finish(self.out, self.start, 0xd0, self.count);
    }

    /// A field that is written by a function of its own, or null.
    pub(super) fn nested<T>(&mut self, field: Option<&T>, write: impl FnOnce(&T, &mut BytesMut)) {
        self.count += 1;
        match field {
            Some(field) => write(field, self.out),
            None => self.out.put_u8(0x40),
        }
    }

    pub(super) fn value(&mut self, field: &Value) {
        self.nested(Some(field), |v, out| value(out, v));
    }

    pub(super) fn u32(&mut self, field: impl Into<Option<u32>>) {
        self.value(&field.into().into());
    }

    pub(super) fn u64(&mut self, field: Option<u64>) {
        self.value(&field.into());
    }

    pub(super) fn u16(&mut self, field: Option<u16>) {
        self.value(&field.into());
    }

    pub(super) fn u8(&mut self, field: Option<u8>) {
        self.value(&field.into());
    }

    pub(super) fn bool(&mut self, field: bool) {
        self.value(&Value::Bool(field));
    }

    pub(super) fn timestamp(&mut self, field: Option<Timestamp>) {
        self.value(&field.into());
    }

    pub(super) fn string(&mut self, field: Option<&ByteString>) {
        self.nested(field, |t, out| text(out, t, false));
    }

    pub(super) fn symbol(&mut self, field: Option<&ByteString>) {
        self.nested(field, |t, out| text(out, t, true));
    }

    pub(super) fn binary(&mut self, field: Option<&Bytes>) {
        self.nested(field, |b, out| binary(out, b));
    }

    /// "Multiple" symbols: null where there is none, always an array otherwise.
    pub(super) fn symbols(&mut self, field: &[ByteString]) {
        if field.is_empty() {
            return self.value(&Value::Null);
        }
        self.value(&Value::Array(field.iter().cloned().map(Value::Symbol).collect()));
    }

    /// A map with symbol keys, null where it is empty.
    pub(super) fn map(&mut self, field: &[(ByteString, Value)]) {
        self.nested((!field.is_empty()).then_some(&field), |m, out| map(out, m, true));
    }
}

//! From bytes to values.

use super::scan::{Number, Scan, Text};
use super::shape::{Fields, Met, Shape, Slot};
use super::{JsonError, JsonOptions, MAX_BYTES, MAX_DEPTH, Wanted};
use crate::value::{DateTime, Record, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// A payload on its way to events.
pub(super) struct Parser<'a, 'n> {
    scan: Scan<'a>,
    depth: usize,
    options: JsonOptions,
    /// How many more names can be kept.
    left: &'n mut usize,
    /// The first thing in the present event that is JSON but not valid.
    invalid: Option<JsonError>,
}

impl<'a, 'n> Parser<'a, 'n> {
    pub(super) fn new(
        payload: &'a [u8],
        options: JsonOptions,
        left: &'n mut usize,
    ) -> Result<Self, JsonError> {
        if payload.len() > MAX_BYTES {
            return Err(JsonError::TooLarge { bytes: payload.len() });
        }
        // Most payloads are ASCII, which is quicker to see.
        if !payload.is_ascii() {
            std::str::from_utf8(payload)
                .map_err(|error| JsonError::Syntax { offset: error.valid_up_to(), expected: "UTF-8" })?;
        }
        // A byte order mark is no JSON, but .NET writers like to begin with one.
        let at = if payload.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        Ok(Self { scan: Scan { text: payload, at }, depth: 0, options, left, invalid: None })
    }

    /// All events of the payload. `event` reads one, from its first byte on.
    pub(super) fn events(
        &mut self,
        event: &mut impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        loop {
            self.scan.white_space();
            match self.scan.peek() {
                None => return Ok(()),
                Some(b'[') => self.list(b']', "',' or ']'", event)?,
                Some(b'{') => event(self)?,
                // rule JSON-04
                Some(_) => return Err(JsonError::NotEvents { found: self.token_type() }),
            }
        }
    }

    /// One event, which stands behind it then, valid or not.
    pub(super) fn event(&mut self, shape: &mut Shape) -> Result<Result<Arc<Record>, JsonError>, JsonError> {
        self.invalid = None;
        if self.scan.peek() != Some(b'{') {
            let found = self.token_type();
            self.pass_over()?;
            return Ok(Err(self.invalid.take().unwrap_or(JsonError::NotEvents { found })));
        }
        let before = shape.last.take();
        let record = self.object(shape, before)?.unwrap_or_default();
        shape.last = Some(record.clone());
        Ok(self.invalid.take().map_or(Ok(record), Err))
    }

    /// Where it is, to come back to with [`go_back`](Self::go_back).
    pub(super) fn place(&self) -> usize {
        self.scan.at
    }

    /// Goes back to the beginning of an event that was read.
    pub(super) fn go_back(&mut self, place: usize) {
        self.scan.at = place;
    }

    /// One value that takes up the whole payload.
    pub(super) fn only(&mut self, shape: &mut Option<Box<Shape>>) -> Result<Value, JsonError> {
        self.scan.white_space();
        let mut value = Value::Null;
        self.value(shape, &Wanted::Whole, &mut value)?;
        self.scan.white_space();
        match self.scan.peek() {
            Some(_) => Err(self.scan.expected("the end")),
            None => self.invalid.map_or(Ok(value), Err),
        }
    }

    /// Reads any value to its place, with white space before it already gone. Objects in it have the shape; the memory of the
    /// one that stands there is used where nobody else holds it.
    fn value(
        &mut self,
        shape: &mut Option<Box<Shape>>,
        wanted: &Wanted,
        into: &mut Value,
    ) -> Result<(), JsonError> {
        match self.scan.peek() {
            Some(b'{') => {
                let shape = shape.get_or_insert_with(|| Box::new(Shape::new(wanted.clone())));
                let before = match std::mem::replace(into, Value::Null) {
                    Value::Record(record) => Some(record),
                    _ => None,
                };
                *into = Value::Record(self.object(shape, before)?.unwrap_or_default());
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(b']', "',' or ']'", &mut |parser| {
                    items.push(Value::Null);
                    items.last_mut().map_or(Ok(()), |item| parser.value(shape, wanted, item))
                })?;
                *into = items.into();
            }
            Some(b'"') => *into = self.text_value(matches!(wanted, Wanted::Time))?,
            Some(b'-' | b'0'..=b'9') => {
                let offset = self.scan.at;
                let number = self.scan.number()?;
                *into = self.number(number, offset);
            }
            Some(b't') => {
                self.scan.word("true")?;
                *into = self.bit(true);
            }
            Some(b'f') => {
                self.scan.word("false")?;
                *into = self.bit(false);
            }
            Some(b'n') => {
                self.scan.word("null")?;
                *into = Value::Null;
            }
            _ => return Err(self.scan.expected("a value")),
        }
        Ok(())
    }

    /// Checks any value as [`value`](Self::value) does.
    fn pass_over(&mut self) -> Result<(), JsonError> {
        match self.scan.peek() {
            Some(b'{') => self.list(b'}', "',' or '}'", &mut |parser| {
                parser.name()?;
                parser.colon()?;
                parser.pass_over()
            }),
            Some(b'[') => self.list(b']', "',' or ']'", &mut Self::pass_over),
            Some(b'"') => self.scan.string().map(drop),
            Some(b'-' | b'0'..=b'9') => {
                let offset = self.scan.at;
                let number = self.scan.number()?;
                if !number.is_small() {
                    self.number(number, offset);
                }
                Ok(())
            }
            _ => self.value(&mut None, &Wanted::Nothing, &mut Value::Null),
        }
    }

    fn bit(&self, bit: bool) -> Value {
        if self.options.bits { Value::Bit(bit) } else { Value::BigInt(bit.into()) }
    }

    fn text_value(&mut self, as_time: bool) -> Result<Value, JsonError> {
        let text = self.scan.string()?;
        // rule JSON-02: only texts with date and time were ever taken for one, not dates alone.
        let is_time = |text: &[u8]| as_time || self.options.dates && text.get(10) == Some(&b'T');
        if let Some(time) = text.plain().filter(|text| is_time(text)).and_then(DateTime::from_instant) {
            return Ok(Value::DateTime(time));
        }
        let text = text.value();
        if is_time(text.as_bytes())
            && let Some(time) = DateTime::parse(&text)
        {
            return Ok(Value::DateTime(time));
        }
        Ok(Value::NVarchar(text.into()))
    }

    fn number(&mut self, number: Number<'_>, offset: usize) -> Value {
        let (value, ty) = if number.whole {
            (number.bigint().map(Value::BigInt), "bigint")
        } else {
            (number.float().map(Value::Float), "float")
        };
        value.unwrap_or_else(|| {
            // rule JSON-03
            self.invalid.get_or_insert(JsonError::NumberRange { offset, ty });
            Value::Null
        })
    }

    /// Reads what is wanted of an object; nothing if nothing is.
    fn object(
        &mut self,
        shape: &mut Shape,
        before: Option<Arc<Record>>,
    ) -> Result<Option<Arc<Record>>, JsonError> {
        if !shape.is_wanted() {
            return self.fields(shape, &mut Record::default()).map(|()| None);
        }
        let mut record = shape.memory(before);
        self.fields(shape, Arc::make_mut(&mut record))?;
        Ok(Some(record))
    }

    /// Reads what is wanted of an object over the fields of the one before.
    fn fields(&mut self, shape: &mut Shape, record: &mut Record) -> Result<(), JsonError> {
        let mut fields = Fields::over(record.take_fields());
        let mut met = Met::default();
        let (mut next, mut repeated, mut unknown) = (0, false, false);
        self.list(b'}', "',' or '}'", &mut |parser| {
            let Some(place) = parser.known_name(shape, next)? else {
                // No room for its name: it is read each time as if it were the first.
                unknown = true;
                repeated |= parser.stranger(shape, &mut met, &mut fields)?;
                return Ok(());
            };
            next = place + 1;
            let slot = shape.slot(place);
            let again = met.again(slot.first);
            repeated |= again;
            parser.field(slot, &mut fields)
        })?;
        let mut fields = fields.finish();
        if repeated || unknown {
            let before = fields.len();
            fields = distinct(fields);
            repeated |= fields.len() < before;
        }
        if repeated && self.options.lower_case_names {
            self.invalid.get_or_insert(JsonError::SameName { offset: self.scan.at });
        }
        *record = Record::from_distinct(fields);
        Ok(())
    }

    /// Reads the value of a field to its place, if it is wanted.
    #[inline]
    fn field(&mut self, slot: &mut Slot, fields: &mut Fields) -> Result<(), JsonError> {
        if !matches!(slot.wanted, Wanted::Nothing) {
            return self.value(&mut slot.inner, &slot.wanted, fields.place(&slot.name));
        }
        // Names that must not be equal have to be looked at.
        if self.options.lower_case_names && matches!(self.scan.peek(), Some(b'{' | b'[')) {
            return self.value(&mut slot.inner, &slot.wanted, &mut Value::Null);
        }
        self.pass_over()
    }

    /// Reads a name and its colon; gives its place, or nothing, and stands before the name again, where there is no room.
    fn known_name(&mut self, shape: &mut Shape, next: usize) -> Result<Option<usize>, JsonError> {
        if let Some(expected) = shape.expected(next)
            && let length @ 1.. = expected.begins(self.scan.rest())
        {
            self.scan.at += length;
            self.scan.white_space();
            return Ok(Some(next));
        }
        let start = self.scan.at;
        let quoted = self.name()?;
        let place = match shape.place(quoted.quoted) {
            Some(place) => Some(place),
            None => {
                let name = self.shared(&quoted.value());
                shape.add(quoted.quoted, &name, self.left)
            }
        };
        match place {
            Some(_) => self.colon()?,
            None => self.scan.at = start,
        }
        Ok(place)
    }

    /// A field whose name is not kept; whether its name was met before in another spelling.
    fn stranger(&mut self, shape: &mut Shape, met: &mut Met, fields: &mut Fields) -> Result<bool, JsonError> {
        let name = self.name()?.value();
        let name = self.shared(&name);
        self.colon()?;
        let strict = self.options.lower_case_names;
        let again = strict && shape.place_of_name(&name).is_some_and(|place| met.again(place));
        match shape.wanted_of(&name) {
            Wanted::Nothing if !strict => self.pass_over()?,
            // Where equal names are an error, all are kept until the end of the object.
            wanted => {
                self.value(&mut None, &wanted, fields.place(&name))?;
            }
        }
        Ok(again)
    }

    fn name(&mut self) -> Result<Text<'a>, JsonError> {
        match self.scan.peek() {
            Some(b'"') => self.scan.string(),
            _ => Err(self.scan.expected("a name in double quotes")),
        }
    }

    /// A name as it is used.
    fn shared(&self, name: &str) -> Arc<str> {
        if self.options.lower_case_names { name.to_lowercase().into() } else { name.into() }
    }

    /// The colon behind a name, and the white space around it.
    fn colon(&mut self) -> Result<(), JsonError> {
        self.scan.white_space();
        if self.scan.peek() != Some(b':') {
            return Err(self.scan.expected("':'"));
        }
        self.scan.at += 1;
        self.scan.white_space();
        Ok(())
    }

    /// Reads from the opening bracket to the closing one; a comma stands between items only.
    fn list(
        &mut self,
        close: u8,
        expected: &'static str,
        item: &mut impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.scan.at });
        }
        self.depth += 1;
        self.scan.at += 1;
        self.scan.white_space();
        let mut empty = true;
        while !(empty && self.scan.peek() == Some(close)) {
            item(self)?;
            empty = false;
            self.scan.white_space();
            match self.scan.peek() {
                Some(b',') => self.scan.at += 1,
                Some(byte) if byte == close => break,
                _ => return Err(self.scan.expected(expected)),
            }
            self.scan.white_space();
        }
        self.scan.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// What the value here is, in the words of the service's reader.
    fn token_type(&self) -> &'static str {
        match self.scan.peek() {
            Some(b'{') => "StartObject",
            Some(b'[') => "StartArray",
            Some(b'"') => "String",
            Some(b't' | b'f') => "Boolean",
            Some(b'n') => "Null",
            Some(b'-' | b'0'..=b'9') => {
                let mut number = self.scan.rest().iter().take_while(|byte| !b",] \t\r\n".contains(byte));
                if number.any(|byte| b".eE".contains(byte)) { "Float" } else { "Integer" }
            }
            _ => "None",
        }
    }
}

/// Of equal names only the last value, in the place of the first.
fn distinct(fields: Vec<(Arc<str>, Value)>) -> Vec<(Arc<str>, Value)> {
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(fields.len());
    let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

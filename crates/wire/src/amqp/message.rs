//! A message: sections around a body (specification part 3, section 3.2).

use super::decode::{Decoder, Fields, descriptor_code, into_map};
use super::encode::{self, Composite};
use super::{DecodeError, Value};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_model::Timestamp;

/// The message format of a batch: every data section is itself an encoded message (Azure's senders use it).
pub const BATCH_FORMAT: u32 = 0x8001_3700;

/// Transport details. All fields have defaults, so most messages go without.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Header {
    /// Must survive a restart.
    pub durable: bool,
    /// 4 is normal.
    pub priority: Option<u8>,
    /// Time to live in milliseconds.
    pub ttl: Option<u32>,
    /// Nobody had it before.
    pub first_acquirer: bool,
    /// How often it was delivered without success.
    pub delivery_count: u32,
}

/// The standard properties. Ids are ulong, uuid, binary or string, and an answer must carry the very type of its question.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the names are the specification's and say it")]
pub struct Properties {
    pub message_id: Option<Value>,
    pub user_id: Option<Bytes>,
    pub to: Option<ByteString>,
    pub subject: Option<ByteString>,
    pub reply_to: Option<ByteString>,
    pub correlation_id: Option<Value>,
    pub content_type: Option<ByteString>,
    pub content_encoding: Option<ByteString>,
    pub absolute_expiry_time: Option<Timestamp>,
    pub creation_time: Option<Timestamp>,
    pub group_id: Option<ByteString>,
    pub group_sequence: Option<u32>,
    pub reply_to_group_id: Option<ByteString>,
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One or more data sections.
    Data(Vec<Bytes>),
    /// One value.
    Value(Value),
    /// One or more sequence sections.
    Sequence(Vec<Vec<Value>>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Data(Vec::new())
    }
}

/// A message. Sections that are empty are not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Transport details.
    pub header: Option<Header>,
    /// Annotations for the next hop; symbol keys.
    pub delivery_annotations: Vec<(ByteString, Value)>,
    /// Annotations that stay with the message; symbol keys.
    pub message_annotations: Vec<(ByteString, Value)>,
    /// The standard properties.
    pub properties: Properties,
    /// The user's properties; string keys, simple values.
    pub application_properties: Vec<(ByteString, Value)>,
    /// The body.
    pub body: Body,
    /// Annotations after the body; symbol keys.
    pub footer: Vec<(ByteString, Value)>,
}

fn find<'a>(entries: &'a [(ByteString, Value)], name: &str) -> Option<&'a Value> {
    entries.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
}

impl Message {
    /// A message with one data section.
    pub fn data(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Data(vec![body.into()]), ..Self::default() }
    }

    /// A message whose body is a value.
    pub fn value(body: impl Into<Value>) -> Self {
        Self { body: Body::Value(body.into()), ..Self::default() }
    }

    /// The message annotation of a name.
    pub fn annotation(&self, name: &str) -> Option<&Value> {
        find(&self.message_annotations, name)
    }

    /// The application property of a name.
    pub fn application_property(&self, name: &str) -> Option<&Value> {
        find(&self.application_properties, name)
    }

    /// Adds a message annotation.
    pub fn annotate(&mut self, name: &'static str, value: impl Into<Value>) {
        self.message_annotations.push((ByteString::from_static(name), value.into()));
    }

    /// Adds an application property.
    pub fn set_property(&mut self, name: impl Into<ByteString>, value: impl Into<Value>) {
        self.application_properties.push((name.into(), value.into()));
    }

    /// The body as bytes: data sections joined, or the text or binary of a value; empty for anything else.
    pub fn body_bytes(&self) -> Bytes {
        match &self.body {
            Body::Data(sections) => match sections.as_slice() {
                [] => Bytes::new(),
                [one] => one.clone(),
                many => many.concat().into(),
            },
            Body::Value(Value::Binary(bytes)) => bytes.clone(),
            Body::Value(Value::String(text) | Value::Symbol(text)) => text.as_bytes().clone(),
            Body::Value(_) | Body::Sequence(_) => Bytes::new(),
        }
    }

    /// Reads a message; it shares the given bytes.
    ///
    /// # Errors
    /// Bytes that are not a message, or more than 65 536 values, or values nested deeper than 32 levels.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let mut message = Self::default();
        let mut seen_body = false;
        while !decoder.is_empty() {
            let Value::Described(section) = decoder.value()? else {
                return Err(DecodeError::Missing("descriptor"));
            };
            let (descriptor, value) = *section;
            message.section(descriptor_code(&descriptor)?, value, &mut seen_body)?;
        }
        Ok(message)
    }

    fn section(&mut self, code: u64, value: Value, seen_body: &mut bool) -> Result<(), DecodeError> {
        match (code, value) {
            (0x70, Value::List(items)) => self.header = Some(Header::decode(Fields::new(items))?),
            (0x71, map) => self.delivery_annotations = into_map(map, "delivery-annotations")?,
            (0x72, map) => self.message_annotations = into_map(map, "message-annotations")?,
            (0x73, Value::List(items)) => self.properties = Properties::decode(Fields::new(items))?,
            (0x74, map) => self.application_properties = into_map(map, "application-properties")?,
            (0x75, Value::Binary(bytes)) => match &mut self.body {
                Body::Data(sections) => sections.push(bytes),
                _ => return Err(DecodeError::Descriptor(code)),
            },
            (0x76, Value::List(items)) => match &mut self.body {
                Body::Sequence(sections) => sections.push(items),
                body if !*seen_body => *body = Body::Sequence(vec![items]),
                _ => return Err(DecodeError::Descriptor(code)),
            },
            (0x77, value) if !*seen_body => self.body = Body::Value(value),
            (0x78, map) => self.footer = into_map(map, "footer")?,
            _ => return Err(DecodeError::Descriptor(code)),
        }
        *seen_body |= (0x75..=0x77).contains(&code);
        Ok(())
    }

    /// Writes the message.
    pub fn encode(&self, out: &mut BytesMut) {
        if let Some(header) = &self.header {
            header.encode(out);
        }
        section_map(out, 0x71, &self.delivery_annotations, true);
        section_map(out, 0x72, &self.message_annotations, true);
        if self.properties != Properties::default() {
            self.properties.encode(out);
        }
        section_map(out, 0x74, &self.application_properties, false);
        match &self.body {
            Body::Data(sections) if sections.is_empty() => data_section(out, &[]),
            Body::Data(sections) => sections.iter().for_each(|bytes| data_section(out, bytes)),
            Body::Value(value) => {
                out.put_slice(&[0x00, 0x53, 0x77]);
                encode::value(out, value);
            }
            Body::Sequence(sections) => {
                for items in sections {
                    out.put_slice(&[0x00, 0x53, 0x76]);
                    encode::list(out, items);
                }
            }
        }
        section_map(out, 0x78, &self.footer, true);
    }

    /// The message as bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        self.encode(&mut out);
        out.freeze()
    }

    /// The messages of a delivery: one, or those of a batch of the format [`BATCH_FORMAT`].
    ///
    /// # Errors
    /// As [`decode`](Self::decode); one bad message of a batch spoils the batch.
    pub fn decode_delivery(format: u32, bytes: &Bytes) -> Result<Vec<Self>, DecodeError> {
        let envelope = Self::decode(bytes)?;
        match (format, &envelope.body) {
            (BATCH_FORMAT, Body::Data(sections)) => sections.iter().map(Self::decode).collect(),
            _ => Ok(vec![envelope]),
        }
    }
}

fn section_map(out: &mut BytesMut, descriptor: u8, entries: &[(ByteString, Value)], symbols: bool) {
    if !entries.is_empty() {
        out.put_slice(&[0x00, 0x53, descriptor]);
        encode::map(out, entries, symbols);
    }
}

fn data_section(out: &mut BytesMut, bytes: &[u8]) {
    out.put_slice(&[0x00, 0x53, 0x75]);
    encode::binary(out, bytes);
}

impl Header {
    fn decode(mut f: Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            durable: f.bool("durable")?,
            priority: f.opt_u8("priority")?,
            ttl: f.opt_u32("ttl")?,
            first_acquirer: f.bool("first-acquirer")?,
            delivery_count: f.opt_u32("delivery-count")?.unwrap_or(0),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x70);
        c.bool(self.durable);
        c.u8(self.priority);
        c.u32(self.ttl);
        c.bool(self.first_acquirer);
        c.u32(self.delivery_count);
        c.end();
    }
}

impl Properties {
    fn decode(mut f: Fields) -> Result<Self, DecodeError> {
        let id = |v: Value| if v.is_null() { None } else { Some(v) };
        Ok(Self {
            message_id: id(f.value()),
            // A binary by the specification; some senders write a string.
            user_id: match f.value() {
                Value::Null => None,
                Value::Binary(bytes) => Some(bytes),
                Value::String(text) | Value::Symbol(text) => Some(text.into_bytes()),
                _ => return Err(DecodeError::Field("user-id")),
            },
            to: f.opt_text("to")?,
            subject: f.opt_text("subject")?,
            reply_to: f.opt_text("reply-to")?,
            correlation_id: id(f.value()),
            content_type: f.opt_text("content-type")?,
            content_encoding: f.opt_text("content-encoding")?,
            absolute_expiry_time: f.opt_timestamp("absolute-expiry-time")?,
            creation_time: f.opt_timestamp("creation-time")?,
            group_id: f.opt_text("group-id")?,
            group_sequence: f.opt_u32("group-sequence")?,
            reply_to_group_id: f.opt_text("reply-to-group-id")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x73);
        c.value(self.message_id.as_ref().unwrap_or(&Value::Null));
        c.binary(self.user_id.as_ref());
        c.string(self.to.as_ref());
        c.string(self.subject.as_ref());
        c.string(self.reply_to.as_ref());
        c.value(self.correlation_id.as_ref().unwrap_or(&Value::Null));
        c.symbol(self.content_type.as_ref());
        c.symbol(self.content_encoding.as_ref());
        c.timestamp(self.absolute_expiry_time);
        c.timestamp(self.creation_time);
        c.string(self.group_id.as_ref());
        c.u32(self.group_sequence);
        c.string(self.reply_to_group_id.as_ref());
        c.end();
    }
}

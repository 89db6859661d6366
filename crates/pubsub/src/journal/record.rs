//! The records of the journal. The payload of a publish or will is the body, all else the header.

use super::codec::{Reader, Writer};
use crate::session::State;
use crate::topic::Ids;
use crate::{Message, Properties, QoS, RetainHandling, SubscriptionOptions, Will};
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use std::num::NonZeroU32;

/// Version of the format, the first byte of each header.
const VERSION: u8 = 1;

/// What a publish does to the retained message of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retains {
    Nothing,
    Sets,
    Clears,
}

/// A session whose queue a publish stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub session: u64,
    /// The number in its line.
    pub number: u64,
    pub qos: QoS,
    pub retain: bool,
    pub ids: Ids,
}

/// A message of a session's line, by its number in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub number: u64,
    pub state: State,
    pub qos: QoS,
    /// `None` where the message is released.
    pub message: Option<u64>,
    pub retain: bool,
    pub ids: Ids,
}

/// What changes with each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub number: u64,
    pub expiry: u32,
    pub connected: bool,
    pub at: Timestamp,
    /// Numbers of its line below this may have been sent.
    pub sent: u64,
    pub will: Option<Will>,
}

/// A whole session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub meta: Meta,
    pub client_id: ByteString,
    pub user: Option<ByteString>,
    pub next: u64,
    pub subscriptions: Vec<(ByteString, SubscriptionOptions)>,
    pub line: Vec<Line>,
    pub unreleased: Vec<u16>,
}

#[derive(Debug)]
pub(crate) enum Record {
    /// A message, the queues it stands in, the QoS 2 identifier it came with.
    Publish {
        id: u64,
        message: Message,
        retains: Retains,
        targets: Vec<Target>,
        from: Option<(u64, u16)>,
    },
    /// The retained message of a name is gone; the QoS 2 identifier of what cleared it.
    Cleared(ByteString, Option<(u64, u16)>),
    /// A session as it is, instead of all that was said of it before.
    Session(Box<Whole>),
    Meta(Box<Meta>),
    Ended(u64),
    Subscribed(u64, ByteString, SubscriptionOptions),
    Unsubscribed(u64, ByteString),
    /// Numbers of a session's line that are done.
    Settled(u64, Vec<u64>),
    /// PUBREC came for a number of a session's line.
    Released(u64, u64),
    /// A QoS 2 identifier of a publish that stands in no queue.
    Taken(u64, u16),
    /// PUBREL came for it.
    Freed(u64, u16),
    /// All that is alive follows, up to `End`.
    Begin,
    End,
}

/// A publish to be written, by reference.
pub(crate) struct PublishRef<'a> {
    pub id: u64,
    pub message: &'a Message,
    pub retains: Retains,
    pub targets: &'a [Target],
    pub from: Option<(u64, u16)>,
}

pub(crate) fn write_publish(header: &mut Vec<u8>, publish: &PublishRef<'_>) {
    let mut out = Writer(header);
    out.u8(VERSION);
    out.u8(1);
    out.u64(publish.id);
    let message = publish.message;
    out.bytes(message.topic.as_bytes());
    out.u8(message.qos.level());
    out.u8(u8::from(message.retain));
    out.option(message.expires, |out, at| out.u64(at.as_millis().cast_unsigned()));
    out.option(message.properties.as_deref(), write_properties);
    out.u8(publish.retains as u8);
    write_origin(&mut out, publish.from);
    out.count(publish.targets.len());
    for target in publish.targets {
        out.u64(target.session);
        out.u64(target.number);
        write_how(&mut out, target.qos, target.retain, &target.ids);
    }
}

fn write_origin(out: &mut Writer<'_>, from: Option<(u64, u16)>) {
    out.option(from, |out, (session, id)| {
        out.u64(session);
        out.u16(id);
    });
}

fn write_how(out: &mut Writer<'_>, qos: QoS, retain: bool, ids: &[u32]) {
    out.u8(qos.level() | u8::from(retain) << 2);
    out.count(ids.len());
    ids.iter().for_each(|id| out.u32(*id));
}

fn write_properties(out: &mut Writer<'_>, set: &Properties) {
    out.option(set.is_text, |out, is| out.u8(u8::from(is)));
    out.option(set.expiry, Writer::u32);
    out.option(set.content_type.as_ref(), |out, text| out.bytes(text.as_bytes()));
    out.option(set.response_topic.as_ref(), |out, text| out.bytes(text.as_bytes()));
    out.option(set.correlation_data.as_ref(), |out, data| out.bytes(data));
    out.count(set.user.len());
    for (key, value) in &set.user {
        out.bytes(key.as_bytes());
        out.bytes(value.as_bytes());
    }
}

fn write_meta(out: &mut Writer<'_>, meta: &Meta) {
    out.u64(meta.number);
    out.u32(meta.expiry);
    out.u8(u8::from(meta.connected));
    out.u64(meta.at.as_millis().cast_unsigned());
    out.u64(meta.sent);
    out.option(meta.will.as_ref(), |out, will| {
        out.bytes(will.topic.as_bytes());
        out.u8(will.qos.level());
        out.u8(u8::from(will.retain));
        out.u32(will.delay);
        out.option(will.properties.as_deref(), write_properties);
    });
}

fn write_subscription(out: &mut Writer<'_>, filter: &ByteString, options: &SubscriptionOptions) {
    out.bytes(filter.as_bytes());
    let flags = options.qos.level()
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4;
    out.u8(flags);
    out.u32(options.id.map_or(0, NonZeroU32::get));
}

fn write_whole(out: &mut Writer<'_>, whole: &Whole) {
    write_meta(out, &whole.meta);
    out.bytes(whole.client_id.as_bytes());
    out.option(whole.user.as_ref(), |out, user| out.bytes(user.as_bytes()));
    out.u64(whole.next);
    out.count(whole.subscriptions.len());
    for (filter, options) in &whole.subscriptions {
        write_subscription(out, filter, options);
    }
    out.count(whole.line.len());
    for line in &whole.line {
        out.u64(line.number);
        out.u8(line.state as u8);
        out.option(line.message, Writer::u64);
        write_how(out, line.qos, line.retain, &line.ids);
    }
    out.count(whole.unreleased.len());
    whole.unreleased.iter().for_each(|id| out.u16(*id));
}

impl Record {
    /// Writes the header and gives the body.
    pub fn write(&self, header: &mut Vec<u8>) -> Bytes {
        if let Self::Publish { id, message, retains, targets, from } = self {
            let publish = PublishRef { id: *id, message, retains: *retains, targets, from: *from };
            write_publish(header, &publish);
            return message.payload.clone();
        }
        let mut out = Writer(header);
        out.u8(VERSION);
        out.u8(self.kind());
        match self {
            Self::Publish { .. } | Self::Begin | Self::End => {}
            Self::Cleared(topic, from) => {
                out.bytes(topic.as_bytes());
                write_origin(&mut out, *from);
            }
            Self::Session(whole) => write_whole(&mut out, whole),
            Self::Meta(meta) => write_meta(&mut out, meta),
            Self::Ended(session) => out.u64(*session),
            Self::Subscribed(session, filter, options) => {
                out.u64(*session);
                write_subscription(&mut out, filter, options);
            }
            Self::Unsubscribed(session, filter) => {
                out.u64(*session);
                out.bytes(filter.as_bytes());
            }
            Self::Settled(session, numbers) => {
                out.u64(*session);
                out.count(numbers.len());
                numbers.iter().for_each(|number| out.u64(*number));
            }
            Self::Released(session, number) => {
                out.u64(*session);
                out.u64(*number);
            }
            Self::Taken(session, id) | Self::Freed(session, id) => {
                out.u64(*session);
                out.u16(*id);
            }
        }
        let will = match self {
            Self::Session(whole) => whole.meta.will.as_ref(),
            Self::Meta(meta) => meta.will.as_ref(),
            _ => None,
        };
        will.map(|will| will.payload.clone()).unwrap_or_default()
    }

    /// False for a list of nothing.
    pub fn says_something(&self) -> bool {
        !matches!(self, Self::Settled(_, numbers) if numbers.is_empty())
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Publish { .. } => 1,
            Self::Cleared(..) => 2,
            Self::Session(_) => 3,
            Self::Meta(_) => 4,
            Self::Ended(_) => 5,
            Self::Subscribed(..) => 6,
            Self::Unsubscribed(..) => 7,
            Self::Settled(..) => 8,
            Self::Released(..) => 9,
            Self::Taken(..) => 10,
            Self::Freed(..) => 11,
            Self::Begin => 12,
            Self::End => 13,
        }
    }

    /// Reads a record; `None` for one that is not ours.
    pub fn read(header: &[u8], body: &Bytes) -> Option<Self> {
        let mut from = Reader(header);
        if from.u8()? != VERSION {
            return None;
        }
        let kind = from.u8()?;
        let record = match kind {
            1 => read_publish(&mut from, body)?,
            2 => Self::Cleared(from.text()?, read_origin(&mut from)?),
            3 => Self::Session(Box::new(read_whole(&mut from, body)?)),
            4 => Self::Meta(Box::new(read_meta(&mut from, body)?)),
            5 => Self::Ended(from.u64()?),
            6 => {
                let session = from.u64()?;
                let (filter, options) = read_subscription(&mut from)?;
                Self::Subscribed(session, filter, options)
            }
            7 => Self::Unsubscribed(from.u64()?, from.text()?),
            8 => Self::Settled(from.u64()?, from.list(Reader::u64)?),
            9 => Self::Released(from.u64()?, from.u64()?),
            10 => Self::Taken(from.u64()?, from.u16()?),
            11 => Self::Freed(from.u64()?, from.u16()?),
            12 => Self::Begin,
            13 => Self::End,
            _ => return None,
        };
        from.0.is_empty().then_some(record)
    }
}

fn read_time(from: &mut Reader<'_>) -> Option<Timestamp> {
    Some(Timestamp::from_millis(from.u64()?.cast_signed()))
}

#[allow(clippy::option_option)] // no origin, or no record
fn read_origin(from: &mut Reader<'_>) -> Option<Option<(u64, u16)>> {
    from.option(|from| Some((from.u64()?, from.u16()?)))
}

fn read_publish(from: &mut Reader<'_>, body: &Bytes) -> Option<Record> {
    let id = from.u64()?;
    let message = Message {
        topic: from.text()?,
        payload: Bytes::copy_from_slice(body),
        qos: QoS::from_level(from.u8()?)?,
        retain: from.bool()?,
        expires: from.option(read_time)?,
        properties: from.option(read_properties)?.map(Box::new),
        stored: None,
    };
    let retains = match from.u8()? {
        0 => Retains::Nothing,
        1 => Retains::Sets,
        2 => Retains::Clears,
        _ => return None,
    };
    let origin = read_origin(from)?;
    let targets = from.list(|from| {
        let (session, number) = (from.u64()?, from.u64()?);
        let (qos, retain, ids) = read_how(from)?;
        Some(Target { session, number, qos, retain, ids })
    })?;
    Some(Record::Publish { id, message, retains, targets, from: origin })
}

fn read_how(from: &mut Reader<'_>) -> Option<(QoS, bool, Ids)> {
    let flags = from.u8()?;
    let ids = from.list(Reader::u32)?;
    Some((QoS::from_level(flags & 3)?, flags & 4 != 0, ids.into()))
}

fn read_properties(from: &mut Reader<'_>) -> Option<Properties> {
    Some(Properties {
        is_text: from.option(Reader::bool)?,
        expiry: from.option(Reader::u32)?,
        content_type: from.option(Reader::text)?,
        response_topic: from.option(Reader::text)?,
        correlation_data: from.option(Reader::bytes)?,
        user: from.list(|from| Some((from.text()?, from.text()?)))?,
    })
}

fn read_meta(from: &mut Reader<'_>, body: &Bytes) -> Option<Meta> {
    let (number, expiry, connected, at) = (from.u64()?, from.u32()?, from.bool()?, read_time(from)?);
    let sent = from.u64()?;
    let will = from.option(|from| {
        Some(Will {
            topic: from.text()?,
            payload: Bytes::copy_from_slice(body),
            qos: QoS::from_level(from.u8()?)?,
            retain: from.bool()?,
            delay: from.u32()?,
            properties: from.option(read_properties)?.map(Box::new),
        })
    })?;
    Some(Meta { number, expiry, connected, at, sent, will })
}

fn read_subscription(from: &mut Reader<'_>) -> Option<(ByteString, SubscriptionOptions)> {
    let (filter, flags) = (from.text()?, from.u8()?);
    let options = SubscriptionOptions {
        qos: QoS::from_level(flags & 3)?,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: match flags >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        },
        id: NonZeroU32::new(from.u32()?),
    };
    Some((filter, options))
}

fn read_whole(from: &mut Reader<'_>, body: &Bytes) -> Option<Whole> {
    Some(Whole {
        meta: read_meta(from, body)?,
        client_id: from.text()?,
        user: from.option(Reader::text)?,
        next: from.u64()?,
        subscriptions: from.list(read_subscription)?,
        line: from.list(|from| {
            let number = from.u64()?;
            let state = match from.u8()? {
                0 => State::Waiting,
                1 => State::Sent,
                2 => State::Released,
                _ => return None,
            };
            let message = from.option(Reader::u64)?;
            let (qos, retain, ids) = read_how(from)?;
            Some(Line { number, state, qos, message, retain, ids })
        })?,
        unreleased: from.list(Reader::u16)?,
    })
}

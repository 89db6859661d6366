//! The nine performatives (specification part 2, section 2.7). Names and defaults are the specification's.
#![allow(missing_docs, reason = "the names of fields are the specification's and say it")]

use super::decode::{Decoder, Fields};
use super::encode::Composite;
use super::types::{AmqpError, DeliveryState, ReceiverSettleMode, Role, SenderSettleMode, Source, Target};
use super::{DecodeError, Value};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

type Result<T> = std::result::Result<T, DecodeError>;
type Entries = Vec<(ByteString, Value)>;

/// Negotiates a connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Open {
    pub container_id: ByteString,
    pub hostname: Option<ByteString>,
    /// 512 or more; `None` is 2³²−1.
    pub max_frame_size: Option<u32>,
    pub channel_max: Option<u16>,
    /// Milliseconds without a frame after which the peer gives up.
    pub idle_timeout: Option<u32>,
    pub outgoing_locales: Vec<ByteString>,
    pub incoming_locales: Vec<ByteString>,
    pub offered_capabilities: Vec<ByteString>,
    pub desired_capabilities: Vec<ByteString>,
    pub properties: Entries,
}

/// Begins a session on a channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Begin {
    pub remote_channel: Option<u16>,
    pub next_outgoing_id: u32,
    pub incoming_window: u32,
    pub outgoing_window: u32,
    pub handle_max: Option<u32>,
    pub offered_capabilities: Vec<ByteString>,
    pub desired_capabilities: Vec<ByteString>,
    pub properties: Entries,
}

/// Attaches a link to a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    pub name: ByteString,
    pub handle: u32,
    /// Of the end that sends this.
    pub role: Role,
    pub snd_settle_mode: SenderSettleMode,
    pub rcv_settle_mode: ReceiverSettleMode,
    pub source: Option<Source>,
    pub target: Option<Target>,
    pub incomplete_unsettled: bool,
    pub initial_delivery_count: Option<u32>,
    pub max_message_size: Option<u64>,
    pub offered_capabilities: Vec<ByteString>,
    pub desired_capabilities: Vec<ByteString>,
    pub properties: Entries,
}

/// Updates windows of a session and credit of a link.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Flow {
    pub next_incoming_id: Option<u32>,
    pub incoming_window: u32,
    pub next_outgoing_id: u32,
    pub outgoing_window: u32,
    pub handle: Option<u32>,
    pub delivery_count: Option<u32>,
    pub link_credit: Option<u32>,
    pub available: Option<u32>,
    pub drain: bool,
    pub echo: bool,
    pub properties: Entries,
}

/// A message or a part of one; the payload follows in the same frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transfer {
    pub handle: u32,
    pub delivery_id: Option<u32>,
    pub delivery_tag: Option<Bytes>,
    pub message_format: Option<u32>,
    pub settled: Option<bool>,
    pub more: bool,
    pub rcv_settle_mode: Option<ReceiverSettleMode>,
    pub state: Option<DeliveryState>,
    pub resume: bool,
    pub aborted: bool,
    pub batchable: bool,
}

/// Tells what became of deliveries.
#[derive(Debug, Clone, PartialEq)]
pub struct Disposition {
    /// Of the end that sends this.
    pub role: Role,
    pub first: u32,
    pub last: Option<u32>,
    pub settled: bool,
    pub state: Option<DeliveryState>,
    pub batchable: bool,
}

/// Detaches a link.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detach {
    pub handle: u32,
    pub closed: bool,
    pub error: Option<AmqpError>,
}

/// One of the nine.
#[derive(Debug, Clone, PartialEq)]
pub enum Performative {
    Open(Box<Open>),
    Begin(Box<Begin>),
    Attach(Box<Attach>),
    Flow(Box<Flow>),
    Transfer(Box<Transfer>),
    Disposition(Box<Disposition>),
    Detach(Detach),
    /// Ends a session.
    End(Option<AmqpError>),
    /// Closes the connection.
    Close(Option<AmqpError>),
}

fn sender_mode(code: Option<u8>) -> Result<SenderSettleMode> {
    match code {
        Some(0) => Ok(SenderSettleMode::Unsettled),
        Some(1) => Ok(SenderSettleMode::Settled),
        Some(2) | None => Ok(SenderSettleMode::Mixed),
        Some(_) => Err(DecodeError::Field("snd-settle-mode")),
    }
}

fn receiver_mode(code: Option<u8>) -> Result<Option<ReceiverSettleMode>> {
    match code {
        None => Ok(None),
        Some(0) => Ok(Some(ReceiverSettleMode::First)),
        Some(1) => Ok(Some(ReceiverSettleMode::Second)),
        Some(_) => Err(DecodeError::Field("rcv-settle-mode")),
    }
}

fn receiver_code(mode: ReceiverSettleMode) -> u8 {
    match mode {
        ReceiverSettleMode::First => 0,
        ReceiverSettleMode::Second => 1,
    }
}

impl Performative {
    /// Reads a performative and what follows it, a transfer's payload.
    ///
    /// # Errors
    /// Bytes that are not a performative, or fields of a wrong type.
    pub fn decode(body: &Bytes) -> Result<(Self, Bytes)> {
        let mut decoder = Decoder::new(body);
        let (code, f) = decoder.composite()?;
        let performative = match code {
            0x10 => Self::Open(Box::new(Open::decode(f)?)),
            0x11 => Self::Begin(Box::new(Begin::decode(f)?)),
            0x12 => Self::Attach(Box::new(Attach::decode(f)?)),
            0x13 => Self::Flow(Box::new(Flow::decode(f)?)),
            0x14 => Self::Transfer(Box::new(Transfer::decode(f)?)),
            0x15 => Self::Disposition(Box::new(Disposition::decode(f)?)),
            0x16 => Self::Detach(Detach::decode(f)?),
            0x17 => Self::End(AmqpError::decode({ f }.value())?),
            0x18 => Self::Close(AmqpError::decode({ f }.value())?),
            other => return Err(DecodeError::Descriptor(other)),
        };
        Ok((performative, decoder.rest()))
    }

    /// Writes a performative.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open(open) => open.encode(out),
            Self::Begin(begin) => begin.encode(out),
            Self::Attach(attach) => attach.encode(out),
            Self::Flow(flow) => flow.encode(out),
            Self::Transfer(transfer) => transfer.encode(out),
            Self::Disposition(disposition) => disposition.encode(out),
            Self::Detach(detach) => detach.encode(out),
            Self::End(error) => single_error(out, 0x17, error.as_ref()),
            Self::Close(error) => single_error(out, 0x18, error.as_ref()),
        }
    }
}

fn single_error(out: &mut BytesMut, descriptor: u8, error: Option<&AmqpError>) {
    let mut c = Composite::begin(out, descriptor);
    c.nested(error, AmqpError::encode);
    c.end();
}

impl Open {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            container_id: f.text("container-id")?,
            hostname: f.opt_text("hostname")?,
            max_frame_size: f.opt_u32("max-frame-size")?,
            channel_max: f.opt_u16("channel-max")?,
            idle_timeout: f.opt_u32("idle-time-out")?,
            outgoing_locales: f.symbols("outgoing-locales")?,
            incoming_locales: f.symbols("incoming-locales")?,
            offered_capabilities: f.symbols("offered-capabilities")?,
            desired_capabilities: f.symbols("desired-capabilities")?,
            properties: f.map("properties")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x10);
        c.string(Some(&self.container_id));
        c.string(self.hostname.as_ref());
        c.u32(self.max_frame_size);
        c.u16(self.channel_max);
        c.u32(self.idle_timeout);
        c.symbols(&self.outgoing_locales);
        c.symbols(&self.incoming_locales);
        c.symbols(&self.offered_capabilities);
        c.symbols(&self.desired_capabilities);
        c.map(&self.properties);
        c.end();
    }
}

impl Begin {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            remote_channel: f.opt_u16("remote-channel")?,
            next_outgoing_id: f.u32("next-outgoing-id")?,
            incoming_window: f.u32("incoming-window")?,
            outgoing_window: f.u32("outgoing-window")?,
            handle_max: f.opt_u32("handle-max")?,
            offered_capabilities: f.symbols("offered-capabilities")?,
            desired_capabilities: f.symbols("desired-capabilities")?,
            properties: f.map("properties")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x11);
        c.u16(self.remote_channel);
        c.u32(self.next_outgoing_id);
        c.u32(self.incoming_window);
        c.u32(self.outgoing_window);
        c.u32(self.handle_max);
        c.symbols(&self.offered_capabilities);
        c.symbols(&self.desired_capabilities);
        c.map(&self.properties);
        c.end();
    }
}

impl Attach {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            name: f.text("name")?,
            handle: f.u32("handle")?,
            role: Role::from_bool(f.bool("role")?),
            snd_settle_mode: sender_mode(f.opt_u8("snd-settle-mode")?)?,
            rcv_settle_mode: receiver_mode(f.opt_u8("rcv-settle-mode")?)?.unwrap_or_default(),
            source: Source::decode(f.value())?,
            target: Target::decode(f.value())?,
            incomplete_unsettled: {
                // Links are never resumed here, so what the peer remembers of an earlier life is not read.
                let _unsettled = f.value();
                f.bool("incomplete-unsettled")?
            },
            initial_delivery_count: f.opt_u32("initial-delivery-count")?,
            max_message_size: f.opt_u64("max-message-size")?,
            offered_capabilities: f.symbols("offered-capabilities")?,
            desired_capabilities: f.symbols("desired-capabilities")?,
            properties: f.map("properties")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x12);
        c.string(Some(&self.name));
        c.u32(self.handle);
        c.bool(self.role == Role::Receiver);
        c.u8(Some(match self.snd_settle_mode {
            SenderSettleMode::Unsettled => 0,
            SenderSettleMode::Settled => 1,
            SenderSettleMode::Mixed => 2,
        }));
        c.u8(Some(receiver_code(self.rcv_settle_mode)));
        c.nested(self.source.as_ref(), Source::encode);
        c.nested(self.target.as_ref(), Target::encode);
        c.value(&Value::Null);
        c.bool(self.incomplete_unsettled);
        c.u32(self.initial_delivery_count);
        c.u64(self.max_message_size);
        c.symbols(&self.offered_capabilities);
        c.symbols(&self.desired_capabilities);
        c.map(&self.properties);
        c.end();
    }
}

impl Flow {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            next_incoming_id: f.opt_u32("next-incoming-id")?,
            incoming_window: f.u32("incoming-window")?,
            next_outgoing_id: f.u32("next-outgoing-id")?,
            outgoing_window: f.u32("outgoing-window")?,
            handle: f.opt_u32("handle")?,
            delivery_count: f.opt_u32("delivery-count")?,
            link_credit: f.opt_u32("link-credit")?,
            available: f.opt_u32("available")?,
            drain: f.bool("drain")?,
            echo: f.bool("echo")?,
            properties: f.map("properties")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x13);
        c.u32(self.next_incoming_id);
        c.u32(self.incoming_window);
        c.u32(self.next_outgoing_id);
        c.u32(self.outgoing_window);
        c.u32(self.handle);
        c.u32(self.delivery_count);
        c.u32(self.link_credit);
        c.u32(self.available);
        c.bool(self.drain);
        c.bool(self.echo);
        c.map(&self.properties);
        c.end();
    }
}

impl Transfer {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            handle: f.u32("handle")?,
            delivery_id: f.opt_u32("delivery-id")?,
            delivery_tag: f.opt_binary("delivery-tag")?,
            message_format: f.opt_u32("message-format")?,
            settled: match f.value() {
                Value::Null => None,
                Value::Bool(b) => Some(b),
                _ => return Err(DecodeError::Field("settled")),
            },
            more: f.bool("more")?,
            rcv_settle_mode: receiver_mode(f.opt_u8("rcv-settle-mode")?)?,
            state: DeliveryState::decode(f.value())?,
            resume: f.bool("resume")?,
            aborted: f.bool("aborted")?,
            batchable: f.bool("batchable")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x14);
        c.u32(self.handle);
        c.u32(self.delivery_id);
        c.binary(self.delivery_tag.as_ref());
        c.u32(self.message_format);
        c.value(&self.settled.into());
        c.bool(self.more);
        c.u8(self.rcv_settle_mode.map(receiver_code));
        c.nested(self.state.as_ref(), DeliveryState::encode);
        c.bool(self.resume);
        c.bool(self.aborted);
        c.bool(self.batchable);
        c.end();
    }
}

impl Disposition {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self {
            role: Role::from_bool(f.bool("role")?),
            first: f.u32("first")?,
            last: f.opt_u32("last")?,
            settled: f.bool("settled")?,
            state: DeliveryState::decode(f.value())?,
            batchable: f.bool("batchable")?,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x15);
        c.bool(self.role == Role::Receiver);
        c.u32(self.first);
        c.u32(self.last);
        c.bool(self.settled);
        c.nested(self.state.as_ref(), DeliveryState::encode);
        c.bool(self.batchable);
        c.end();
    }
}

impl Detach {
    fn decode(mut f: Fields) -> Result<Self> {
        Ok(Self { handle: f.u32("handle")?, closed: f.bool("closed")?, error: AmqpError::decode(f.value())? })
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x16);
        c.u32(self.handle);
        c.bool(self.closed);
        c.nested(self.error.as_ref(), AmqpError::encode);
        c.end();
    }
}
